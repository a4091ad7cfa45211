"""mats caption: a sentence about each sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from mats_cli import loading
from mats_cli import options as shared
from mats_cli.documents import chosen_format
from mats_cli.formats import Result, Row

if TYPE_CHECKING:
    from mats_model.audio.folders import Item
    from mats_model.many import Listened
    from mats_model.mats import Mats


def caption(
    inputs: shared.Inputs,
    every: shared.Every = None,
    format: shared.Format = None,
    json: shared.Json = False,
    csv: shared.Csv = False,
    bom: shared.Bom = False,
    trace: shared.Trace = False,
    timeline: shared.Timeline = False,
    embed: shared.Embed = False,
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

    kind = chosen_format(format, json, csv, bom=bom, output=output, timeline=timeline)
    shared.check_goes_with(kind, trace, embed)
    found = job.found(inputs)
    mats = loading.load_model(model, offline, llm, quantize, device)
    across = loading.apply_santa(mats, memory, santa, no_santa) | loading.apply_search(mats, search)
    chosen = job.Options(every, kind, output, quiet, every is not None, trace, embed)
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
    from mats_model.many import caption_all

    for listened, captions in caption_all(mats, all_heard):
        rows = [
            Row(stretch.start, stretch.end, silent=True)
            if caption is None or stretch.embedding is None
            else Row(stretch.start, stretch.end, caption, score=mats.likeness(caption, stretch.embedding))
            for stretch, caption in zip(listened.heard, captions, strict=True)
        ]
        yield listened.item, Result(listened.item.name, rows, listened.error)
