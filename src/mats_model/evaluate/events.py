"""When a sound is heard: event-based F1 (Mesaros et al. 2016: onset within 0.2 s, offset within 0.2 s or a fifth of the
length), segment-based F1 over whole seconds, and PSDS where sed_scores_eval is installed.

A record holds the scores of every stretch, so that other thresholds can be tried without hearing again.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np

from mats_model.audio import AudioSource
from mats_model.ears import Ears, Stretch
from mats_model.errors import UsageError
from mats_model.evaluate.examples import Example, Examples
from mats_model.evaluate.hearing import Heard, hear
from mats_model.evaluate.intervals import Statistic, of_sums
from mats_model.evaluate.task import EvaluationSettings, Record, Task, plain, record_of
from mats_model.live.events import events

ONSET, OFFSET, SHARE, SEGMENT = 0.2, 0.2, 0.2, 1.0  # seconds, seconds, of the length, seconds
PSDS = {"PSDS1": (0.7, 0.7, None, 0.0, 1.0), "PSDS2": (0.1, 0.1, 0.3, 0.5, 1.0)}  # DCASE 2021: dtc, gtc, cttc, alphas
Event = tuple[float, float, str]


class EventTask(Task):
    """Each label's probability in stretches of `every` seconds."""

    name = "events"

    def __init__(self, ears: Ears, found: Examples, settings: EvaluationSettings) -> None:
        super().__init__(ears, found, settings)
        if not found.labels:
            raise UsageError(f"{found.name} names no event at all: there is nothing to be found.")
        self.vectors = ears.label_embeddings(found.labels, settings.template)

    def hear(self, sound: AudioSource) -> Heard:
        return hear(self.ears, sound, self.settings.every)

    def records(self, some: list[tuple[Heard, list[Example]]]) -> list[list[Record]]:
        rows = []
        for heard, examples in some:
            frames = [[round(start, 3), round(end, 3)] for start, end, _ in heard.windows]
            scores = [
                [0.0] * len(self.found.labels)
                if vector is None
                else plain(self.ears.score(vector, self.vectors, multi=True), 4)
                for *_, vector in heard.windows
            ]
            rows += [
                [
                    record_of(one, events=[list(event) for event in one.truth["events"]], frames=frames, scores=scores)
                    for one in examples
                ]
            ]
        return rows

    def protocol(self) -> dict[str, Any]:
        return {
            "labels": self.found.labels,
            "template": self.settings.template,
            "every": self.settings.every,
            "threshold": self.settings.threshold,
            "collars": f"onset {ONSET} s, offset {OFFSET} s or {SHARE:.0%} of the length; segments of {SEGMENT:g} s",
        }


def found_events(record: Record, labels: list[str], threshold: float) -> list[Event]:
    """Stretches that follow each other and reach the threshold are one event, as classes are told over time."""
    stretches = [Stretch(start, end, None) for start, end in record["frames"]]
    found = events(stretches, record["scores"], labels, threshold)
    return sorted((one.start, one.end, one.label) for one in found)


def _fits(told: Event, found: Event) -> bool:
    """Compared as sed_eval does, with room for what floats lose."""
    room = max(OFFSET, SHARE * (told[1] - told[0]))
    return abs(told[0] - found[0]) <= ONSET + 1e-9 and abs(told[1] - found[1]) <= room + 1e-9


def matches(told: list[Event], found: list[Event]) -> int:
    """How many events can be paired at most, one with one, those of one label only."""
    fits = [[place for place, each in enumerate(found) if each[2] == one[2] and _fits(one, each)] for one in told]
    taken: dict[int, int] = {}

    def pair(one: int, tried: set[int]) -> bool:
        for place in fits[one]:
            if place not in tried:
                tried.add(place)
                if place not in taken or pair(taken[place], tried):
                    taken[place] = one
                    return True
        return False

    return sum(pair(one, set()) for one in range(len(told)))


def event_counts(told: list[Event], found: list[Event], labels: list[str]) -> np.ndarray:
    """Right, told and found of each label (labels, 3)."""
    rows = []
    for label in labels:
        mine, other = [one for one in told if one[2] == label], [one for one in found if one[2] == label]
        rows.append([matches(mine, other), len(mine), len(other)])
    return np.array(rows, float)


def segment_counts(told: list[Event], found: list[Event], labels: list[str]) -> np.ndarray:
    """The same for segments that an event touches (labels, 3)."""
    rows = []
    for label in labels:
        mine, other = _segments(told, label), _segments(found, label)
        rows.append([len(mine & other), len(mine), len(other)])
    return np.array(rows, float)


def _segments(events: list[Event], label: str) -> set[int]:
    return {
        place
        for start, end, name in events
        if name == label
        for place in range(math.floor(start / SEGMENT), math.ceil(end / SEGMENT))
    }


def micro_f1(sums: np.ndarray) -> float:
    """Of sums (labels * 3,)."""
    right, told, found = sums.reshape(-1, 3).sum(0)
    return float(2 * right / (told + found)) if told + found else float("nan")


def macro_f1(sums: np.ndarray) -> float:
    """The mean over labels that are told or found."""
    each = [2 * right / (told + found) for right, told, found in sums.reshape(-1, 3) if told + found]
    return float(np.mean(each)) if each else float("nan")


def statistics(records: list[Record], protocol: dict[str, Any]) -> dict[str, Statistic]:
    """F1 over events and over segments, over all and as the mean of the labels."""
    labels, threshold = protocol["labels"], protocol["threshold"]
    told = [[tuple(event) for event in row["events"]] for row in records]
    found = [found_events(row, labels, threshold) for row in records]
    statistics: dict[str, Statistic] = {}
    for name, count in (("event", event_counts), ("segment", segment_counts)):
        sums = np.array([count(*pair, labels).ravel() for pair in zip(told, found, strict=True)])  # type: ignore[arg-type]
        statistics[f"{name}_F1"] = of_sums(sums, micro_f1)
        statistics[f"{name}_F1_mean_of_labels"] = of_sums(sums, macro_f1)
    return statistics


def tables(records: list[Record], protocol: dict[str, Any]) -> dict[str, Any]:
    """Per label."""
    labels, threshold = protocol["labels"], protocol["threshold"]
    told = [[tuple(event) for event in row["events"]] for row in records]
    pairs = list(zip(told, (found_events(row, labels, threshold) for row in records), strict=True))
    whole = np.sum([event_counts(*pair, labels) for pair in pairs], 0)  # type: ignore[arg-type]
    segments = np.sum([segment_counts(*pair, labels) for pair in pairs], 0)  # type: ignore[arg-type]
    rows = [
        {
            "label": label,
            "events": int(whole[k][1]),
            "found": int(whole[k][2]),
            "event_F1": _number(micro_f1(whole[k])),
            "segment_F1": _number(micro_f1(segments[k])),
        }
        for k, label in enumerate(labels)
    ]
    return {"per_class": rows}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def psds(records: list[Record], labels: list[str]) -> tuple[dict[str, float], str]:
    """PSDS1 and PSDS2 as in DCASE 2021, over all thresholds, by sed_scores_eval; or none, and why."""
    if importlib.util.find_spec("sed_scores_eval") is None:
        return {}, "sed_scores_eval is not installed: pip install sed_scores_eval 'pandas<3'"
    from sed_scores_eval import intersection_based
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    scores, truth, lengths = {}, {}, {}
    for row in records:
        times = [*(start for start, _ in row["frames"]), row["frames"][-1][1]]
        scores[row["key"]] = create_score_dataframe(np.array(row["scores"], float), times, labels)
        truth[row["key"]] = [tuple(event) for event in row["events"]]
        lengths[row["key"]] = row["frames"][-1][1]
    made = {}
    for name, (dtc, gtc, cttc, trigger, stability) in PSDS.items():
        try:
            found = intersection_based.psds(
                scores, truth, lengths, dtc_threshold=dtc, gtc_threshold=gtc, cttc_threshold=cttc, alpha_ct=trigger,
                alpha_st=stability, unit_of_time="hour", max_efpr=100.0,
            )  # fmt: skip
        except ValueError as error:
            # its 0.0.4 writes into tables that pandas 3 gives out to be read only
            return {}, f"sed_scores_eval failed ({error}): with pandas 3 it does, install 'pandas<3'"
        made[name] = float(found[0])
    return made, ""
