"""Results as rows: text lines, JSON, CSV. Every row is one stretch of one sound; documents.py has all formats."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("text", "json", "jsonl", "csv", "srt", "vtt", "audacity", "raven", "reaper", "timeline", "html")
SILENT, NONE = "(silence)", "(none fits)"
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass
class Row:
    """One stretch: a caption, or labels with scores, or silence."""

    start: float
    end: float
    caption: str | None = None
    labels: list[tuple[str, float]] = field(default_factory=list)
    silent: bool = False
    probabilities: dict[str, float] = field(default_factory=dict)  # of labels whose score is their share
    none_fits: bool = False  # the labels are the nearest ones, and not likely to be there
    score: float | None = None  # of the caption: its cosine to the sound


@dataclass
class Result:
    """All that was heard in one input, or why nothing was."""

    path: str
    rows: list[Row] = field(default_factory=list)
    error: str | None = None
    about: dict[str, str] = field(default_factory=dict)  # the model's id and the version of mats, once it is shown

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what does not apply."""
        if self.error is not None:
            return {"path": self.path, **self.about, "error": self.error}
        return {"path": self.path, **self.about, "segments": [_plain(row) for row in self.rows]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Result:
        """What `to_json` gave."""
        rows = [
            Row(
                r["start"],
                r["end"],
                r.get("caption"),
                [(e["label"], e["score"]) for e in r.get("labels", [])],
                r["silent"],
                {e["label"]: e["probability"] for e in r.get("labels", []) if "probability" in e},
                r.get("none_fits", False),
                r.get("score"),
            )
            for r in values.get("segments", [])
        ]
        return cls(values["path"], rows, values.get("error"))


def _plain(row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {"start": round(row.start, 3), "end": round(row.end, 3), "silent": row.silent}
    if row.caption is not None:
        plain["caption"] = row.caption
        if row.score is not None:
            plain["score"] = round(row.score, 4)
        return plain
    plain["labels"] = [
        {"label": name, "score": round(score, 4)}
        | ({"probability": round(row.probabilities[name], 4)} if name in row.probabilities else {})
        for name, score in row.labels
    ]
    if row.labels and (row.probabilities or row.none_fits):
        plain["none_fits"] = row.none_fits
    return plain


def _shown(letter: str) -> str:
    """A letter, or the escape of what moves the cursor, turns the line around or begins another one; of a byte that is
    no text \\xNN."""
    # joiners belong to the words of many languages and do nothing else
    if letter.isprintable() or letter in "\u200c\u200d" or unicodedata.category(letter) == "Zs":
        return letter
    return (
        f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else letter.encode("unicode_escape").decode()
    )


def visible(text: str) -> str:
    """A name, a caption or a sentence on one line, harmless to whoever shows it."""
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def harmless(text: str) -> str:
    """Lines, and cells with tabs between them, in which nothing else controls a terminal."""
    if text.startswith(BOM):
        return BOM + harmless(text[1:])
    plain = text.replace("\n", "").replace("\t", "")
    if plain.isascii() and plain.isprintable():
        return text
    return "".join(letter if letter in "\n\t" else _shown(letter) for letter in text)


def plain_json(values: Any, indent: int | None = None) -> str:
    """JSON in which text is as it is, but for what would control a terminal: that is escaped, and the same once
    read."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        letter if letter == "\n" or _shown(letter) == letter else json.dumps(letter)[1:-1].replace("\x7f", "\\u007f")
        for letter in text
    )


def clock(seconds: float) -> str:
    """A time as people read it, to a tenth: 1:30, 1:02:03.5."""
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths // 10 % 60
    front = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{front}:{rest:02d}" + (f".{tenths % 10}" if tenths % 10 else "")


def stamp(seconds: float) -> str:
    """A time in a file's name, to the second: 0550, 010203."""
    whole = int(seconds)
    hours = f"{whole // 3600:02d}" if whole >= 3600 else ""
    return f"{hours}{whole // 60 % 60:02d}{whole % 60:02d}"


def _said(row: Row) -> list[str]:
    """The cells of a row after path and times, one list entry a line."""
    if row.silent:
        return [SILENT]
    if row.caption is not None:
        return [visible(row.caption)]
    cells = []
    for name, score in row.labels:
        front = [NONE] if row.none_fits else []
        alone = [f"{row.probabilities[name]:.3f}"] if name in row.probabilities else []
        cells.append("\t".join([*front, visible(name), f"{score:.3f}", *alone]))
    return cells


def text_lines(result: Result, named: bool, timed: bool) -> list[str]:
    """Tab-separated lines: path when there are several inputs, times when there are several stretches."""
    lines = []
    for row in result.rows:
        front = ([visible(result.path)] if named else []) + ([f"{clock(row.start)}-{clock(row.end)}"] if timed else [])
        lines += ["\t".join([*front, said]) for said in _said(row)]
    return lines


def cell(text: str) -> str:
    """Text in a table: a spreadsheet would run what begins like a formula, so that is marked as text; a number stays
    one."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip()[:1] in _FORMULA and shown.lstrip() and not _NUMBER.fullmatch(shown) else shown


def csv_rows(result: Result, traced: bool = False) -> list[list[str]]:
    """As CSV_HEADER says; `traced`: the model's id and the version of mats behind."""
    return [row + list(result.about.values()) for row in _csv_rows(result)] if traced else _csv_rows(result)


def _csv_rows(result: Result) -> list[list[str]]:
    if result.error is not None:
        return [[cell(result.path), *[""] * 6, cell(result.error)]]
    return [
        [cell(result.path), f"{row.start:.3f}", f"{row.end:.3f}", *said, ""]
        for row in result.rows
        for said in _cells(row)
    ]


def _cells(row: Row) -> list[list[str]]:
    """text, score, probability, nearest of a row, one list entry a line."""
    if row.silent:
        return [[SILENT, "", "", ""]]
    if row.caption is not None:
        return [[cell(row.caption), "" if row.score is None else f"{row.score:.4f}", "", ""]]
    cells = []
    for name, score in row.labels:
        alone = f"{row.probabilities[name]:.4f}" if name in row.probabilities else ""
        text, nearest = (NONE, cell(name)) if row.none_fits else (cell(name), "")
        cells.append([text, f"{score:.4f}", alone, nearest])
    return cells


CSV_HEADER = ["path", "start", "end", "text", "score", "probability", "nearest", "error"]
TRACE_HEADER = ["model", "mats"]
BOM = "\ufeff"  # by which Excel knows UTF-8; `excel` is CSV with it
TABLES = {"csv": "", "excel": BOM}


def table(rows: list[list[str]]) -> str:
    """CSV."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue()
