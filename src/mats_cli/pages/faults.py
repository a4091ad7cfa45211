"""The worst recordings of an evaluation as cards of a page: what is true, what came out, and the sound to be played."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli.pages.page import Sound
from mats_cli.pages.sounds import sound
from mats_cli.tracks import Mark

if TYPE_CHECKING:
    from mats_model.evaluate.evaluation import Evaluation
    from mats_model.evaluate.task import Record
    from mats_model.evaluate.worst import Fault

Notes = list[tuple[str, str]]
_BEST = 3  # labels that are told of a recording


def cards(result: Evaluation, faults: list[Fault], output: Path | None, embed: bool) -> list[Sound]:
    """A card for each, with a player where its file is still where it was heard."""
    from mats_model.audio import AudioSource
    from mats_model.evaluate.worst import BY

    made = []
    for fault in faults:
        record, protocol = fault.record, result.protocol
        notes = _NOTES[result.task](record, protocol)
        path = Path(record["path"]) if isinstance(record.get("path"), str) else None
        here = path is not None and path.is_file()
        source = AudioSource(str(record["key"]), path=path) if here else None
        one = sound(str(record["key"]), _marks(record, protocol), source, output, embed)
        verdict = " (right)" if fault.right else ""
        one.notes = [*notes, (BY[result.task], f"{fault.score:.3f}{verdict}")]
        if path is not None and not here:
            one.notes.append(("sound", f"{path} is not there any more"))
        made.append(one)
    return made


def _marks(record: Record, protocol: dict[str, Any]) -> list[Mark]:
    """Events over time: those that are true, and those that were found."""
    from mats_model.evaluate.events import found_events

    if "events" not in record:
        return []
    told = [Mark(start, end, f"{label}, true") for start, end, label in record["events"]]
    found = found_events(record, protocol["labels"], protocol["threshold"])
    return [*told, *(Mark(start, end, f"{label}, found") for start, end, label in found)]


def _classes(record: Record, protocol: dict[str, Any]) -> Notes:
    import numpy as np

    from mats_model.vectors import softmax

    labels: list[str] = protocol["labels"]
    if record["cosines"] is None:
        return [("true", ", ".join(record["labels"])), ("heard", "silence")]
    cosines = np.array(record["cosines"])
    shares = cosines if protocol["several"] else softmax(cosines * protocol["scale"])

    def told(places: Iterable[int]) -> str:
        return ", ".join(f"{labels[place]} {shares[place]:.2f}" for place in places)

    notes = [("true", told(labels.index(label) for label in record["labels"]))]
    notes.append(("cosine" if protocol["several"] else "by cosine", told(np.argsort(-shares, kind="stable")[:_BEST])))
    if "answer" in record:
        way = "by its words" if record["by_words"] else "as the nearest"
        notes.append(("said", record["answer"]))
        notes.append(("taken for", f"{record['generated']} ({way})"))
    return notes


def _captions(record: Record, protocol: dict[str, Any]) -> Notes:
    read = [("read", record["read"])] if "read" in record else []
    notes = [*read, ("said", record["said"] or "nothing"), *(("people wrote", text) for text in record["captions"])]
    if record.get("unsupported"):
        notes.append(("unsupported", ", ".join(record["unsupported"])))
    return notes


def _retrieval(record: Record, protocol: dict[str, Any]) -> Notes:
    ranks = zip(record["captions"], record["sound_ranks"], record["caption_ranks"], strict=True)
    return [("caption", f"{text} (finds the sound at {one}, is found by it at {two})") for text, one, two in ranks]


def _answers(record: Record, protocol: dict[str, Any]) -> Notes:
    notes = [("asked", record["question"])]
    if record["options"]:
        notes.append(("options", "; ".join(record["options"])))
    notes += [("true", record["answer"]), ("said", record["said"][0] or "nothing")]
    notes += [("in another order", said) for said in dict.fromkeys(record["said"][1:]) if said != record["said"][0]]
    return notes + ([("without the sound", record["without_audio"])] if "without_audio" in record else [])


def _events(record: Record, protocol: dict[str, Any]) -> Notes:
    return [] if record["events"] else [("true", "no event")]


_NOTES = {
    "classes": _classes,
    "captions": _captions,
    "retrieval": _retrieval,
    "answers": _answers,
    "events": _events,
}
