"""mats index: what is built from many vectors, a library of sounds and Santa's memory; and what can be done with a
library."""

from __future__ import annotations

import json as jsonlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer

from mats_cli import console, loading
from mats_cli import options as shared
from mats_cli.formats import plain_json, visible
from mats_cli.index.library import describe, library, totals
from mats_cli.index.memory import memory
from mats_cli.index.tune import tune
from mats_model.errors import InputError, UsageError

app = shared.App(no_args_is_help=True, rich_markup_mode=None)
app.command()(library)
app.command()(memory)
app.command()(tune)


@app.callback()
def _top() -> None:
    """Build and keep what many sounds or many captions are turned into.

    \b
    Examples:
      mats index library ~/sounds
      mats search "kids laughing in the rain"
    """


@app.command()
def info(index: shared.Index = None, json: shared.Json = False) -> None:
    """Say what the library holds."""
    from mats_model.library.store import Library

    with Library(loading.index_path(index)) as store:
        found = store.info()
        failed = {path: state.error for path, state in store.known().items() if state.error}
    if json:
        console.out(plain_json({**asdict(found), "failed": failed}) + "\n")
        return
    lines = [
        describe(found),
        f"{found.bytes / 1e6:.1f} MB, encoder {found.pipeline or 'none yet'}, {found.captions} captions",
    ]
    lines += [f"folder {visible(folder)}" for folder in found.roots] + [visible(why) for why in failed.values() if why]
    console.out("\n".join(lines) + "\n")


@app.command()
def path(index: shared.Index = None) -> None:
    """Say where the library lies: an SQLite file."""
    console.out(f"{loading.index_path(index)}\n")


@app.command()
def rm(
    names: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files or folders to take out of the library; they stay on the disk."),
    ],
    index: shared.Index = None,
    json: shared.Json = False,
) -> None:
    """Take files or folders out of the library; nothing on the disk is touched but the index."""
    from mats_model.library.store import Library

    place = loading.index_path(index)
    with Library(place):
        pass  # said to be missing before one is made
    counts: dict[str, int] = {}
    with Library(place, create=True) as store, store.job(lambda: loading.say_waiting(place)):
        for name in names:
            counts[name] = store.drop_folder(os.path.abspath(name))
    console.out(
        jsonlib.dumps(counts) + "\n"
        if json
        else "".join(f"{count} files of {visible(name)} taken out\n" for name, count in counts.items())
    )
    if not any(counts.values()):
        raise InputError(f"the index holds nothing of {', '.join(names)}: `mats index info` names its folders.")


@app.command()
def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="PART...", help="Indexes made with --shard, or any others of the same encoder."),
    ],
    output: Annotated[
        Optional[Path],
        typer.Option("-o", "--output", metavar="FILE", help="The index they are put into; the library if not given."),
    ] = None,
    json: shared.Json = False,
) -> None:
    """Put several indexes into one; a file that two of them know is taken from the later one."""
    from mats_model.library.store import Library

    target = loading.index_path(output)
    for part in parts:
        with Library(part):
            pass
        if target.exists() and target.samefile(part):
            raise UsageError(f"{part} cannot be merged into itself: give another file with -o.")
    with Library(target, create=True) as store, store.job(lambda: loading.say_waiting(target)):
        for part in parts:
            store.merge(part)
        found = store.info()
    console.out(jsonlib.dumps({"index": str(target), **totals(found)}) + "\n" if json else f"{describe(found)}\n")


@app.command()
def export(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Where to; an ending .npz or .parquet says the format."),
    ],
    format: Annotated[
        Optional[str], typer.Option("--format", metavar="npz|parquet", help="The format, whatever the file is called.")
    ] = None,
    index: shared.Index = None,
) -> None:
    """Write paths, times and vectors of all windows to one file for other tools."""
    from mats_model.library.export import FORMATS, export_to
    from mats_model.library.store import Library

    kind = format or output.suffix.lstrip(".").lower()
    if kind not in FORMATS:
        raise UsageError(f"-o {output}: choose --format {' or '.join(FORMATS)}.")
    with Library(loading.index_path(index)) as store:
        count = export_to(store, output, kind)
    console.note(f"{output}: {count} windows")
