"""mats classify: which of your labels fit each sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mats_cli import options as shared
from mats_cli.formats import Result, Row
from mats_cli.inputs import Item, expand, read_labels
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from mats_cli.job import Listened
    from mats_model.ears import Ears

Labels = Annotated[
    str,
    typer.Option(
        "--labels",
        metavar="FILE|LIST",
        help="A file with one label per line (# begins a remark), - for stdin, or labels with commas: 'dog,rain'.",
    ),
]
TopK = Annotated[int, typer.Option("--top-k", min=1, help="How many labels to show for each stretch, best first.")]
Template = Annotated[
    str, typer.Option("--template", help="A sentence around each label, with {} for the label: 'the sound of {}'.")
]
Multi = Annotated[bool, typer.Option("--multi", help="Every label that fits, each with a probability of its own.")]
Threshold = Annotated[
    Optional[float],
    typer.Option("--threshold", min=0.0, max=1.0, help="With --multi: the least probability; 0.5 if not given."),
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

    kind = shared.chosen_format(format, json, csv, bom=bom)
    if threshold is not None and not multi:
        raise UsageError("--threshold goes with --multi: without it one label is always chosen.")
    if labels == "-" and "-" in inputs:
        raise UsageError("standard input can hold the labels or a sound, not both.")
    names, notes = read_labels(labels)
    for line in [] if quiet else notes:
        console.note(line)
    found = expand(inputs)
    if not found.items:
        raise InputError(job.nothing_found(found, inputs))
    mats = shared.load_ears(clap, model, offline, device)
    vectors = mats.label_embeddings(names, template)
    least = 0.5 if threshold is None else threshold
    chosen = job.Options(every, kind, output, quiet, timed=every is not None or multi)
    settings = {
        "verb": "classify",
        "labels": names,
        "template": template,
        "multi": multi,
        "threshold": least,
        "top_k": top_k,
    }

    def answer(all_heard: Iterator[Listened]) -> Iterator[tuple[Item, Result]]:
        for listened in all_heard:
            rows = (
                _multi(mats, listened, names, vectors, least) if multi else _best(mats, listened, names, vectors, top_k)
            )
            yield listened.item, Result(listened.item.name, rows, listened.error)

    raise typer.Exit(job.run(mats, found, chosen, settings, answer))


def _best(mats: Ears, listened: Listened, names: list[str], vectors: np.ndarray, top_k: int) -> list[Row]:
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


def _multi(mats: Ears, listened: Listened, names: list[str], vectors: np.ndarray, least: float) -> list[Row]:
    """One row per label and event, by time: neighbouring stretches with the same label are one event. All silent:
    said."""
    rows: list[Row] = []
    open_rows: dict[str, Row] = {}
    for heard in listened.heard:
        now: dict[str, Row] = {}
        if heard.embedding is not None:
            for name, value in zip(names, mats.score(heard.embedding, vectors, multi=True).tolist(), strict=True):
                score = round(value, 4)
                if score < least:
                    continue
                row = open_rows.get(name)
                if row is None:
                    row = Row(heard.start, heard.end, labels=[(name, score)])
                    rows.append(row)
                row.end, row.labels = heard.end, [(name, max(score, row.labels[0][1]))]
                now[name] = row
        open_rows = now
    if listened.heard and all(heard.embedding is None for heard in listened.heard):
        return [Row(listened.heard[0].start, listened.heard[-1].end, silent=True)]
    return sorted(rows, key=lambda row: (row.start, -row.labels[0][1]))
