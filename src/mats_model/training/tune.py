"""Ways across the gap, compared on recordings with references: which settings of Santa say what is heard, with
intervals over clips."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mats_model.config import SantaSettings
from mats_model.errors import UsageError, is_text
from mats_model.evaluate.metrics import cider_d, rouge_l
from mats_model.gap.santa import Memory, changed
from mats_model.mats import Mats
from mats_model.tables import cells

# way and settings, each as `gap.santa.changed` takes them; `rerank` is the search's
METHODS = (
    "way=none", "way=shift", "lambda=0.3,tau=0.1,k=32", "lambda=0.6,tau=0.1,k=32", "lambda=0.9,tau=0.1,k=32",
    "lambda=1,tau=0.1,k=32",
    "lambda=0.6,tau=0.02,k=8", "lambda=0.9,tau=0.02,k=8", "lambda=1,tau=0.02,k=8", "lambda=1,tau=0.02,k=32",
    "way=project,tau=0.02",
    "way=project,tau=0.01", "names=1", "names=4", "lambda=0.6,tau=0.1,k=32,names=2",
)  # fmt: skip
_DRAWS = 2000
_FILE, _LABEL = ("file", "file_name", "filename", "path", "clip", "audio"), ("label", "class", "category")


@dataclass(frozen=True)
class Reference:
    """What is known of a recording."""

    path: Path
    captions: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class Score:
    """A mean over clips with its 95 % interval (bootstrap over clips), and each clip's own value."""

    mean: float
    low: float
    high: float
    each: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """One method; a measure without references of its kind is left out. `gain` is the paired interval of the first
    measure against the settings of the model itself."""

    method: str
    scores: dict[str, Score]
    gain: tuple[float, float] | None = None


def references(table: Path, audio: Path) -> list[Reference]:
    """Rows of a CSV, TSV or JSONL: a file (relative to `audio`), any number of caption columns or rows, a label.
    Errors: UsageError."""
    found: dict[Path, tuple[list[str], str]] = {}
    for row in cells(table):
        name = next((row[key] for key in _FILE if row.get(key)), None)
        if name is None:
            raise UsageError(
                f"{table} has no column that names the sound ({', '.join(_FILE)}); it has {', '.join(row)}."
            )
        path = (audio / name).resolve()
        if audio.resolve() not in path.parents:
            raise UsageError(f"{table}: {name} leads out of {audio}.")
        captions, label = found.get(path, ([], ""))
        captions += [value for key, value in row.items() if key.startswith("caption") and value and value != "None"]
        if not all(is_text(value) for value in [*captions, *(row.get(key) or "" for key in _LABEL)]):
            raise UsageError(f"{table}: a text of {name} is not UTF-8: leave it out, or save the file as UTF-8.")
        found[path] = (captions, label or next((row[key] for key in _LABEL if row.get(key)), ""))
    rows = [Reference(path, tuple(captions), label) for path, (captions, label) in found.items() if path.is_file()]
    if not rows:
        raise UsageError(f"none of the files of {table} lies in {audio}.")
    if not any(row.captions or row.label for row in rows):
        raise UsageError(f"{table} has neither a caption nor a label: there is nothing to compare an answer with.")
    return rows


def names_it(caption: str, label: str) -> bool:
    """The caption holds the beginning (five letters) of a word of the label."""
    words = {word[:5].rstrip("s") for word in re.findall(r"[a-z]{3,}", label.lower())}
    return any(re.search(rf"\b{word}", caption.lower()) for word in words)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % of the means of draws with replacement."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(_DRAWS)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _scored(values: Sequence[float]) -> Score:
    each = np.asarray(values, float)
    return Score(float(each.mean()), *interval(each), each)


def measure(mats: Mats, heard: np.ndarray, told: list[Reference]) -> dict[str, Score]:
    """CIDEr-D and ROUGE-L of captions, the share of captions that name the label, and top-1 among all labels.

    heard is (n, d), as the encoder gives it; labels are scored on what Santa makes of it.
    """
    captions = [caption for at in range(0, len(heard), 64) for caption in mats.answer(heard[at : at + 64])]
    scores: dict[str, Score] = {}
    with_captions = [number for number, row in enumerate(told) if row.captions]
    if with_captions:
        answers, some = [captions[n] for n in with_captions], [list(told[n].captions) for n in with_captions]
        scores["CIDEr-D"] = _scored(cider_d(answers, some))
        scores["ROUGE-L"] = _scored([rouge_l(answer, each) for answer, each in zip(answers, some, strict=True)])
    with_labels = [number for number, row in enumerate(told) if row.label]
    if with_labels:
        scores["names it"] = _scored([names_it(captions[n], told[n].label) for n in with_labels])
        labels = sorted({told[n].label for n in with_labels})
        vectors = mats.label_embeddings(labels)
        best = (mats.santa(heard) @ vectors.T).argmax(-1).tolist()
        scores["top-1"] = _scored([labels[best[n]] == told[n].label for n in with_labels])
    return scores


def compare(
    mats: Mats,
    heard: np.ndarray,
    told: list[Reference],
    methods: Sequence[str] = METHODS,
    memory: Memory | None = None,
) -> Iterator[Outcome]:
    """The model's own settings first, then each method, then each of the best three without the judging of its
    candidates by the encoder (`rerank`). The model is left as it was."""
    own, search, before = mats.santa.settings, mats.config.search, mats.santa.other
    used: Memory = mats.santa if memory is None else memory
    kept, used.audio_mean = used.audio_mean, heard.mean(0)
    mats.santa.cross(own, memory)
    try:
        first = Outcome("as it is", measure(mats, heard, told))
        yield first
        done = [first]
        for method in methods:
            plain = replace(own, near_names=0) if "names=" not in method else own
            yield _outcome(mats, heard, told, method, plain, method, memory, first, done)
        if search.rerank:
            mats.config = replace(mats.config, search=replace(search, rerank=0.0))
            for best in sorted(done, key=_first, reverse=True)[:3]:
                settings = "" if best is first else best.method
                plain = own if "names=" in settings or not settings else replace(own, near_names=0)
                yield _outcome(mats, heard, told, f"{best.method}, not judged", plain, settings, memory, first, done)
    finally:
        mats.santa.cross(own, before)
        used.audio_mean = kept
        mats.config = replace(mats.config, search=search)


def _first(outcome: Outcome) -> float:
    return next(iter(outcome.scores.values())).mean


def _outcome(
    mats: Mats, heard: np.ndarray, told: list[Reference], name: str, plain: SantaSettings, settings: str,
    memory: Memory | None, first: Outcome,
    done: list[Outcome],
) -> Outcome:  # fmt: skip
    mats.santa.cross(changed(plain, settings), memory)
    scores = measure(mats, heard, told)
    key = next(iter(scores))
    made = Outcome(name, scores, interval(scores[key].each - first.scores[key].each))
    done.append(made)
    return made


def recommend(outcomes: Sequence[Outcome]) -> str:
    """The best by the first measure, and whether it is surely better than the model's own settings."""
    best = max(outcomes, key=_first)
    key = next(iter(best.scores))
    if best.gain is None:
        return f"the model's own settings are the best by {key}"
    low, high = best.gain
    sure = "surely better" if low > 0 else "not surely better"
    return (
        f"{best.method} is the best by {key}, and {sure} than the model's own settings (difference between {low:+.3f} "
        f"and {high:+.3f})"
    )
