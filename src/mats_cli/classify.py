"""mats classify: which of your labels fit each sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import loading
from mats_cli import options as shared
from mats_cli.documents import chosen_format
from mats_cli.formats import Result, Row
from mats_cli.inputs import read_labels
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.audio.folders import Item
    from mats_model.ears import Ears
    from mats_model.many import Listened

Labels = Annotated[
    str,
    typer.Option(
        "--labels",
        metavar="FILE|LIST",
        help="A file with one label per line (# begins a remark), - for stdin, or labels with commas: 'dog,rain'.",
    ),
]
TopK = Annotated[
    int, typer.Option("--top-k", metavar="N", min=1, help="How many labels to show for each stretch, best first.")
]
Template = Annotated[
    str,
    typer.Option(
        "--template", metavar="TEXT", help="A sentence around each label, with {} for the label: 'the sound of {}'."
    ),
]
Multi = Annotated[bool, typer.Option("--multi", help="Every label that fits, each with a probability of its own.")]
Threshold = Annotated[
    Optional[float],
    typer.Option(
        "--threshold", metavar="P", min=0.0, max=1.0, help="With --multi: the least probability; 0.5 if not given."
    ),
]


def classify(
    inputs: shared.Inputs,
    labels: Labels,
    top_k: TopK = 1,
    template: Template = "{}",
    multi: Multi = False,
    threshold: Threshold = None,
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
    clap: shared.Clap = None,
    device: shared.EarsDevice = "auto",
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
) -> None:
    """Choose among labels of your own: any words, no fixed list.

    Without --multi the scores of all labels sum to 1 and the best is shown; with --multi each label is judged alone
    and stretches that follow each other with the same label are joined.

    \b
    Examples:
      mats classify folder/ --labels labels.txt
      mats classify dog.wav --labels "dog,rain,church bell" --top-k 3
      mats classify street.wav --labels labels.txt --multi --threshold 0.3 --every 2
      mats classify folder/ --labels labels.txt --csv > labels.csv
    """
    from mats_cli import console, job

    kind = chosen_format(format, json, csv, bom=bom, output=output, timeline=timeline)
    shared.check_goes_with(kind, trace, embed)
    if threshold is not None and not multi:
        raise UsageError("--threshold goes with --multi: without it one label is always chosen.")
    if labels == "-" and "-" in inputs:
        raise UsageError("standard input can hold the labels or a sound, not both.")
    names, notes = read_labels(labels)
    for line in [] if quiet else notes:
        console.note(line)
    found = job.found(inputs)
    mats = loading.load_ears(clap, model, offline, device)
    vectors = mats.label_embeddings(names, template)
    least = 0.5 if threshold is None else threshold
    chosen = job.Options(every, kind, output, quiet, every is not None or multi, trace, embed)
    settings = {
        "verb": "classify",
        "labels": names,
        "template": template,
        "multi": multi,
        "threshold": least,
        "top_k": top_k,
    }

    def rows(listened: Listened) -> list[Row]:
        if multi:
            return _multi(mats, listened, names, vectors, least)
        return _best(mats, listened, names, vectors, top_k)

    def answer(all_heard: Iterator[Listened]) -> Iterator[tuple[Item, Result]]:
        for listened in all_heard:
            yield listened.item, Result(listened.item.name, rows(listened), listened.error)

    raise typer.Exit(job.run(mats, found, chosen, {"verb": "classify", **settings}, answer))


def _best(mats: Ears, listened: Listened, names: list[str], vectors: Any, top_k: int) -> list[Row]:
    from mats_model.labels import ranked

    rows = []
    for heard in listened.heard:
        row = Row(heard.start, heard.end, silent=heard.embedding is None)
        if heard.embedding is not None:
            row.labels = [
                (label.name, round(label.score, 4))
                for label in ranked(names, mats.score(heard.embedding, vectors))[:top_k]
            ]
        rows.append(row)
    return rows


def _multi(mats: Ears, listened: Listened, names: list[str], vectors: Any, least: float) -> list[Row]:
    """One row per label and event, by time; where all is silent, that is said."""
    from mats_model.live.events import events, probabilities

    heard = listened.heard
    if heard and all(stretch.embedding is None for stretch in heard):
        return [Row(heard[0].start, heard[-1].end, silent=True)]
    # as they are shown, so that what is shown as the threshold passes it
    scores = (row and [round(score, 4) for score in row] for row in probabilities(mats, heard, vectors))
    return [
        Row(event.start, event.end, labels=[(event.label, event.score)])
        for event in events(heard, scores, names, least)
    ]
