"""Results as text, JSON, JSON lines, CSV, SRT or WebVTT. Every row is one stretch of one sound."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("text", "json", "jsonl", "csv", "srt", "vtt")
SILENT = "(silence)"


@dataclass
class Row:
    """One stretch: a caption, or labels with scores, or silence."""

    start: float
    end: float
    caption: str | None = None
    labels: list[tuple[str, float]] = field(default_factory=list)
    silent: bool = False


@dataclass
class Result:
    """All that was heard in one input, or why nothing was."""

    path: str
    rows: list[Row] = field(default_factory=list)
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what does not apply."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        return {"path": self.path, "segments": [_plain(row) for row in self.rows]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Result:
        """What `to_json` gave."""
        rows = [
            Row(r["start"], r["end"], r.get("caption"), [(e["label"], e["score"]) for e in r.get("labels", [])], r["silent"])
            for r in values.get("segments", [])
        ]
        return cls(values["path"], rows, values.get("error"))


def _plain(row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {"start": round(row.start, 3), "end": round(row.end, 3), "silent": row.silent}
    if row.caption is not None:
        plain["caption"] = row.caption
    else:
        plain["labels"] = [{"label": name, "score": round(score, 4)} for name, score in row.labels]
    return plain


def visible(name: str) -> str:
    """A path on one line: control characters written as escapes, bytes that are no text as \\xNN."""
    shown = "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in name if not "\udc80" <= c <= "\udcff")
    if any("\udc80" <= c <= "\udcff" for c in name):
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return shown


def clock(seconds: float, separator: str = ".") -> str:
    """HH:MM:SS.mmm."""
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}{separator}{whole % 1000:03d}"


def _said(row: Row) -> list[str]:
    """The cells of a row after path and times, one list entry a line."""
    if row.silent:
        return [SILENT]
    if row.caption is not None:
        return [row.caption]
    return [f"{name}\t{score:.3f}" for name, score in row.labels]


def text_lines(result: Result, named: bool, timed: bool) -> list[str]:
    """Tab-separated lines: path when there are several inputs, times when there are several stretches."""
    lines = []
    for row in result.rows:
        front = ([visible(result.path)] if named else []) + ([f"{clock(row.start)}-{clock(row.end)}"] if timed else [])
        lines += ["\t".join([*front, said]) for said in _said(row)]
    return lines


def csv_rows(result: Result) -> list[list[str]]:
    """path, start, end, label or caption, score, error."""
    if result.error is not None:
        return [[visible(result.path), "", "", "", "", result.error]]
    rows = []
    for row in result.rows:
        said = [(SILENT, "")] if row.silent else [(row.caption, "")] if row.caption is not None else [(n, f"{s:.4f}") for n, s in row.labels]
        rows += [[visible(result.path), f"{row.start:.3f}", f"{row.end:.3f}", text, score, ""] for text, score in said]
    return rows


CSV_HEADER = ["path", "start", "end", "text", "score", "error"]


def _csv(rows: list[list[str]]) -> str:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue()


def _cues(results: list[Result], vtt: bool) -> str:
    blocks = ["WEBVTT\n"] if vtt else []
    mark = "." if vtt else ","
    number = 0
    for result in results:
        for row in result.rows:
            said = SILENT if row.silent else row.caption if row.caption is not None else ", ".join(n for n, _ in row.labels)
            if not said:
                continue
            number += 1
            head = "" if vtt else f"{number}\n"
            blocks.append(f"{head}{clock(row.start, mark)} --> {clock(row.end, mark)}\n{said}\n")
    return "\n".join(blocks)


def document(results: list[Result], kind: str, named: bool, timed: bool) -> str:
    """A whole document in one format."""
    if kind == "json":
        return json.dumps([result.to_json() for result in results], indent=2, ensure_ascii=False) + "\n"
    if kind == "jsonl":
        return "".join(json.dumps(result.to_json(), ensure_ascii=False) + "\n" for result in results)
    if kind == "csv":
        return _csv([CSV_HEADER] + [row for result in results for row in csv_rows(result)])
    if kind in ("srt", "vtt"):
        return _cues(results, kind == "vtt")
    return "".join(line + "\n" for result in results for line in text_lines(result, named, timed))


def piece(result: Result, kind: str, named: bool, timed: bool, first: bool) -> str:
    """One result of a document that is written as it grows (text, jsonl, csv); "" for formats that need the whole."""
    if kind == "csv":
        return _csv(([CSV_HEADER] if first else []) + csv_rows(result))
    return document([result], kind, named, timed) if kind in ("text", "jsonl") else ""
