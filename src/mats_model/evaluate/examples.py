"""What is true of recordings: a folder per class, or a table, read into examples that a task can judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mats_model.audio.folders import STDIN, Found
from mats_model.errors import UsageError, is_text
from mats_model.tables import rows, rows_of

TASKS = ("classes", "captions", "retrieval", "answers", "events")
PATHS = ("path", "file", "file_name", "filename", "audio", "audio_path", "audio_id", "clip")
_STARTS, _ENDS, _LABELS = ("start", "onset", "start_time"), ("end", "offset", "end_time"), ("label", "event_label")
_QUESTIONS, _OPTIONS = ("question", "QuestionText"), ("options", "choices")
_MOST_OPTIONS = 26


@dataclass(frozen=True)
class Example:
    """One thing that is judged. `truth` holds what its task needs: labels, captions, question and answer, or events."""

    key: str  # names its record; the same in every run over the same data
    path: Path | None  # None: nothing is heard, its first caption is read instead
    truth: dict[str, Any]
    problem: str = ""  # why it cannot be heard, if that is known before


@dataclass(frozen=True)
class Examples:
    """All that is judged by one task, in order."""

    task: str
    name: str  # of the set, or the path that was given
    version: str
    examples: list[Example]
    labels: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)  # what was not tried, and why
    several: bool = False  # a recording may have several labels
    passed_over: str = ""  # which files of a folder are no sounds, in words

    @property
    def recordings(self) -> list[list[Example]]:
        """Examples of one file together, so that it is heard once."""
        groups: dict[str, list[Example]] = {}
        for example in self.examples:
            groups.setdefault(str(example.path) if example.path else example.key, []).append(example)
        return list(groups.values())


def label_of(folder: str) -> str:
    """ "001 - Dog_bark" -> "dog bark"."""
    return re.sub(r"[\s_]+", " ", re.sub(r"^[\d\W_]+(?=\w)", "", folder)).strip().lower() or folder


def of_folder(top: Path) -> Examples:
    """A folder per class, with all sounds below it. Errors: UsageError."""
    found = Found()
    found.add(str(top))
    files = [(item.path, item.problem or "") for item in found.items if item.path]
    return replace(of_files(top, files), passed_over=found.passed_over() or "")


def of_files(top: Path, files: Iterable[tuple[Path, str]]) -> Examples:
    """The same of (path, what is wrong with it) of sounds in `top`. Errors: UsageError."""
    examples, left_out, folders = [], [], {}
    for path, problem in files:
        parts = path.relative_to(top).parts
        if len(parts) < 2:
            left_out.append((str(path), "lies in no class's folder"))
            continue
        folders[parts[0]] = label_of(parts[0])
        examples.append(Example("/".join(parts), path, {"labels": [folders[parts[0]]]}, problem))
    names = [folders[folder] for folder in sorted(folders)]
    if len(names) < 2:
        raise UsageError(
            f"{top} holds {len(names)} folder(s) with sounds, and a folder for each class is needed: sounds/dog/a.wav, "
            "sounds/rain/b.wav."
        )
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UsageError(f"{top}: two folders stand for {twice!r}: rename one, or move their sounds together.")
    return Examples("classes", top.name or str(top), "", examples, names, left_out)


def renamed(found: Examples, names: list[str]) -> Examples:
    """Other names for the classes, in their order. Errors: UsageError."""
    if len(names) != len(found.labels):
        raise UsageError(
            f"{len(names)} labels were given for {len(found.labels)} classes: give one for each, in this order: "
            f"{', '.join(found.labels)}."
        )
    other = dict(zip(found.labels, names, strict=True))
    examples = [
        replace(one, truth={**one.truth, "labels": [other[name] for name in one.truth["labels"]]})
        for one in found.examples
    ]
    return replace(found, examples=examples, labels=list(names))


def of_table(path: Path, task: str, audio: Path | None = None, text_only: bool = False) -> Examples:
    """A CSV, TSV or JSONL with a row for each truth; files lie relative to `audio`, or to the table. Errors:
    UsageError."""
    return _of_lines(rows(path, []), task, path.stem, str(path), audio or path.parent, text_only)


def of_piped(data: bytes, task: str, audio: Path | None = None, text_only: bool = False) -> Examples:
    """The same of a table without a name; files lie relative to `audio`, or to the working folder. Errors:
    UsageError."""
    return _of_lines(rows_of(data, STDIN), task, STDIN, STDIN, audio or Path(), text_only)


def _of_lines(
    lines: Iterable[tuple[int, dict[str, Any] | str]], task: str, name: str, source: str, audio: Path, text_only: bool
) -> Examples:
    read, bad = [], []
    for line, row in lines:
        if isinstance(row, str):
            bad.append((f"{source}:{line}", row))
        else:
            read.append({str(key): _text(value) for key, value in row.items() if key is not None and value is not None})
    if not read:
        raise UsageError(f"{source} holds no rows: give a table with a header, such as path,caption.")
    found = of_rows(read, task, name, "", audio, source, text_only)
    return replace(found, left_out=[*bad, *found.left_out])


def _text(value: Any) -> str:
    """A cell as text, a list as JSON again."""
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (list, dict)) else str(value)


def of_rows(
    table: list[dict[str, str]],
    task: str,
    name: str,
    version: str,
    folder: Path,
    source: str,
    text_only: bool = False,
    checked: bool = True,
) -> Examples:
    """Rows with columns as the tasks name them -> examples; those of a public set are taken as they are, where not
    `checked`. Errors: UsageError."""
    readers: dict[str, Callable[[list[dict[str, str]]], list[dict[str, Any]]]] = {
        "classes": _classes, "captions": _captions, "retrieval": _captions, "events": _events,
        "answers": partial(_answers, checked=checked),
    }  # fmt: skip
    examples: list[Example] = []
    left_out: list[tuple[str, str]] = []
    grouped: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(table, 2):
        key = _first(row, PATHS)
        if not key:
            if not any(column in row for column in PATHS):
                raise UsageError(f"{source} has no column that names the sound (path); it has {', '.join(row)}.")
            left_out.append((f"{source}:{number}", "names no file"))
        elif not all(is_text(value) for value in row.values()):
            left_out.append((f"{source}:{number}", "is not UTF-8"))
        else:
            grouped.setdefault(key, []).append(row)
    for key, some in grouped.items():
        place, problem = (None, "") if text_only else _inside(folder, key)
        try:
            truths = readers[task](some)
            if text_only and len(truths[0]["captions"]) < 2:
                raise ValueError("has one caption only, and nothing to compare it with")
        except ValueError as error:
            left_out.append((key, str(error)))
            continue
        for number, truth in enumerate(truths):
            examples.append(Example(key if len(truths) == 1 else f"{key}#{number + 1}", place, truth, problem))
    if not examples:
        why = f" ({left_out[0][1]})" if left_out else ""
        raise UsageError(
            f"{source} holds nothing for the task {task}{why}; docs/evaluate.md shows what it should hold."
        )
    labels = sorted({label for one in examples for label in _labels_of(one.truth)})
    several = task == "classes" and any(len(one.truth["labels"]) > 1 for one in examples)
    return Examples(task, name, version, examples, labels, left_out, several)


def _labels_of(truth: dict[str, Any]) -> list[str]:
    return truth.get("labels") or [event[2] for event in truth.get("events", [])]


def _first(row: dict[str, str], names: tuple[str, ...]) -> str:
    return next((row[name] for name in names if row.get(name) and row[name] != "None"), "")


def _inside(folder: Path, name: str) -> tuple[Path, str]:
    """Where a row's file lies, and what is wrong with that."""
    path = folder / name
    if ".." in Path(name).parts:
        return path, f"{name} leads out of {folder}: give the folder of the sounds."
    return path, "" if path.is_file() else f"{path} is not there; check the folder of the sounds."


def _classes(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    named = [row.get("label") or row.get("labels") or row.get("class") or "" for row in rows]
    labels = dict.fromkeys(part.strip() for names in named for part in names.split(";") if part.strip())
    if not labels:
        raise ValueError("has no label")
    return [{"labels": list(labels)}]


def _captions(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    told = [
        " ".join(text.split())
        for row in rows
        for key, value in row.items()
        if key.startswith("caption") and value and value != "None"
        for text in (json.loads(value) if value.startswith('["') else [value])
        if re.search(r"\w", text)
    ]
    if not told:
        raise ValueError("has no caption")
    return [{"captions": told}]


def _answers(rows: list[dict[str, str]], checked: bool) -> list[dict[str, Any]]:
    """Rows of the same question are several people's answers; the one that most gave is the truth. MMAU has options
    twice, and answers that are none of them: its own rule judges those too."""
    asked: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if question := _first(row, _QUESTIONS):
            asked.setdefault(question, []).append(row)
    if not asked:
        raise ValueError("has no question")
    truths = []
    for question, some in asked.items():
        given = [row.get("answer", "").strip() for row in some]
        answer = max(dict.fromkeys(given), key=given.count)
        if not re.search(r"\w", answer):
            raise ValueError(f"has no answer to {question!r}")
        options = _options(_first(some[0], _OPTIONS), checked)
        if checked and options and answer not in options:
            raise ValueError(f"has an answer that is none of its options: {answer!r}")
        truth = {"question": question, "answer": answer, "options": options}
        truths.append(truth | ({"category": some[0]["category"]} if some[0].get("category") else {}))
    return truths


def _options(text: str, checked: bool) -> list[str]:
    """JSON, or options with ; or | between them; each once."""
    if not text:
        return []
    if text.startswith("["):
        try:
            values = json.loads(text)
        except ValueError:
            raise ValueError(f"has options that are no JSON list: {text[:60]}") from None
    else:
        values = [part.strip() for part in re.split(r"[;|]", text)]
    options = [str(value) for value in values if str(value).strip()]
    once = list(dict.fromkeys(options))
    if not 2 <= len(once) <= _MOST_OPTIONS or (checked and len(once) < len(options)):
        raise ValueError(f"has {len(once)} different options of {len(options)}; 2 to {_MOST_OPTIONS} are read")
    return once


def _events(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """A row without label says that nothing of interest is in the file."""
    events = []
    for row in rows:
        label = _first(row, _LABELS)
        if not label:
            continue
        try:
            start, end = float(_first(row, _STARTS)), float(_first(row, _ENDS))
        except ValueError:
            raise ValueError("has an event without start and end in seconds") from None
        if not 0 <= start < end < 1e7:
            raise ValueError(f"has an event from {start:g} to {end:g} s")
        events.append((start, end, label))
    return [{"events": sorted(events)}]
