"""An evaluation as a job: progress, what is finished kept beside the output, one line for a recording that fails."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli import console
from mats_cli.documents import refused
from mats_model.errors import InputError

if TYPE_CHECKING:
    from mats_cli.journal import Journal
    from mats_model.audio.folders import Item
    from mats_model.evaluate.evaluation import Evaluation
    from mats_model.evaluate.examples import Example, Examples
    from mats_model.evaluate.run import Judged
    from mats_model.evaluate.task import EvaluationSettings


def judged(
    ears: Any,
    found: Examples,
    settings: EvaluationSettings,
    across: dict[str, Any],
    output: Path | None,
    seed: int,
    quiet: bool,
) -> tuple[Evaluation, int]:
    """The result and the exit code; what is finished is remembered beside the output."""
    from mats_model.evaluate import evaluation
    from mats_model.evaluate.run import Judged, conclude, judge

    task = evaluation.task_of(ears, found, settings)
    recordings = found.recordings
    asked = {**across, **vars(settings), "verb": "evaluate", "task": found.task, "model": ears.id}
    journal = _journal(output, {**asked, "labels": found.labels})
    kept: dict[int, Judged] = {}
    for number, some in enumerate(recordings):
        known = journal.recall(_item(some)) if journal else None
        if known and known.get("truth") == _truth(some):
            kept[number] = Judged(some, known["records"])
    if kept and not quiet:
        console.note(f"going on: {len(kept)} of {len(recordings)} recordings were done before.")
    fresh = judge(task, [some for number, some in enumerate(recordings) if number not in kept])
    done: list[Judged] = []
    try:
        for number in console.progress(range(len(recordings)), len(recordings), "file", quiet):
            one = kept[number] if number in kept else next(fresh)
            done.append(one)
            if number not in kept:
                _tell(one)
                if journal and not one.error and not one.missing:
                    journal.keep(_item(one.examples), {"truth": _truth(one.examples), "records": one.records})
    except KeyboardInterrupt:
        where = f"stopped: {len(done)} of {len(recordings)} recordings are done."
        console.note(f"{where} The same command goes on from there." if journal else f"{where} With -o it can go on.")
        raise console.Stopped from None
    if all(one.error for one in done):
        raise InputError(f"none of the {len(done)} recordings of {found.name} can be heard.")
    result = conclude(task, done, seed=seed)
    if journal:
        journal.finish()
    failed, parts = sum(bool(one.error) for one in done), sum(one.missing for one in done)
    if failed and len(done) > 1:
        console.note(f"{failed} of {len(done)} recordings failed; they are left out and named in the result.")
    return result, 3 if failed or parts else 0


def _item(examples: list[Example]) -> Item | str:
    """Their file, or where nothing is heard the name of the text."""
    from mats_model.audio.folders import Item

    path = examples[0].path
    return examples[0].key if path is None else Item(str(path), path, Path(path.name))


def _truth(examples: list[Example]) -> str:
    """What is true of a recording, which is part of its records: where it was corrected they are made anew."""
    return hashlib.sha256(json.dumps([[one.key, one.truth] for one in examples]).encode()).hexdigest()[:16]


def _journal(output: Path | None, settings: dict[str, Any]) -> Journal | None:
    from mats_cli.journal import Journal, fitting

    if output is None:
        return None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        return Journal(output.with_name(fitting(f".{output.name}", ".unfinished.jsonl")), settings)
    except OSError as error:
        raise refused(f"-o {output}", error) from None


def _tell(one: Judged) -> None:
    for line in [*one.notes, *filter(None, [one.error])]:
        console.note(line)
    console.trace(one.trace)
