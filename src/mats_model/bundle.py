"""A model and all it needs in one tar, for machines without a network; unpacked into the cache, each file checked by its SHA-256."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mats_model.catalogue import INSIDE, slug
from mats_model.checkpoint import CONFIG, read_config
from mats_model.encoders import is_encoder
from mats_model.errors import ModelError, UsageError
from mats_model.places import cache, expanded
from mats_model.registry import find_base, find_encoder, here

MANIFEST = "mats-bundle.json"
_FORMAT = 1
# a file of a model, encoder or base: kind, folder, file
_MEMBER = re.compile(r"(models|encoders|bases)/([\w-][\w.-]*)/([\w-][\w.-]*)")
_CHUNK = 1 << 20


def parts(name: str) -> list[tuple[str, Path]]:
    """Folder in the cache -> folder here, of a model, an encoder or a base, and of what it needs. Errors: ModelError."""
    folder = here(name, "model")
    if folder is not None and (folder / CONFIG).is_file() and not is_encoder(folder) and _is_model(folder):
        config = read_config(folder)
        found = [] if name in INSIDE else [(f"models/{_name(name, folder)}", folder)]
        if config.clap != "inside" and config.clap not in INSIDE:
            path = here(config.clap, "encoder") or find_encoder(config.clap)
            found.append((f"encoders/{_name(config.clap, path)}", path))
        if config.llm.kind == "transformers":
            path = find_base(config.llm.base)
            found.append((f"bases/{_name(config.llm.base, path)}", path))
        return found
    for kind, where in (("encoder", "encoders"), ("base", "bases")):
        path_ = here(name, kind)
        if path_ is not None and (kind == "base" or is_encoder(path_)):
            return [(f"{where}/{_name(name, path_)}", path_)]
    raise ModelError(f"{name!r} is not here: `mats models pull {name}` gets it.")


def _is_model(folder: Path) -> bool:
    try:
        return "mapper" in json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError:
        return False


def _name(name: str, path: Path) -> str:
    """The folder's own name where it lies in the cache, else the name it is asked for by."""
    if path.parent.parent == cache():
        return path.name
    return slug(name) if re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) and not path.samefile(expanded(name)) else path.name


def bundle(name: str, out: Path, progress: Callable[[int, int], None]) -> list[str]:
    """Write the tar, whole or not at all; returns what is in it. Errors: ModelError, UsageError."""
    found = parts(name)
    if not found:
        raise UsageError(f"{name} lies inside mats itself and needs nothing else: install mats there.")
    files: dict[str, Path] = {}
    for folder, path in found:
        if path.is_file():
            raise UsageError(f"{path} is a checkpoint: make a folder of it with `mats models convert` first.")
        files |= {f"{folder}/{file.name}": file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")}
    whole = sum(file.stat().st_size for file in files.values())
    temporary = out.with_name(f".{out.name}.tmp")
    done = 0
    try:
        digests: dict[str, str] = {}
        for member, file in files.items():
            digests[member] = _digest(file)
        with tarfile.open(temporary, "w") as archive:
            told = json.dumps({"format": _FORMAT, "name": name, "files": digests}, indent=2).encode()
            _add(archive, MANIFEST, io.BytesIO(told), len(told))
            for member, file in files.items():
                with file.open("rb") as opened:
                    _add(archive, member, opened, file.stat().st_size)
                done += file.stat().st_size
                progress(done, whole)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return [folder for folder, _ in found]


def _add(archive: tarfile.TarFile, name: str, opened: Any, size: int) -> None:
    """Nothing of this machine goes along: no owner, no time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    archive.addfile(info, opened)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def unbundle(path: Path, progress: Callable[[int, int], None]) -> list[str]:
    """Unpack into the cache; returns the names of what is there now.

    The tar is not believed: files of a bundle only, below the cache only, no links, no pickles, each as long and with the digest its manifest says.
    Errors: ModelError.
    """
    staging = cache() / f".import-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with tarfile.open(path, "r:") as archive:
            members = iter(archive)
            digests = _manifest(archive, members, path)
            done: set[str] = set()
            whole = path.stat().st_size
            for member in members:
                if not member.isreg() or member.name not in digests or member.name in done:
                    raise ModelError(f"{path} holds {member.name!r}, which its list does not have: nothing of it was kept.")
                _unpack(archive, member, staging, digests[member.name], path)
                done.add(member.name)
                progress(member.offset_data + member.size, whole)
    except (tarfile.TarError, OSError, EOFError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError) and error.errno:
            raise
        raise ModelError(f"{path} is no whole bundle ({error}): copy it again.") from None
    except ModelError:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    missing = sorted(digests.keys() - done)
    if missing:
        shutil.rmtree(staging, ignore_errors=True)
        raise ModelError(f"{path} lacks {missing[0]} ({len(missing)} of its files): copy it again.")
    return _settle(staging)


def _manifest(archive: tarfile.TarFile, members: Iterator[tarfile.TarInfo], path: Path) -> dict[str, str]:
    first = next(members, None)
    opened = archive.extractfile(first) if first and first.name == MANIFEST and first.isreg() and first.size < _CHUNK else None
    if opened is None:
        raise ModelError(f"{path} is no bundle of mats: make one with `mats models bundle NAME -o {path.name}`.")
    try:
        told = json.loads(opened.read())
        digests = told["files"]
        bad = told["format"] != _FORMAT or not digests or not all(isinstance(value, str) for value in digests.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        bad, digests = True, {}
    if bad:
        raise ModelError(f"{path} is a bundle of another version of mats: make it again with this one.")
    for name in digests:
        if not _MEMBER.fullmatch(name) or name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".py")):
            raise ModelError(f"{path} wants to write {name!r}, which is no file of a model: nothing of it was kept.")
    return dict(digests)


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, staging: Path, digest: str, path: Path) -> None:
    opened = archive.extractfile(member)
    assert opened is not None
    to = staging / member.name
    to.parent.mkdir(parents=True, exist_ok=True)
    had = hashlib.sha256()
    with to.open("wb") as kept:
        while chunk := opened.read(_CHUNK):
            had.update(chunk)
            kept.write(chunk)
    if had.hexdigest() != digest:
        raise ModelError(f"{member.name} in {path} is not the file that was put there (its SHA-256 differs): copy it again.")


def _settle(staging: Path) -> list[str]:
    """Each folder takes its place at once; one that was there under that name makes room."""
    names = []
    for folder in sorted(each for kind in staging.iterdir() for each in kind.iterdir()):
        to = cache() / folder.parent.name / folder.name
        to.parent.mkdir(parents=True, exist_ok=True)
        old = to.with_name(f".{to.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if to.exists():
            os.replace(to, old)
        os.replace(folder, to)
        shutil.rmtree(old, ignore_errors=True)
        names.append(f"{folder.parent.name}/{folder.name}")
    shutil.rmtree(staging, ignore_errors=True)
    return names
