"""Results in every format: a whole document, or a piece of one that is written as it grows; the format that a file's
ending asks for."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from mats_cli.formats import (
    CSV_HEADER,
    FORMATS,
    TABLES,
    TRACE_HEADER,
    Result,
    csv_rows,
    plain_json,
    table,
    text_lines,
)
from mats_cli.timeline import timeline
from mats_cli.tracks import ENDINGS, track
from mats_model.errors import UsageError
from mats_model.files import write

# formats that are written as they come; the others need the whole
GROWING = ("text", "jsonl", "timeline", *TABLES)
# formats that are about time
TIMED = (*ENDINGS, "timeline", "html")
# ending of a file -> the format that it asks for, and those that may be asked for beside it
_OF_ENDING = {
    ".srt": ("srt",),
    ".vtt": ("vtt",),
    ".json": ("json",),
    ".jsonl": ("jsonl",),
    ".csv": ("csv", "excel", "reaper"),
    ".html": ("html",),
    ".htm": ("html",),
    ".txt": ("text", "timeline", "audacity", "raven"),
}
_SUFFIX = {"text": "txt", "excel": "csv", "timeline": "timeline.txt"}


def file_name(name: str, kind: str) -> tuple[str, str]:
    """Name and ending of the file that holds what was heard in the recording `name`: mixed1.srt, mixed1.wav.json."""
    return (Path(name).stem, ENDINGS[kind]) if kind in ENDINGS else (name, f".{_SUFFIX.get(kind, kind)}")


def save(path: Path, text: str) -> None:
    """A whole file of results, or none of it. Errors: UsageError."""
    try:
        put(path, text)
    except OSError as error:
        raise refused(path, error) from None


def put(path: Path, text: str) -> None:
    """As `save`; whoever sorts the errors does so. Errors: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, text.encode("utf-8", "surrogateescape"))


def refused(path: Path | str | None, error: OSError) -> UsageError:
    """That results cannot be written there."""
    return UsageError(f"{path} cannot be written ({error.strerror}); choose another place with -o.")


def chosen_format(
    given: str | None,
    json: bool,
    csv: bool,
    formats: tuple[str, ...] = FORMATS,
    bom: bool = False,
    output: str | None = None,
    timeline: bool = False,
) -> str:
    """One format out of --format, --json, --csv, --timeline and the ending of -o; `excel` for CSV with --bom.

    Errors: UsageError when they contradict each other.
    """
    asked = (given, given is not None), ("json", json), ("csv", csv), ("timeline", timeline)
    kinds = list(dict.fromkeys(str(name) for name, wanted in asked if wanted))
    if len(kinds) > 1:
        raise UsageError(f"--format {kinds[0]} and {kinds[1]} were both asked for: choose one.")
    ending = Path(output).suffix.lower() if output and not output.endswith(os.sep) and not _is_folder(output) else ""
    may = [kind for kind in _OF_ENDING.get(ending, ()) if kind in (*formats, "excel")]
    kind = kinds[0] if kinds else may[0] if may else "text"
    if kind not in formats:
        raise UsageError(f"--format {kind}: choose one of {', '.join(formats)}.")
    if may and kind not in may:
        raise UsageError(f"-o {output} asks for {may[0]} and --format {kind} for another: name it otherwise.")
    if bom and kind != "csv":
        raise UsageError("--bom goes with --csv: other formats need no mark.")
    return "excel" if bom else kind


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def document(results: list[Result], kind: str, named: bool, timed: bool, traced: bool = False) -> str:
    """A whole document in one format, but for html, which pages/ makes."""
    if kind == "json":
        return plain_json([result.to_json() for result in results], 2) + "\n"
    if kind == "jsonl":
        return "".join(plain_json(result.to_json()) + "\n" for result in results)
    if kind in TABLES:
        header = CSV_HEADER + (TRACE_HEADER if traced else [])
        return TABLES[kind] + table([header] + [row for result in results for row in csv_rows(result, traced)])
    if kind in ENDINGS:
        return track([row for result in results for row in result.rows], kind)
    if kind == "timeline":
        columns, letters = shutil.get_terminal_size().columns, _shows_blocks()
        return "".join(timeline(result, columns, letters) for result in results)
    return "".join(line + "\n" for result in results for line in text_lines(result, named, timed))


def piece(result: Result, kind: str, named: bool, timed: bool, first: bool, traced: bool = False) -> str:
    """One result of a document that is written as it grows; "" for formats that need the whole."""
    if kind in TABLES and not first:
        return table(csv_rows(result, traced))
    return document([result], kind, named, timed, traced) if kind in GROWING else ""


def _shows_blocks() -> bool:
    """Whether standard output has letters beyond ASCII."""
    return (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32", "utf8sig")
