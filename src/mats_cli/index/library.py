"""mats index library: build a library of sounds or bring it up to date; only what is new or changed is read."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import console, loading
from mats_cli import options as shared
from mats_cli.formats import plain_json, visible
from mats_cli.labels import Labels, read_labels
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    from mats_model.ears import Ears
    from mats_model.library.changes import Changes
    from mats_model.library.records import Info
    from mats_model.library.store import Library

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
    from mats_model.library.changes import compare
    from mats_model.library.store import Library

    part = _shard(shard)
    _check(engine, offline, clap, captions)
    labels = read_labels(tags, "--tags") if tags else Labels([])
    for line in [] if quiet else labels.notes:
        console.note(line)
    path = loading.index_path(index)

    @functools.cache
    def load() -> Ears:
        if captions:
            return loading.load_model(model, offline)
        return loading.load_ears(clap, model, offline, device)

    with Library(path, create=True) as store, store.job(lambda: loading.say_waiting(path)):
        if rebuild:
            store.clear()
        changes = compare(store, folders or (), part)
        _say(changes, quiet)
        _update(store, changes, load, (clap or model) if engine == "ray" else "", quiet)
        _describe(store, changes, load, captions, labels, quiet)
        info = store.info()
    console.out(_report(changes, info, json))
    failed = len(changes.failed)
    raise typer.Exit(0 if not failed and not changes.cut else 3 if failed < max(changes.found, 1) else 4)


def _check(engine: str, offline: bool, clap: str | None, captions: bool) -> None:
    """Errors: UsageError for options that do not go together."""
    if engine not in ("local", "ray"):
        raise UsageError(f"--engine {engine}: choose local or ray.")
    if engine == "ray" and offline:
        raise UsageError("--engine ray talks to the machines of its cluster: leave out --offline.")
    if clap and captions:
        raise UsageError(
            "--captions needs the language model of --model, which was not made for another encoder: leave out --clap."
        )


def _say(changes: Changes, quiet: bool) -> None:
    """What was passed over. Errors: UsageError where no folder is known, InputError where nothing was found."""
    if not changes.folders:
        raise UsageError("the library has no folders yet: name one, as in `mats index library ~/sounds`.")
    if changes.passed and not quiet:
        console.note(changes.passed)
    if changes.nothing:
        raise InputError(f"no sounds were found in {', '.join(changes.folders)}.")


def _update(store: Library, changes: Changes, load: Callable[[], Ears], on_ray: str, quiet: bool) -> None:
    """Hear what is to do, and say what goes wrong meanwhile."""
    from mats_model.library.update import update

    for path, why in changes.failed:
        if not quiet or path not in store.known(path):
            console.note(why)
    done = 0
    try:
        reads = update(store, changes, load, on_ray)
        for read in console.progress(reads, len(changes.todo), "file", quiet):
            for line in read.notes:
                console.note(line)
            if read.state.error:
                console.note(read.state.error)
                console.trace(read.trace)
            done += 1
    except KeyboardInterrupt:
        console.note(f"stopped: {done} of {len(changes.todo)} files are in. The same command goes on from there.")
        raise console.Stopped from None


def _describe(
    store: Library, changes: Changes, load: Callable[[], Ears], captions: bool, labels: Labels, quiet: bool
) -> None:
    """Words for the sounds that have none."""
    from mats_model.library.describe import caption_sounds, tag_sounds
    from mats_model.mats import Mats

    try:
        if labels.names:
            tag_sounds(store, load(), labels.names, labels.examples)
        if captions and isinstance(mats := load(), Mats):
            batches = -(-store.info().sounds // mats.llm.rows)
            for _ in console.progress(caption_sounds(store, mats), batches, "batch", quiet):
                pass
    except KeyboardInterrupt:
        console.note(f"stopped: all {len(changes.todo)} files are in. The same command goes on from there.")
        raise console.Stopped from None


def _report(changes: Changes, info: Info, json: bool) -> str:
    numbers = {
        "new": changes.fresh,
        "changed": len(changes.todo) - changes.fresh,
        "same": changes.kept,
        "gone": len(changes.gone),
    }
    if json:
        failed = [{"path": path, "error": why} for path, why in changes.failed]
        return plain_json({"index": info.path, **numbers, "failed": failed, **totals(info)}) + "\n"
    said = (
        ", ".join(f"{count} {name}" for name, count in {**numbers, "failed": len(changes.failed)}.items() if count)
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
