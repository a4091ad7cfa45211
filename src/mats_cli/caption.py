"""mats caption: a sentence about each sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from mats_cli import loading
from mats_cli import options as shared
from mats_cli.documents import TIMED, chosen_format
from mats_cli.formats import Result, Row
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.audio.folders import Item
    from mats_model.many import Listened


Events = Annotated[
    bool,
    typer.Option("--events", help="A line for each sound of a long recording, with its times, instead of one for all."),
]


def caption(
    inputs: shared.Inputs,
    every: shared.Every = None,
    events: Events = False,
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

    One input gives the sentence; several give "path<TAB>sentence", one line each. Silence is said to be silence. A
    recording of more than 20 s is heard in stretches that end where its sound changes: the sentence tells its main
    sounds, the longest first; --events, subtitles, tracks, a timeline and a page tell each with its times.

    \b
    Examples:
      mats caption song.wav
      mats caption recordings/ a.flac - < b.wav
      mats caption street.wav --events
      mats caption film.wav --every 5 -o film.srt
      mats caption recordings/ --format jsonl | jq .segments[0].caption
    """
    from mats_cli import console, job
    from mats_model.many import say_all

    kind = chosen_format(format, json, csv, bom=bom, output=output, timeline=timeline)
    shared.check_goes_with(kind, trace, embed)
    found = job.found(inputs)
    mats = loading.load_model(model, offline, llm, quantize, device)
    across = loading.apply_santa(mats, memory, santa, no_santa) | loading.apply_search(mats, search)
    if events and every is not None:
        raise UsageError("--events ends where the sound changes, --every by the clock: choose one.")
    timed = events or every is not None
    whole = not timed and kind not in TIMED
    chosen = job.Options(every, kind, output, quiet, timed, trace, embed, changes=every is None)
    settings = {"verb": "caption", **across, "llm": llm, "quantize": quantize, "whole": whole}
    long = []

    def answer(all_heard: Iterator[Listened]) -> Iterator[tuple[Item, Result]]:
        for listened, said in say_all(mats, all_heard, whole):
            if whole and len(listened.heard) > 1:
                long.append(listened.item)
            rows = [
                Row(each.start, each.end, each.caption, silent=each.caption is None, score=each.score) for each in said
            ]
            yield listened.item, Result(listened.item.name, rows, listened.error)

    code = job.run(mats, found, chosen, settings, answer)
    if long and not quiet and console.on_terminal():
        console.note("--events shows when each sound of a long recording is heard.")
    raise typer.Exit(code)
