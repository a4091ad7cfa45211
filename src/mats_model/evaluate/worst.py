"""Which records of a result are the worst, so that somebody can listen to them.

classes: the right label's cosine less that of the best wrong one. captions: CIDEr-D. retrieval: the mean of 1 / rank.
answers: the share of orders answered rightly. events: segment F1. A silent recording of a class cannot be judged and
stands last of those that are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mats_model.evaluate.answers import right
from mats_model.evaluate.evaluation import Evaluation
from mats_model.evaluate.events import found_events, micro_f1, segment_counts
from mats_model.evaluate.metrics import cider_d
from mats_model.evaluate.task import Record

MOST = 20
# task -> what a record is judged by here
BY = {
    "classes": "margin",
    "captions": "CIDEr-D",
    "retrieval": "mean of 1 / rank",
    "answers": "share of orders answered rightly",
    "events": "segment F1",
}


@dataclass(frozen=True)
class Fault:
    """A record, by how much it is good, and whether it is simply right."""

    record: Record
    score: float
    right: bool = False


def worst(result: Evaluation, most: int = MOST) -> list[Fault]:
    """At most so many, the worst first; those that nothing can be said of (no label, no event) are not among them."""
    scores = _SCORES[result.task](result.records, result.protocol)
    places = [place for place in np.argsort(scores, kind="stable") if np.isfinite(scores[place])][:most]
    return [
        Fault(result.records[place], float(scores[place]), _is_right(result.task, scores[place])) for place in places
    ]


def _is_right(task: str, score: float) -> bool:
    return bool(score > 0) if task == "classes" else bool(score >= 1) if task in ("answers", "retrieval") else False


def _classes(records: list[Record], protocol: dict[str, Any]) -> np.ndarray:
    """The right label's cosine less the best wrong one's; of several right labels the worst, as all should be found."""
    places = {label: place for place, label in enumerate(protocol["labels"])}
    found = []
    for row in records:
        true = [places[label] for label in row["labels"]]
        if row["cosines"] is None:
            found.append(-1e-9)
            continue
        cosines = np.array(row["cosines"])
        others = np.delete(cosines, true)
        found.append(float(cosines[true].min() - others.max()) if len(others) else np.nan)
    return np.array(found)


def _captions(records: list[Record], protocol: dict[str, Any]) -> np.ndarray:
    return np.array(cider_d([row["said"] for row in records], [row["captions"] for row in records]))


def _retrieval(records: list[Record], protocol: dict[str, Any]) -> np.ndarray:
    return np.array([np.mean([1 / rank for rank in row["sound_ranks"]]) for row in records])


def _answers(records: list[Record], protocol: dict[str, Any]) -> np.ndarray:
    return np.array([np.mean([right(row["answer"], said, row["options"]) for said in row["said"]]) for row in records])


def _events(records: list[Record], protocol: dict[str, Any]) -> np.ndarray:
    """NaN where nothing is to be found and nothing was."""
    labels, threshold = protocol["labels"], protocol["threshold"]
    return np.array([
        micro_f1(segment_counts([tuple(one) for one in row["events"]], found_events(row, labels, threshold), labels))
        for row in records
    ])  # fmt: skip


_SCORES = {
    "classes": _classes,
    "captions": _captions,
    "retrieval": _retrieval,
    "answers": _answers,
    "events": _events,
}
