"""mats classify: which of your labels fit each sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mats_cli import loading
from mats_cli import options as shared
from mats_cli.documents import TIMED, chosen_format
from mats_cli.formats import Result, Row
from mats_cli.labels import Labels, label_embeddings, read_labels
from mats_model.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from mats_model.audio.folders import Item
    from mats_model.ears import Ears, Stretch
    from mats_model.labels import Label
    from mats_model.many import Listened

Names = Annotated[
    Optional[str],
    typer.Option(
        "--labels",
        metavar="FILE|LIST",
        help="A file with one label per line (# begins a remark), - for stdin, or labels with commas: 'dog,rain'; "
        "the 527 names that nano knows if not given, and the words that a model was taught.",
        show_default=False,
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
Together = Annotated[
    bool,
    typer.Option(
        "--together", help="Sort the sounds as a whole: each answer depends on the others, and gains by them."
    ),
]
Examples = Annotated[
    bool,
    typer.Option(
        "--examples",
        is_eager=True,
        help="Explain how labels are shown by sounds, and exit.",
        callback=lambda wanted: _explain(wanted),
    ),
]
Multi = Annotated[bool, typer.Option("--multi", help="Every label that fits, each with a probability of its own.")]
Threshold = Annotated[
    Optional[float],
    typer.Option(
        "--threshold", metavar="P", min=0.0, max=1.0, help="With --multi: the least probability; 0.5 if not given."
    ),
]


EXAMPLES = """\
A label may be shown instead of told. In the file of --labels, write

  my kettle: kettle/*.wav
  front door: doors/front-1.wav
  rain

and the mean of those sounds is joined with the words. Two to five recordings are enough; the files are looked for
beside the label file, and a folder's name stands for all sounds in it. Words of another language than English are fine
where sounds show what they mean.
"""


def _explain(wanted: bool) -> None:
    from mats_cli import console

    if wanted:
        console.out(EXAMPLES)
        raise typer.Exit(0)


def classify(
    inputs: shared.Inputs,
    labels: Names = None,
    top_k: TopK = 1,
    template: Template = "{}",
    multi: Multi = False,
    threshold: Threshold = None,
    together: Together = False,
    examples: Examples = False,
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

    A line has the label, its share among all labels, and the probability that it is there at all. Where none is likely
    the line says (none fits), with the nearest label behind it. With --multi each label is judged alone by its
    probability, and stretches that follow each other with the same label are joined. A recording of more than 20 s is
    heard in stretches that end where its sound changes: shares are those of its time, and --multi tells when.

    \b
    Examples:
      mats classify folder/
      mats classify folder/ --labels labels.txt --together
      mats classify dog.wav --labels "dog,rain,church bell" --top-k 3
      mats classify street.wav --labels labels.txt --multi --threshold 0.3 --every 2
      mats classify folder/ --labels labels.txt --csv > labels.csv
    """
    from mats_cli import console, job

    kind = chosen_format(format, json, csv, bom=bom, output=output, timeline=timeline)
    shared.check_goes_with(kind, trace, embed)
    if threshold is not None and not multi:
        raise UsageError("--threshold goes with --multi: without it one label is always chosen.")
    if together and multi:
        raise UsageError("--together gives each sound one label, and --multi several: choose one.")
    if labels == "-" and "-" in inputs:
        raise UsageError("standard input can hold the labels or a sound, not both.")
    chosen = read_labels(labels) if labels is not None else None
    for line in chosen.notes if chosen and not quiet else []:
        console.note(line)
    found = job.found(inputs)
    mats = loading.load_ears(clap, model, offline, device)
    chosen = chosen or Labels(_known(mats))
    names, vectors = chosen.names, label_embeddings(mats, chosen, template)
    least = 0.5 if threshold is None else threshold
    options = job.Options(every, kind, output, quiet, every is not None or multi, trace, embed)
    # together, a recording is one sound among others
    options = replace(options, changes=every is None and not together, resumes=not together)
    whole = every is None and kind not in TIMED
    settings = {
        "verb": "classify",
        "labels": names,
        "examples": {name: [str(file) for file in files] for name, files in chosen.examples.items()},
        "template": template,
        "multi": multi,
        "threshold": least,
        "top_k": top_k,
        "whole": whole,
    }

    def rows(listened: Listened) -> list[Row]:
        if multi:
            return _multi(mats, listened, names, vectors, least)
        if whole and len(listened.heard) > 1:
            return _whole(listened.heard, mats.rank_over(listened.heard, names, vectors)[:top_k])
        return _rows(listened, lambda embedding: mats.rank(embedding, names, vectors)[:top_k])

    def answer(all_heard: Iterator[Listened]) -> Iterator[tuple[Item, Result]]:
        told = (
            _together(mats, all_heard, names, vectors, top_k) if together else ((one, rows(one)) for one in all_heard)
        )
        for listened, some in told:
            yield listened.item, Result(listened.item.name, some, listened.error)

    raise typer.Exit(job.run(mats, found, options, settings, answer))


def _known(mats: Ears) -> list[str]:
    """The names that the encoder knows, nano's where it has none, and those that the user taught."""
    from mats_model.weights.loading import name_texts

    return mats.known() if mats.clap.names else name_texts("nano") + list(mats.taught)


def _rows(listened: Listened, rank: Callable[[np.ndarray], list[Label]]) -> list[Row]:
    """A row for each stretch: its labels, best first, and whether any is likely to be there."""
    rows: list[Row] = []
    for heard in listened.heard:
        best = rank(heard.embedding) if heard.embedding is not None else []
        rows += _whole([heard], best)
    return rows


def _whole(stretches: list[Stretch], best: list[Label]) -> list[Row]:
    """One row for all of them."""
    from mats_model.labels import none_fits

    row = Row(stretches[0].start, stretches[-1].end, silent=not best)
    if best:
        row.labels = [(label.name, round(label.score, 4)) for label in best]
        row.probabilities = {label.name: round(label.probability or 0.0, 4) for label in best}
        row.none_fits = none_fits(best)
    return [row]


def _together(
    mats: Ears, all_heard: Iterable[Listened], names: list[str], vectors: np.ndarray, top_k: int
) -> Iterator[tuple[Listened, list[Row]]]:
    """The rows of each input, once all were heard."""
    import numpy as np

    from mats_model.labels import ranked
    from mats_model.together import together

    listened = list(all_heard)
    heard = [stretch.embedding for one in listened for stretch in one.heard if stretch.embedding is not None]
    shares = iter(together(np.stack(heard), vectors) if heard else ())

    def rank(embedding: np.ndarray) -> list[Label]:
        return ranked(names, next(shares), mats.score(embedding, vectors, multi=True))[:top_k]

    for one in listened:
        yield one, _rows(one, rank)


def _multi(mats: Ears, listened: Listened, names: list[str], vectors: np.ndarray, least: float) -> list[Row]:
    """One row per label and event, by time; where there is none, the nearest label, and where all is silent, that."""
    from mats_model.live.events import events, probabilities

    heard = listened.heard
    if heard and all(stretch.embedding is None for stretch in heard):
        return [Row(heard[0].start, heard[-1].end, silent=True)]
    # as they are shown, so that what is shown as the threshold passes it
    scores = [row and [round(score, 4) for score in row] for row in probabilities(mats, heard, vectors)]
    found = events(heard, scores, names, least)
    if heard and not found:
        score, name = max(
            (pair for row in scores if row for pair in zip(row, names, strict=True)), key=lambda pair: pair[0]
        )
        return [Row(heard[0].start, heard[-1].end, labels=[(name, score)], none_fits=True)]
    return [Row(event.start, event.end, labels=[(event.label, event.score)]) for event in found]
