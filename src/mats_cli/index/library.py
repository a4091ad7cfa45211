"""mats index library: build a library of sounds or bring it up to date; only what is new or changed is read."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import console
from mats_cli import options as shared
from mats_cli.formats import plain_json, visible
from mats_cli.inputs import Item, expand, read_labels
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    from mats_model.ears import Ears
    from mats_model.library.store import Info, Library, State

Folders = Annotated[
    Optional[list[str]],
    typer.Argument(
        metavar="FOLDER", help="Folders or sounds; without one, those that were given before.", show_default=False
    ),
]
Rebuild = Annotated[
    bool,
    typer.Option("--rebuild", help="Forget what is there and hear everything again, as after a change of the model."),
]
Captions = Annotated[bool, typer.Option("--captions", help="Keep a caption for each sound too.")]
Tags = Annotated[
    Optional[str],
    typer.Option("--tags", metavar="FILE|LIST", help="Keep the three best of these labels for each sound."),
]
Shard = Annotated[
    Optional[str],
    typer.Option("--shard", metavar="I/N", help="Only part I of N, for several machines; then: mats index merge."),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine", metavar="local|ray", help="ray: on all machines of a Ray cluster that see the same files."
    ),
]


@dataclass
class Change:
    """What differs between the folders and the index."""

    todo: list[Item] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    kept: int = 0
    fresh: int = 0  # of those to do
    failed: list[tuple[str, str]] = field(default_factory=list)
    found: int = 0
    parts: int = 0  # of those to do, heard without what is missing in them
    passed: str | None = None  # which files of the folders were passed over, in words


def library(
    folders: Folders = None,
    index: shared.Index = None,
    model: shared.Model = "nano",
    clap: shared.Clap = None,
    device: shared.EarsDevice = "auto",
    rebuild: Rebuild = False,
    captions: Captions = False,
    tags: Tags = None,
    shard: Shard = None,
    engine: Engine = "local",
    offline: shared.Offline = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Build the library of your sounds, or bring it up to date.

    Only new and changed files are read; deleted ones leave; a job that was stopped goes on with the same command.

    \b
    Examples:
      mats index library ~/sounds
      mats index library
      mats index library /mnt/archive --captions --shard 3/16 --index part3.db
    """
    from mats_model.library.store import Library

    part = _shard(shard)
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: choose local or ray.")
    if engine == "ray" and offline:
        raise UsageError("--engine ray talks to the machines of its cluster: leave out --offline.")
    if clap and captions:
        raise UsageError(
            "--captions needs the language model of --model, which was not made for another encoder: leave out --clap."
        )
    labels = read_labels(tags, "--tags")[0] if tags else []
    path = shared.index_path(index)
    with Library(path, create=True) as store, store.job(lambda: shared.say_waiting(path)):
        if rebuild:
            store.clear()
        names = [os.path.abspath(name) for name in folders or []] or store.roots()
        if not names:
            raise UsageError("the library has no folders yet: name one, as in `mats index library ~/sounds`.")
        change = compare(store, names, part)
        if change.passed and not quiet:
            console.note(change.passed)
        if not change.found and not change.gone and not change.failed:
            raise InputError(f"no sounds were found in {', '.join(names)}.")
        for name in names:
            if os.path.isdir(name):
                store.add_root(name)

        def load() -> Ears:
            if captions:
                return shared.load_model(model, offline)
            return shared.load_ears(clap, model, offline, device)

        _work(store, change, load, clap or model, engine, captions, labels, quiet)
        info = store.info()
    console.out(_report(change, info, json))
    failed = len(change.failed)
    raise typer.Exit(0 if not failed and not change.parts else 3 if failed < max(change.found, 1) else 4)


def compare(store: Library, names: list[str], part: tuple[int, int]) -> Change:
    """Look at folders and index; nothing is read but names, sizes and times."""
    from mats_model.library.store import in_shard, state_of

    change = Change()
    there = [name for name in names if os.path.exists(name)]
    for name in names:
        if name not in there:
            stay = len(store.known(name))
            left = f"; its {stay} files stay in the index until `mats index rm {name}`" if stay else ""
            change.failed.append((name, f"{name} is not there{left}."))
    known: dict[str, State] = {}
    for name in there:
        known |= store.known(name)
    seen: set[str] = set()
    closed: list[str] = []
    found = expand(there)
    change.passed = found.passed_over()
    for item in found.items:
        if not in_shard(str(item.tree), part):
            seen.add(item.name)
            continue
        if item.problem:
            change.failed.append((item.name, item.problem))
            closed.append(item.name.rstrip(os.sep) + os.sep)
            continue
        seen.add(item.name)
        change.found += 1
        before = known.get(item.name)
        try:
            now = state_of(item.name)
        except OSError:
            now = None  # a dead link, or gone just now: reading it says what is wrong
        if before is None or now is None or not before.same(now) or (before.error and _mended(before.error)):
            change.todo.append(item)
            change.fresh += before is None
        elif before.error:
            change.failed.append((item.name, before.error))
        else:
            change.kept += 1
    change.gone = [path for path in known if path not in seen and not path.startswith(tuple(closed))]
    return change


def _mended(error: str) -> bool:
    """What a file lacked, an extra of mats, has been installed since."""
    return "mats[media]" in error and importlib.util.find_spec("av") is not None


def _work(
    store: Library,
    change: Change,
    load: Callable[[], Ears],
    model: str,
    engine: str,
    captions: bool,
    labels: list[str],
    quiet: bool,
) -> None:
    mats: Ears | None = None
    for path, why in change.failed:
        if not quiet or path not in store.known(path):
            console.note(why)
    done = 0
    try:
        if change.todo:
            mats = load()
            store.of_pipeline(mats.clap.id, mats.clap.dim)
            reads = _reads(mats, store, [item.name for item in change.todo], model, engine)
            for read in console.progress(reads, len(change.todo), "file", quiet):
                sound = read.sound or store.sound_of(read.digest)
                if sound is None and not read.state.error:
                    read = _heard(mats, read)
                    sound = read.sound
                for line in read.notes:
                    console.note(line)
                if read.state.error:
                    console.note(read.state.error)
                    console.trace(read.trace)
                    change.failed.append((read.path, read.state.error))
                    # one that has vanished meanwhile, or whose disk failed, is not remembered as bad
                    if read.state.mtime_ns:
                        store.fail(read.path, read.state, read.state.error)
                elif sound is not None:
                    change.parts += read.missing
                    store.put(read.path, read.state, sound)
                done += 1
        # after the new ones are in, so that a file that was moved need not be heard again
        store.drop(change.gone)
        if captions or labels:
            mats = mats or load()
            store.of_pipeline(mats.clap.id, mats.clap.dim)
            _describe(store, mats, captions, labels, quiet)
    except KeyboardInterrupt:
        console.note(f"stopped: {done} of {len(change.todo)} files are in. The same command goes on from there.")
        raise console.Stopped from None


def _reads(mats: Ears, store: Library, paths: list[str], model: str, engine: str) -> Iterator[Any]:
    from mats_model.library.crawl import read_all, read_on_ray

    if engine == "ray":
        return read_on_ray(model, paths, mats.clap.id)
    return read_all(mats, paths, store.finder())


def _heard(mats: Ears, before: Any) -> Any:
    """A content that was known when it was read, and whose last other file changed since: heard after all."""
    from mats_model.library.crawl import read

    return read(mats, before.path, lambda digest: False)


def _describe(store: Library, mats: Ears, captions: bool, labels: list[str], quiet: bool) -> None:
    """Words for sounds that have none yet, a few at a time, so that a killed job goes on."""
    import numpy as np

    from mats_model.labels import ranked
    from mats_model.mats import Mats
    from mats_model.vectors import unit

    def vectors(rows: list[tuple[int, Any]]) -> np.ndarray:
        return unit(np.stack([vector for _, vector in rows]).astype(np.float32))

    if labels:
        store.tag_with(labels)
        told = mats.label_embeddings(labels)
        while rows := store.without("tags", 4096):
            scores = [mats.score(vector, told, multi=True) for vector in vectors(rows)]
            best = [[(label.name, round(label.score, 4)) for label in ranked(labels, some)[:3]] for some in scores]
            store.describe("tags", [(number, tags) for (number, _), tags in zip(rows, best, strict=True)])
    if captions and isinstance(mats, Mats):
        left = store.info().sounds
        at_once = mats.llm.rows
        batches = iter(lambda: store.without("caption", at_once), [])
        for rows in console.progress(batches, -(-left // at_once), "batch", quiet):
            store.describe(
                "caption", [(number, said) for (number, _), said in zip(rows, mats.answer(vectors(rows)), strict=True)]
            )


def _report(change: Change, info: Info, json: bool) -> str:
    numbers = {
        "new": change.fresh,
        "changed": len(change.todo) - change.fresh,
        "same": change.kept,
        "gone": len(change.gone),
    }
    if json:
        failed = [{"path": path, "error": why} for path, why in change.failed]
        return plain_json({"index": info.path, **numbers, "failed": failed, **totals(info)}) + "\n"
    said = (
        ", ".join(f"{count} {name}" for name, count in {**numbers, "failed": len(change.failed)}.items() if count)
        or "nothing to do"
    )
    return f"{said}; {describe(info)}\n"


def totals(info: Info) -> dict[str, Any]:
    """For JSON."""
    return {"files": info.files, "sounds": info.sounds, "windows": info.windows, "seconds": round(info.seconds, 1)}


def describe(info: Info) -> str:
    """An index in a few words."""
    twice = info.files - info.failed - info.sounds
    copies = f" ({twice} of them copies)" if twice > 0 else ""
    return (
        f"{info.files - info.failed} files{copies}, {console.clock(info.seconds)}, {info.windows} windows in "
        f"{visible(info.path)}"
    )


def _shard(given: str | None) -> tuple[int, int]:
    if given is None:
        return 1, 1
    found = re.fullmatch(r"(\d+)/(\d+)", given)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {given}: write I/N, such as 3/16.")
    return int(found[1]), int(found[2])
