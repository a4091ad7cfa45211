"""Text of the user's own -> Example: JSONL, JSON, CSV or TXT, with the columns that a recipe names.

A row that cannot be used is never silently lost: it is a BadRow with its file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mats_model.captions import Turn, tidy
from mats_model.errors import UsageError, is_text
from mats_model.llm.prompts import CAPTION_TAG, QUESTION_TAG, Question
from mats_model.tables import rows
from mats_model.training.dialogues import conversations, yes_or_no
from mats_model.training.texts import columns_of, locate

TASKS = ("caption", "question", "labels", "presence", "conversation")
_OF_CAPTIONS = ("presence", "conversation")  # made of captions and of the names of things
LONGEST = 4000  # characters of a text that is read; a page of prose is no description of a sound
_WHAT = "What makes this sound?"


@dataclass(frozen=True)
class SourceSettings:
    """One file of training text."""

    file: str = ""
    data: str = ""  # in the place of `file`: a data set of `mats models list`
    name: str = ""  # the file's name if not given
    # caption: the text is also the answer; question: text, instruction, answer; labels: text or templates, label;
    # presence: captions
    # that say a thing are asked whether there is one, and as often whether there is another; conversation: the same and
    # more, in turns
    task: str = "caption"
    columns: list[str] = field(default_factory=list)  # names of the columns, for a CSV without a header
    text: str = ""  # column that the encoder reads
    instruction: str = ""  # column with the question
    answer: str = ""  # column with the answer, or the label
    instructions: list[str] = field(default_factory=list)  # asked in turn where there is no such column
    templates: list[str] = field(
        default_factory=list
    )  # labels without a text column: how a sound is described, {} for the label
    # presence and conversation: the things that are asked after, a data set, CSV (display_name, name) or TXT
    names: str = ""
    tag: str = ""  # task tag of the prompt; the task's own if not given
    ratio: float = 1.0  # odds of this source being drawn
    begin: float = (
        0.0  # share of all steps before it is drawn for the first time: language first, say, then plain words
    )
    end: float = 1.0  # share of all steps after which it is drawn no more
    # common subjects are drawn less: odds of an example are (examples with the same nearest class name) ** -even
    even: float = 0.0
    words: int = 0  # at most so many in a text; longer ones are left out; 0 takes all
    without: list[str] = field(default_factory=list)  # texts with a word that begins so are left out
    first_sentences: int = 0  # of the text; 0 takes all
    tidy: bool = True  # lower case, single spaces, no final stop
    # files of the same columns, or data sets, whose texts are never taught
    leave_out: list[str] = field(default_factory=list)

    @property
    def text_of(self) -> str:
        """The data set or file that it reads."""
        return self.data or self.file

    @property
    def known_as(self) -> str:
        """How other parts of a recipe name it."""
        return self.name or self.text_of


@dataclass(frozen=True)
class TextExample:
    """What the encoder reads, what is asked, what is answered; in a conversation also the turns before, from `since` on
    about this text."""

    text: str
    tag: str
    instruction: str
    answer: str
    history: tuple[Turn, ...] = ()
    since: int = 0

    @property
    def asked(self) -> Question:
        """As the language model is asked."""
        return Question(self.instruction, self.tag, self.history, self.since)


@dataclass(frozen=True)
class BadRow:
    """A row that was skipped, and why."""

    file: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}"


@dataclass(frozen=True)
class CaptionSource:
    """A file as read."""

    settings: SourceSettings
    name: str
    examples: list[TextExample]
    bad: list[BadRow]
    duplicates: int


def captions_in(path: Path, column: str = "") -> Iterator[str | BadRow]:
    """The texts of a file one by one, however long it is. Errors: UsageError, also where no row has the column."""
    asked = _Columns(SourceSettings(task="caption", text=column), path)
    for line, row in rows(path, []):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            yield " ".join(_value(row, asked.of(row).text).split())
        except ValueError as error:
            yield BadRow(str(path), line, str(error))
    asked.check()


class _Columns:
    """The columns of a source: those that it names, or the task's own as the first row that has them shows."""

    def __init__(self, settings: SourceSettings, path: Path) -> None:
        self.settings, self.path = settings, path
        self.known: SourceSettings | None = None
        self.missing: UsageError | None = None

    def of(self, row: dict[str, Any]) -> SourceSettings:
        """Errors: ValueError for a row that lacks one; UsageError where all rows do, since a table has one header."""
        if self.known is None:
            try:
                self.known = _defaults(self.settings, self.path, row)
            except UsageError as error:
                if self.path.suffix.lower() in (".csv", ".tsv"):
                    raise
                self.missing = self.missing or error
                raise ValueError(
                    f"lacks a column that is needed; it has {', '.join(map(str, row)) or 'none'}"
                ) from None
        return self.known

    def check(self) -> None:
        """Errors: UsageError where no row had them."""
        if self.known is None and self.missing:
            raise self.missing


def _value(row: dict[str, Any], column: str) -> str:
    """The column's text. Errors: ValueError, with what is wrong."""
    if column not in row or row[column] is None:
        raise ValueError(f"has no column {column!r}")
    value = row[column]
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = value[0]
    if not isinstance(value, str):
        raise ValueError(f"column {column!r} holds {type(value).__name__}, not text")
    if not is_text(value):
        raise ValueError(f"column {column!r} is not UTF-8")
    if len(value) > LONGEST:
        raise ValueError(f"column {column!r} has {len(value)} characters; at most {LONGEST} are read")
    if not re.search(r"\w", value):
        raise ValueError(f"column {column!r} is blank")
    return value


def _defaults(settings: SourceSettings, path: Path, first: dict[str, Any]) -> SourceSettings:
    """Columns that were not named, from the task and what the file has. Errors: UsageError, naming the columns there
    are."""
    have = [str(key) for key in first if key is not None]
    guesses = {
        "text": ("caption", "text", "description"),
        "answer": ("answer", "label", "name"),
        "instruction": ("instruction", "question"),
    }
    known: dict[str, Any] = {}
    for part, names in guesses.items():
        named = getattr(settings, part)
        if named and named not in have:
            raise UsageError(f"{path} has no column {named!r} ({part}); it has {', '.join(have) or 'none'}.")
        known[part] = named or next((name for name in names if name in have), "")
    if settings.task == "caption" and known["text"] == "caption" and not settings.answer:
        # a caption answers for itself, whatever name stands beside it
        known["answer"] = ""
    if settings.task == "labels":
        known["answer"] = known["answer"] or known["text"]
        if not settings.text and known["text"] == known["answer"]:
            known["text"] = ""
        if settings.templates:
            known["text"] = ""
    needed = {"question": ("text", "answer"), "labels": ("answer",)}.get(settings.task, ("text",))
    for part in needed:
        if not known[part]:
            raise UsageError(
                f"{path}: say which column is the {part} of this {settings.task} source; it has {', '.join(have)}."
            )
    return replace(settings, **known)


def _examples(settings: SourceSettings, row: dict[str, Any], number: int) -> Iterator[TextExample]:
    clean = tidy if settings.tidy else lambda text: " ".join(text.split())
    tag = settings.tag or {"caption": CAPTION_TAG, "labels": "[single event]"}.get(settings.task, QUESTION_TAG)
    asked = settings.instructions[number % len(settings.instructions)] if settings.instructions else ""
    if settings.task in ("caption", *_OF_CAPTIONS):
        text = _value(row, settings.text)
        if settings.first_sentences:
            text = " ".join(re.split(r"(?<=[.!?])\s+", text)[: settings.first_sentences])
        answer = _value(row, settings.answer) if settings.answer else text
        yield TextExample(clean(text), tag, asked, clean(answer))
    elif settings.task == "question":
        question = _value(row, settings.instruction) if settings.instruction else asked or _WHAT
        yield TextExample(
            clean(_value(row, settings.text)), tag, " ".join(question.split()), clean(_value(row, settings.answer))
        )
    else:
        label = clean(_value(row, settings.answer))
        texts = (
            [_value(row, settings.text)]
            if settings.text
            else [each.replace("{}", label) for each in settings.templates or ["{}", "the sound of {}"]]
        )
        for text in texts:
            yield TextExample(clean(text), tag, asked or _WHAT, label)


def _wanted(text: str, settings: SourceSettings) -> bool:
    words = re.findall(r"\w+", text.lower())
    return (not settings.words or len(words) <= settings.words) and not any(
        word.startswith(tuple(settings.without)) for word in words
    )


def read_source(settings: SourceSettings, folder: Path, strict: bool = False) -> CaptionSource:
    """Errors: UsageError when nothing can be used, or with `strict` at the first bad row."""
    if settings.task not in TASKS:
        raise UsageError(f"task {settings.task!r}: choose one of {', '.join(TASKS)}.")
    if not settings.text_of:
        raise UsageError("a source has no file and no data.")
    if settings.ratio <= 0:
        raise UsageError(f"{settings.text_of}: ratio {settings.ratio:g} should be above 0.")
    if not 0.0 <= settings.begin < settings.end <= 1.0:
        raise UsageError(
            f"{settings.text_of}: begin {settings.begin:g} and end {settings.end:g} should lie between 0 and 1, in "
            "this order."
        )
    if settings.task in _OF_CAPTIONS and not settings.names:
        raise UsageError(
            f"{settings.text_of}: a {settings.task} source needs names, a file of the things that are asked after."
        )
    path = locate(settings.text_of, folder)
    never: set[str] = set()
    kind = "caption" if settings.task in _OF_CAPTIONS else settings.task
    whole = replace(settings, data="", leave_out=[], task=kind, words=0, without=[])
    for other in settings.leave_out:
        never |= {example.text for example in read_source(replace(whole, file=other), folder).examples}
    examples: dict[TextExample, None] = {}
    bad: list[BadRow] = []
    asked = _Columns(settings, path)
    duplicates = 0
    for number, (line, row) in enumerate(rows(path, settings.columns or columns_of(settings.text_of))):
        try:
            if isinstance(row, str):
                raise ValueError(row)
            for example in _examples(asked.of(row), row, number):
                duplicates += example in examples
                if example.text not in never and _wanted(example.text, settings):
                    examples[example] = None
        except ValueError as error:
            if strict:
                raise UsageError(f"{path}:{line}: the row {error}.") from None
            bad.append(BadRow(str(path), line, str(error)))
    asked.check()
    if settings.task in _OF_CAPTIONS:
        made = _presence if settings.task == "presence" else _conversations
        examples = dict.fromkeys(made(list(examples), locate(settings.names, folder)))
    if not examples:
        why = f" (the first: line {bad[0].line} {bad[0].why})" if bad else ""
        raise UsageError(f"{path} holds no text that can be used{why}.")
    name = settings.name or settings.data or path.stem
    return CaptionSource(asked.known or settings, name, list(examples), bad, duplicates)


def read_names(path: Path) -> list[str]:
    """Class names: the column display_name or name of a CSV, or a TXT with one a line. Errors: UsageError."""
    column = "text"
    if path.suffix.lower() == ".csv":
        first = next((row for _, row in rows(path, []) if isinstance(row, dict)), {})
        column = "name" if "name" in first and "display_name" not in first else "display_name"
    settings = SourceSettings(file=path.name, task="labels", answer=column, templates=["{}"], tidy=False)
    return [example.answer for example in read_source(settings, path.parent).examples]


def _presence(captions: list[TextExample], names: Path) -> Iterator[TextExample]:
    for text, thing, there in yes_or_no([example.text.lower() for example in captions], read_names(names), 1):
        yield TextExample(text, captions[0].tag, f"Is there {thing}?", "yes" if there else "no")


def _conversations(captions: list[TextExample], names: Path) -> Iterator[TextExample]:
    for text, turns, since in conversations([example.text.lower() for example in captions], read_names(names), 1):
        yield TextExample(text, captions[0].tag, turns[-1].question, turns[-1].answer, turns[:-1], since)
