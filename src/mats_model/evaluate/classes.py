"""Which class a recording belongs to: by cosine among the labels' embeddings, by what the model says, and all together.

`cosines` of a record are in the order of the protocol's labels; a silent recording has none and counts as wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mats_model.ears import Ears
from mats_model.evaluate.examples import Example, Examples
from mats_model.evaluate.hearing import Heard
from mats_model.evaluate.intervals import Statistic, mean_of
from mats_model.evaluate.naming import matched, names_it
from mats_model.evaluate.task import EvaluationSettings, Record, Task, plain, record_of
from mats_model.evaluate.words import repeats
from mats_model.together import together
from mats_model.vectors import softmax

BINS = 15  # of the calibration error, equal in width


class ClassTask(Task):
    """Single labels, or several where the examples have them."""

    name = "classes"

    def __init__(self, ears: Ears, found: Examples, settings: EvaluationSettings) -> None:
        super().__init__(ears, found, settings)
        self.vectors = ears.label_embeddings(found.labels, settings.template)
        self.plain_vectors = ears.label_embeddings(found.labels)
        self.generates = settings.generated and not found.several and self.mats is not None

    def records(self, some: list[tuple[Heard, list[Example]]]) -> list[list[Record]]:
        loud = [heard.embedding for heard, _ in some if heard.embedding is not None]
        said = iter(self._said(loud))
        rows = []
        for heard, examples in some:
            values: Record = {"cosines": None}
            if heard.embedding is not None:
                values = {"cosines": plain(self.vectors @ heard.embedding), **next(said)}
                if self.settings.together:
                    values["embedding"] = plain(heard.embedding, 8)
            rows.append([record_of(one, labels=one.truth["labels"], **values) for one in examples])
        return rows

    def _said(self, loud: list[np.ndarray]) -> list[Record]:
        if not self.generates or not loud:
            return [{} for _ in loud]
        assert self.mats is not None
        answers = self.mats.answer(np.stack(loud), self.settings.prompt or None, self.settings.tag)
        likeness = self.ears.clap.embed_text(answers) @ self.plain_vectors.T
        return [
            {"answer": answer, **matched(answer, self.found.labels, near)}
            for answer, near in zip(answers, likeness, strict=True)
        ]

    def finish(self, records: list[Record]) -> list[Record]:
        if not self.settings.together:
            return records
        heard = [row for row in records if row["cosines"] is not None]
        if not heard:
            return records
        chosen = together(np.array([row.pop("embedding") for row in heard]), self.vectors).argmax(1)
        for row, best in zip(heard, chosen, strict=True):
            row["together"] = self.found.labels[best]
        return records

    def protocol(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "labels": self.found.labels,
            "several": self.found.several,
            "template": self.settings.template,
            "scale": self.ears.scales.label,
        }
        if self.generates:
            made |= self.asked() | {"nearest_label_by": f"the text tower of {self.ears.id}"}
            if self.settings.synonyms:
                made["synonyms"] = {label: self.settings.synonyms[label] for label in self.found.labels}
        return made


# ---- figures


class _Scored:
    """Records as arrays: truth (n, c), cosines (n, c), guesses (n,) with -1 for silence."""

    def __init__(self, records: list[Record], protocol: dict[str, Any]) -> None:
        self.labels: list[str] = protocol["labels"]
        places = {label: place for place, label in enumerate(self.labels)}
        self.truth = np.zeros((len(records), len(self.labels)), bool)
        self.cosines = np.full(self.truth.shape, -2.0)
        for row, record in enumerate(records):
            self.truth[row, [places[label] for label in record["labels"]]] = True
            if record["cosines"] is not None:
                self.cosines[row] = record["cosines"]
        silent = np.array([record["cosines"] is None for record in records])
        self.right = self.truth.argmax(1)
        self.guess = np.where(silent, -1, self.cosines.argmax(1))
        shares = softmax(self.cosines * protocol["scale"])
        self.sure = np.where(silent, 1 / len(self.labels), shares.max(1))
        self.hit = self.truth[np.arange(len(records)), self.guess] & ~silent
        self.silent = silent


def statistics(records: list[Record], protocol: dict[str, Any]) -> dict[str, Statistic]:
    """Figures of records, by name."""
    scored = _Scored(records, protocol)
    count = len(scored.labels)
    if protocol["several"]:
        return {"mAP": mean_precision(scored.truth, scored.cosines), "top1_among": mean_of(scored.hit)}
    found: dict[str, Statistic] = {"top1": mean_of(scored.hit)}
    if count > 5:
        best = np.argsort(-scored.cosines, 1, kind="stable")[:, :5]
        found["top5"] = mean_of((best == scored.right[:, None]).any(1) & ~scored.silent)
    found["mean_recall"] = lambda drawn: float(
        np.nanmean(_rates(confusion(scored.right, scored.guess, count, drawn))[0])
    )
    found["macro_f1"] = lambda drawn: float(np.nanmean(_rates(confusion(scored.right, scored.guess, count, drawn))[2]))
    found["mAP"] = mean_precision(scored.truth, scored.cosines)
    found["ECE"] = lambda drawn: calibration_error(scored.sure, scored.hit, drawn)
    if any("generated" in record for record in records):
        right = [record.get("generated") == record["labels"][0] for record in records]
        by_words = np.array([record.get("by_words", False) for record in records])
        found["generated_top1"] = mean_of(right)
        found["generated_by_words"] = mean_of(np.array(right) & by_words)
        found["unmatched_by_words"] = mean_of(~by_words)
        found["repeated_words"] = mean_of([repeats(record.get("answer", "")) for record in records])
        if "synonyms" in protocol:
            found["generated_names_it"] = mean_of(_named(records, protocol))
    if any("together" in record for record in records):
        found["together_top1"] = mean_of([record.get("together") == record["labels"][0] for record in records])
    return found


def _named(records: list[Record], protocol: dict[str, Any]) -> np.ndarray:
    """Whether each answer names its sound (n,)."""
    synonyms = protocol["synonyms"]
    return np.array([names_it(row.get("answer", ""), synonyms[row["labels"][0]]) for row in records])


def tables(records: list[Record], protocol: dict[str, Any]) -> dict[str, Any]:
    """Per class, confusion (rows: truth; the last column is silence), and reliability."""
    scored = _Scored(records, protocol)
    precisions = average_precisions(scored.truth, scored.cosines)(np.ones(len(records)))
    if protocol["several"]:
        rows = [
            {"label": label, "count": int(scored.truth[:, k].sum()), "AP": _number(precisions[k])}
            for k, label in enumerate(scored.labels)
        ]
        return {"per_class": rows}
    count = len(scored.labels)
    table = confusion(scored.right, scored.guess, count, np.ones(len(records)))
    recall, precision, f1 = _rates(table)
    rows = [
        {
            "label": label,
            "count": int(table[k].sum()),
            "recall": _number(recall[k]),
            "precision": _number(precision[k]),
            "F1": _number(f1[k]),
            "AP": _number(precisions[k]),
        }
        for k, label in enumerate(scored.labels)
    ]
    if "synonyms" in protocol and any("answer" in record for record in records):
        named = _named(records, protocol)
        for k, row in enumerate(rows):
            row["names_it"] = _number(named[scored.right == k].mean()) if row["count"] else None
    return {
        "per_class": rows,
        "confusion": table.astype(int).tolist(),
        "reliability": reliability(scored.sure, scored.hit),
    }


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def confusion(right: np.ndarray, guess: np.ndarray, count: int, weights: np.ndarray) -> np.ndarray:
    """(c, c + 1): rows are the truth, columns the guesses, the last one silence."""
    cells = right * (count + 1) + np.where(guess < 0, count, guess)
    return np.bincount(cells, weights, count * (count + 1)).reshape(count, count + 1)


def _rates(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall, precision and F1 (c,) of a confusion; NaN for a class without recordings. Precision of what is never
    guessed is 0, as scikit-learn's."""
    hits, told, guessed = np.diag(table), table.sum(1), table[:, :-1].sum(0)
    there = np.where(told > 0, 1.0, np.nan)
    precision = hits / np.maximum(guessed, 1e-12) * there
    recall = hits / np.maximum(told, 1e-12) * there
    return recall, precision, 2 * hits / np.maximum(told + guessed, 1e-12) * there


def average_precisions(truth: np.ndarray, scores: np.ndarray) -> Any:
    """Weights (n,) -> average precision of each class (c,): the sum of (recall step) * precision over the thresholds,
    equal scores being one threshold; NaN where a class has no recording."""
    prepared = [_ranked(truth[:, k], scores[:, k]) for k in range(truth.shape[1])]

    def measure(weights: np.ndarray) -> np.ndarray:
        found = np.full(len(prepared), np.nan)
        for k, (order, hits, end, last) in enumerate(prepared):
            right = weights[order[hits]]
            if (total := right.sum()) > 0:
                share = right.cumsum()[last] / np.maximum(weights[order].cumsum()[end], 1e-12)
                found[k] = (right * share).sum() / total
        return found

    return measure


def _ranked(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Places of one class from the best score on: all of them (n,); and of its p recordings where in that order they
    stand, where their run of equal scores ends, and which of the p is the last before that end."""
    order = np.argsort(-scores, kind="stable")
    hits = np.flatnonzero(truth[order])
    falling = -scores[order]
    end = np.searchsorted(falling, falling[hits], side="right") - 1
    return order, hits, end, np.searchsorted(hits, end, side="right") - 1


def mean_precision(truth: np.ndarray, scores: np.ndarray) -> Statistic:
    """mAP: the mean over classes that have a recording."""
    measure = average_precisions(truth, scores)

    def mean(weights: np.ndarray) -> float:
        found = measure(weights)
        return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else float("nan")

    return mean


def _bins(sure: np.ndarray) -> np.ndarray:
    return np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)


def calibration_error(sure: np.ndarray, hit: np.ndarray, weights: np.ndarray) -> float:
    """ECE (Guo et al. 2017): the mean over recordings of |share right - mean confidence| of their bin (low, high]."""
    gaps = np.bincount(_bins(sure), weights * (hit.astype(float) - sure), BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def reliability(sure: np.ndarray, hit: np.ndarray) -> list[dict[str, float]]:
    """The bins that hold a recording: from, to, how many, mean confidence, share that is right."""
    which = _bins(sure)
    return [
        {
            "low": round(k / BINS, 4),
            "high": round((k + 1) / BINS, 4),
            "count": int((which == k).sum()),
            "confidence": round(float(sure[which == k].mean()), 4),
            "right": round(float(hit[which == k].mean()), 4),
        }
        for k in range(BINS)
        if (which == k).any()
    ]
