"""A model and all it needs in one tar, for machines without a network; unpacked into the cache, each file checked by
its SHA-256."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mats_model.errors import ModelError, UsageError
from mats_model.files import copy, parse_json, read_json, settle, sha256, staging
from mats_model.files import whole as whole_file
from mats_model.places import cache, expanded
from mats_model.weights.catalogue import INSIDE, slug
from mats_model.weights.data_sets import DATA_SETS
from mats_model.weights.folder import CONFIG, read_config
from mats_model.weights.resolve import is_encoder, resolve

MANIFEST = "mats-bundle.json"
_FORMAT = 1
# a file of a model, encoder, base or data set: kind, folder, file
_MEMBER = re.compile(r"(models|encoders|bases|data)/([\w-][\w.-]*)/([\w-][\w.-]*)")
_CHUNK = 1 << 20
_BLOCK = 512  # of a tar
_LONGEST_EXTRA = 4096


def parts(name: str) -> list[tuple[str, Path]]:
    """Folder in the cache -> folder here, of a model, an encoder, a base or a data set, and of what it needs. Errors:
    ModelError."""
    if name in DATA_SETS:
        table = resolve(name, "data").found()
        return [] if DATA_SETS[name].inside else [(f"data/{slug(name)}", table.parent)]
    folder = resolve(name, "model").path
    if folder is not None and not is_encoder(folder) and _is_model(folder):
        config = read_config(folder)
        found = [] if name in INSIDE else [(f"models/{_name(name, folder)}", folder)]
        if config.clap != "inside" and config.clap not in INSIDE:
            hears = resolve(config.clap, "encoder")
            found.append((f"{hears.kind}s/{_name(config.clap, hears.found())}", hears.found()))
        if config.llm.kind == "transformers":
            path = resolve(config.llm.base, "base").found()
            found.append((f"bases/{_name(config.llm.base, path)}", path))
        return found
    for kind in ("encoder", "base"):
        place = resolve(name, kind)
        if place.kind == kind and place.path is not None:
            return [(f"{kind}s/{_name(name, place.path)}", place.path)]
    raise ModelError(f"{name!r} is not here: `mats models pull {name}` gets it.")


def _is_model(folder: Path) -> bool:
    try:
        return "mapper" in read_json(folder / CONFIG)
    except (ValueError, OSError):
        return False


def _name(name: str, path: Path) -> str:
    """The folder's own name where it lies in the cache, else the name it is asked for by."""
    if path.parent.parent == cache():
        return path.name
    return (
        slug(name)
        if re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) and not path.samefile(expanded(name))
        else path.name
    )


def bundle(name: str, out: Path, progress: Callable[[int, int], None]) -> list[str]:
    """Write the tar, whole or not at all; returns what is in it. Errors: ModelError, UsageError."""
    found = parts(name)
    if not found:
        raise UsageError(f"{name} lies inside mats itself and needs nothing else: install mats there.")
    files: dict[str, Path] = {}
    for folder, path in found:
        if path.is_file():
            raise UsageError(f"{path} is a checkpoint: make a folder of it with `mats models convert` first.")
        # pickles and programs are left behind: nobody would unpack them
        held = {
            f"{folder}/{file.name}": file
            for file in sorted(path.iterdir())
            if file.is_file() and _is_member(f"{folder}/{file.name}")
        }
        if not held:
            raise UsageError(
                f"{path} cannot go into a bundle: its name should be of letters, digits, dots and hyphens."
            )
        files |= held
    whole = sum(file.stat().st_size for file in files.values())
    done = 0
    digests = {member: sha256(file) for member, file in files.items()}
    sizes = {member: file.stat().st_size for member, file in files.items()}
    with whole_file(out) as target, tarfile.open(fileobj=target, mode="w") as archive:
        told = json.dumps({"format": _FORMAT, "name": name, "files": digests, "sizes": sizes}, indent=2).encode()
        _add(archive, MANIFEST, io.BytesIO(told), len(told))
        for member, file in files.items():
            with file.open("rb") as opened:
                _add(archive, member, opened, sizes[member])
            done += sizes[member]
            progress(done, whole)
    return [folder for folder, _ in found]


def _add(archive: tarfile.TarFile, name: str, opened: Any, size: int) -> None:
    """Nothing of this machine goes along: no owner, no time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    archive.addfile(info, opened)


def unbundle(path: Path, progress: Callable[[int, int], None]) -> list[str]:
    """Unpack into the cache; returns the names of what is there now.

    The tar is not believed: plain files of a bundle only, below the cache only, no links, no holes, no pickles, each as
    long and with the digest that its list says, and nothing longer than the tar itself. Errors: ModelError.
    """
    cache().mkdir(parents=True, exist_ok=True)
    try:
        with path.open("rb") as file, staging(cache()) as made:
            whole = os.fstat(file.fileno()).st_size
            members = _members(file, whole, path)
            digests, sizes = _manifest(file, next(members, ("", 0)), path)
            done: set[str] = set()
            for name, size in members:
                if name not in digests or name in done:
                    raise ModelError(f"{path} holds {name!r}, which its list does not have: nothing of it was kept.")
                if size != sizes.get(name, size):
                    raise ModelError(
                        f"{name} in {path} has {size} bytes where its list says {sizes[name]}: copy it again."
                    )
                _unpack(file, size, made / name, digests[name], path)
                done.add(name)
                progress(file.tell(), whole)
            missing = sorted(digests.keys() - done)
            if missing:
                raise ModelError(f"{path} lacks {missing[0]} ({len(missing)} of its files): copy it again.")
            return _settle(made)
    except tarfile.TarError as error:
        raise ModelError(f"{path} is no whole bundle ({error}): copy it again.") from None


def _members(file: BinaryIO, whole: int, path: Path) -> Iterator[tuple[str, int]]:
    """Name and size of each plain file, one after the other, the tar at its first byte; anything else in it is refused.

    Read by hand, header by header: tarfile believes a header what follows it, up to gigabytes of nothing for a file
    with holes. Errors: ModelError.
    """
    at, longer = 0, dict[str, str]()
    while True:
        file.seek(at)
        head = file.read(_BLOCK)
        if not head.strip(b"\0") and len(head) == _BLOCK:
            return
        info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        at += _BLOCK
        name, size = longer.get("path", info.name), int(longer.get("size", info.size))
        if not 0 <= size <= whole - at:
            raise ModelError(
                f"{path} holds {name!r}, which is longer than what is there: nothing of it was kept, copy it again."
            )
        if info.type == tarfile.XHDTYPE and not longer and size <= _LONGEST_EXTRA:
            longer = _extra(file.read(size))
        elif info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            longer = {}
            yield name, size
        else:
            raise ModelError(f"{path} holds {name!r}, which is no plain file: nothing of it was kept.")
        at += -(-size // _BLOCK) * _BLOCK


def _extra(data: bytes) -> dict[str, str]:
    """Long names and sizes, as tarfile writes them before a file: "LENGTH KEY=VALUE" and a line's end. Errors:
    TarError."""
    found: dict[str, str] = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or len(length) > 4 or not len(length) + 4 <= int(length) <= len(data):
            raise tarfile.ReadError("a header of it is none")
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if key not in (b"path", b"size", b"mtime") or (key == b"size" and not (value.isdigit() and len(value) < 16)):
            raise tarfile.ReadError(f"a header of it says {key.decode('utf-8', 'replace')!r}")
        found[key.decode()] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return found


def _manifest(file: BinaryIO, first: tuple[str, int], path: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Digest and size of each file, by name; bundles of earlier versions say no sizes. Errors: ModelError."""
    name, size = first
    if name != MANIFEST or size > _CHUNK:
        raise ModelError(f"{path} is no bundle of mats: make one with `mats models bundle NAME -o {path.name}`.")
    try:
        told = parse_json(file.read(size))
        digests, sizes = told["files"], told.get("sizes", {})
        good = told["format"] == _FORMAT and bool(digests) and all(isinstance(value, str) for value in digests.values())
        good = (
            good
            and all(type(value) is int for value in sizes.values())
            and (not sizes or sizes.keys() == digests.keys())
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        good, digests, sizes = False, {}, {}
    if not good:
        raise ModelError(f"{path} is a bundle of another version of mats: make it again with this one.")
    for member in digests:
        if not _is_member(member):
            raise ModelError(f"{path} wants to write {member!r}, which is no file of a model: nothing of it was kept.")
    return dict(digests), dict(sizes)


def _is_member(name: str) -> bool:
    """Whether a name is one of a file of a model, encoder, base or data set, that may lie in the cache."""
    short = all(len(part.encode("utf-8", "replace")) <= 200 for part in name.split("/"))
    return (
        short
        and _MEMBER.fullmatch(name) is not None
        and not name.lower().endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".py"))
    )


def _unpack(file: BinaryIO, size: int, to: Path, digest: str, path: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("xb") as kept:
        found = copy(file, kept, size)
    if found != digest:
        raise ModelError(
            f"{to.name} in {path} is not the file that was put there (its SHA-256 differs): copy it again."
        )


def _settle(made: Path) -> list[str]:
    """Each folder takes its place at once; one that was there under that name makes room."""
    names = []
    for folder in sorted(each for kind in made.iterdir() for each in kind.iterdir()):
        to = cache() / folder.parent.name / folder.name
        to.parent.mkdir(parents=True, exist_ok=True)
        settle(folder, to, instead=True)
        names.append(f"{folder.parent.name}/{folder.name}")
    return names
