"""mats caption: a sentence about each sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from mats_cli import options as shared
from mats_cli.formats import Result, Row
from mats_cli.inputs import Item, expand

if TYPE_CHECKING:
    from mats_cli.job import Listened
    from mats_model.mats import Mats


def caption(
    inputs: shared.Inputs,
    every: shared.Every = None,
    format: shared.Format = None,
    json: shared.Json = False,
    csv: shared.Csv = False,
    bom: shared.Bom = False,
    output: shared.Output = None,
    model: shared.Model = "nano",
    memory: shared.Memory = None,
    santa: shared.SantaWay = "",
    no_santa: shared.NoSanta = False,
    search: shared.Search = "",
    llm: shared.Llm = None,
    quantize: shared.Quantize = None,
    device: shared.Compute = "auto",
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
) -> None:
    """Say in one sentence what is heard in each sound.

    One input gives the sentence; several give "path<TAB>sentence", one line each. Silence is said to be silence.

    \b
    Examples:
      mats caption song.wav
      mats caption recordings/ a.flac - < b.wav
      mats caption film.wav --every 5 --format srt -o film.srt
      mats caption recordings/ --format jsonl | jq .segments[0].caption
    """
    from mats_cli import job

    kind = shared.chosen_format(format, json, csv, bom=bom)
    found = expand(inputs)
    if not found.items:
        from mats_model.errors import InputError

        raise InputError(job.nothing_found(found, inputs))
    mats = shared.load_model(model, offline, llm, quantize, device)
    across = shared.apply_santa(mats, memory, santa, no_santa) | shared.apply_search(mats, search)
    chosen = job.Options(every, kind, output, quiet, timed=every is not None)
    raise typer.Exit(
        job.run(
            mats,
            found,
            chosen,
            {"verb": "caption", **across, "llm": llm, "quantize": quantize},
            lambda heard: _answer(mats, heard),
        )
    )


def _answer(mats: Mats, all_heard: Iterator[Listened]) -> Iterator[tuple[Item, Result]]:
    """Captions in batches over the inputs, results in their order."""
    import numpy as np

    waiting: list[Listened] = []

    def flush() -> Iterator[tuple[Item, Result]]:
        vectors = [heard.embedding for listened in waiting for heard in listened.heard if heard.embedding is not None]
        said = iter(mats.answer(np.stack(vectors)) if vectors else [])
        for listened in waiting:
            rows = [
                Row(heard.start, heard.end, silent=True, caption=None)
                if heard.embedding is None
                else Row(heard.start, heard.end, next(said))
                for heard in listened.heard
            ]
            yield listened.item, Result(listened.item.name, rows, listened.error)
        waiting.clear()

    for listened in all_heard:
        waiting.append(listened)
        if sum(len(one.heard) for one in waiting) >= mats.llm.rows or len(waiting) >= mats.llm.rows:
            yield from flush()
    yield from flush()
