"""Captions found by sounds and sounds by captions: ranks among all of a set, by cosine.

A rank counts from 1, and what is just as near stands before: ties never help.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mats_model.evaluate.examples import Example
from mats_model.evaluate.hearing import Heard
from mats_model.evaluate.intervals import Statistic, mean_of
from mats_model.evaluate.task import Record, Task, plain, record_of

_DEPTHS = (1, 5, 10)
_CHUNK = 256
_BETWEEN = ((1, 1), (2, 5), (6, 10), (11, 100), (101, 1 << 30))


class RetrievalTask(Task):
    """Records: ranks of a recording's own captions among all captions, and its own rank for each of them."""

    name = "retrieval"

    def records(self, some: list[tuple[Heard, list[Example]]]) -> list[list[Record]]:
        rows = []
        for heard, examples in some:
            vector = None if heard.embedding is None else plain(heard.embedding, 8)
            rows.append([record_of(one, captions=one.truth["captions"], embedding=vector) for one in examples])
        return rows

    def finish(self, records: list[Record]) -> list[Record]:
        texts = [text for row in records for text in row["captions"]]
        owner = np.array([place for place, row in enumerate(records) for _ in row["captions"]])
        told = np.concatenate(
            [self.ears.clap.embed_text(texts[at : at + _CHUNK]) for at in range(0, len(texts), _CHUNK)]
        )
        heard = [row.pop("embedding") for row in records]
        sounds = np.array([vector or [0.0] * told.shape[1] for vector in heard], np.float32)
        silent = np.array([vector is None for vector in heard])
        likeness = sounds @ told.T  # (recordings, captions)
        likeness[silent] = -2.0  # a silent one is found last and finds nothing
        for place, row in enumerate(records):
            own = np.flatnonzero(owner == place)
            across, mine = likeness[:, own], likeness[place, own]
            row["sound_ranks"] = [int(rank) for rank in (across >= mine).sum(0)]
            ahead = (likeness[place][:, None] >= mine).sum(0)
            row["caption_ranks"] = [int(rank) for rank in np.where(silent[place], len(texts), ahead)]
        return records

    def protocol(self) -> dict[str, Any]:
        return {
            "ranks": "by cosine among all of the set; what is as near counts as nearer",
            "mAP@10": "average precision among the first ten, divided by the recording's captions, ten at most",
        }


def statistics(records: list[Record], protocol: dict[str, Any]) -> dict[str, Statistic]:
    """R@k and mAP@10 both ways. From a sound, any caption of its own counts for R@k."""
    found: dict[str, Statistic] = {}
    for depth in _DEPTHS:
        found[f"text_to_audio_R@{depth}"] = mean_of(
            [np.mean([rank <= depth for rank in row["sound_ranks"]]) for row in records],
            [len(row["sound_ranks"]) for row in records],
        )
    found["text_to_audio_mAP@10"] = mean_of(
        [np.mean([1 / rank if rank <= 10 else 0.0 for rank in row["sound_ranks"]]) for row in records],
        [len(row["sound_ranks"]) for row in records],
    )
    for depth in _DEPTHS:
        found[f"audio_to_text_R@{depth}"] = mean_of([min(row["caption_ranks"]) <= depth for row in records])
    found["audio_to_text_mAP@10"] = mean_of([precision_at_ten(row["caption_ranks"]) for row in records])
    return found


def precision_at_ten(ranks: list[int]) -> float:
    """Average precision of one query's own captions among the first ten."""
    found = (number / rank for number, rank in enumerate(sorted(ranks), 1) if rank <= 10)
    return sum(found) / min(len(ranks), 10)


def tables(records: list[Record], protocol: dict[str, Any]) -> dict[str, Any]:
    """How many ranks lie between which, both ways; from a sound the best of its captions."""
    ways = {
        "text_to_audio": [rank for row in records for rank in row["sound_ranks"]],
        "audio_to_text": [min(row["caption_ranks"]) for row in records],
    }
    return {
        "ranks": [
            {"low": low, "high": high, **{way: sum(low <= rank <= high for rank in some) for way, some in ways.items()}}
            for low, high in _BETWEEN
        ]
    }
