"""Recordings heard a few at a time and judged in batches, in their order; one that cannot be heard costs itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mats_model.audio import AudioSource
from mats_model.errors import InputError, one_input
from mats_model.evaluate.captions import CaptionTask, Similarity
from mats_model.evaluate.evaluation import Evaluation, protocol_of, score
from mats_model.evaluate.examples import Example
from mats_model.evaluate.intervals import DRAWS, SEED
from mats_model.evaluate.task import Record, Task
from mats_model.parallel import in_order


@dataclass
class Judged:
    """The examples of one recording with their records, or why there are none."""

    examples: list[Example]
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    trace: str = ""  # where it went wrong, if nobody foresaw that
    missing: bool = False  # part of the sound is not there, as the notes say
    heard: Any = None


def judge(task: Task, recordings: list[list[Example]]) -> Iterator[Judged]:
    """Each recording in order."""
    if isinstance(task, CaptionTask) and any(some[0].path is None for some in recordings):
        yield from _read(task, recordings)
        return

    def one(examples: list[Example]) -> Judged:
        path = examples[0].path
        item = AudioSource(str(path), path=path)
        try:
            with one_input(item.name):
                if examples[0].problem:
                    raise InputError(examples[0].problem)
                heard = task.hear(item)
                return Judged(examples, notes=list(item.notes), missing=bool(item.missing), heard=heard)
        except InputError as error:
            return Judged(examples, error=str(error), trace=getattr(error, "trace", ""))

    rows = task.mats.llm.rows if task.mats is not None else 16
    waiting: list[Judged] = []
    for judged in in_order(one, recordings, task.ears.clap.listeners):
        waiting.append(judged)
        if len(waiting) >= rows:
            yield from _answered(task, waiting)
            waiting = []
    yield from _answered(task, waiting)


def _answered(task: Task, waiting: list[Judged]) -> Iterator[Judged]:
    heard = [one for one in waiting if not one.error]
    made = task.records([(one.heard, one.examples) for one in heard]) if heard else []
    for one, records in zip(heard, made, strict=True):
        one.records, one.heard = records, None
    yield from waiting


def _read(task: CaptionTask, recordings: list[list[Example]]) -> Iterator[Judged]:
    chunks = [[examples[0] for examples in recordings[at : at + 16]] for at in range(0, len(recordings), 16)]
    # one worker on one thread, as sounds are heard
    for some, records in zip(chunks, in_order(task.told_again, chunks, 1), strict=True):
        yield from (Judged([example], [record]) for example, record in zip(some, records, strict=True))


def conclude(task: Task, judged: list[Judged], draws: int = DRAWS, seed: int = SEED) -> Evaluation:
    """Figures of all that was judged. Errors: InputError where nothing could be."""
    records = task.finish([record for one in judged for record in one.records])
    if task.name == "captions" and (folder := Similarity.folder()):
        alike = Similarity(folder)
        for record in records:
            record["similarity"] = round(alike(record["said"], record["captions"]), 6)
    failed = [(one.examples[0].key, one.error) for one in judged if one.error]
    return score(task.name, records, protocol_of(task, failed, len(judged)), draws, seed)


def evaluate(task: Task, draws: int = DRAWS, seed: int = SEED) -> Evaluation:
    """All at once, for a Python user. Errors: InputError."""
    return conclude(task, list(judge(task, task.found.recordings)), draws, seed)
