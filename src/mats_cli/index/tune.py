"""mats index tune: a table of ways across the gap, measured on recordings with references."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mats_cli import console, loading
from mats_cli import options as shared
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    from mats_model.training.tune import Outcome

Audio = Annotated[Path, typer.Option("--audio", metavar="DIR", help="The recordings.", show_default=False)]
Captions = Annotated[
    Path,
    typer.Option("--captions", metavar="FILE", help="CSV: file, caption columns or rows, label.", show_default=False),
]
Try = Annotated[
    Optional[list[str]],
    typer.Option("--try", metavar="SETTINGS", help="Settings to compare, as for --santa; may be given again."),
]
Limit = Annotated[
    int,
    typer.Option("--limit", metavar="N", min=0, help="Take every so many-th recording that N are left; 0 takes all."),
]


def tune(
    audio: Audio,
    captions: Captions,
    try_: Try = None,
    limit: Limit = 0,
    memory: shared.Memory = None,
    model: shared.Model = "nano",
    offline: shared.Offline = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Compare ways to move a sound toward text, on recordings whose captions or labels are known, and recommend one.

    Means over clips with 95 % intervals; "gain" is the interval of the difference to the model's own settings.

    \b
    Examples:
      mats index tune --audio clips/ --captions refs.csv
      mats index tune --audio clips/ --captions refs.csv --try lambda=0.5,tau=0.1,k=32 --try way=project
    """
    import numpy as np

    from mats_cli.job import listen_all
    from mats_model.audio.folders import Item
    from mats_model.gap.memory import DiskMemory
    from mats_model.gap.santa import changed
    from mats_model.training.tune import METHODS, compare, recommend, references

    if not audio.is_dir():
        raise UsageError(f"--audio {audio} is no folder.")
    told = references(captions, audio)
    told = told[:: -(-len(told) // limit)] if limit else told
    mats = loading.load_model(model, offline)
    for settings in try_ or []:
        changed(mats.santa.settings, settings)
    items = [Item(str(row.path), row.path, Path(row.path.name)) for row in told]
    heard, kept = [], []
    listened = listen_all(mats, items, None)
    for reference, one in zip(told, console.progress(listened, len(items), "file", quiet), strict=True):
        for line in [*one.notes, *filter(None, [one.error])]:
            console.note(line)
        console.trace(one.trace)
        if not one.error and one.heard[0].embedding is not None:
            heard.append(one.heard[0].embedding)
            kept.append(reference)
    if not kept:
        raise InputError(f"none of the recordings of {captions} can be heard.")
    other = DiskMemory(memory, mats.clap.space) if memory else None
    methods = try_ or METHODS
    outcomes: list[Outcome] = []
    for outcome in console.progress(
        compare(mats, np.stack(heard), kept, methods, other), len(methods) + 4, "method", quiet
    ):
        if not json and not outcomes:
            console.out(f"{len(kept)} recordings, model {mats.config.name} {mats.config.id}\n\n" + head(outcome))
        outcomes.append(outcome)
        console.out(jsonlib.dumps(_plain(outcome)) + "\n" if json else row(outcome))
    if json:
        console.out(jsonlib.dumps({"recommended": recommend(outcomes)}) + "\n")
    else:
        console.out(f"\nRecommended: {recommend(outcomes)}.\n")


def head(outcome: Outcome) -> str:
    """The first two lines of the table."""
    keys = list(outcome.scores)
    return f"| settings | {' | '.join(keys)} | gain in {keys[0]} |\n|{'---|' * (len(keys) + 2)}\n"


def row(outcome: Outcome) -> str:
    """A line of it."""
    cells = [f"{score.mean:.3f} ({score.low:.3f} to {score.high:.3f})" for score in outcome.scores.values()]
    gain = f"{outcome.gain[0]:+.3f} to {outcome.gain[1]:+.3f}" if outcome.gain else ""
    return f"| {outcome.method} | {' | '.join(cells)} | {gain} |\n"


def _plain(outcome: Outcome) -> dict[str, object]:
    scores = {
        key: {"mean": round(s.mean, 4), "low": round(s.low, 4), "high": round(s.high, 4)}
        for key, s in outcome.scores.items()
    }
    return {"settings": outcome.method, **scores, "gain": outcome.gain and [round(each, 4) for each in outcome.gain]}
