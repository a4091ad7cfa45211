"""Files of text row by row: JSONL, JSON, CSV, TSV and TXT, however long they are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from mats_model.errors import UsageError


def rows(path: Path, columns: list[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, row or what is wrong with it); `columns` name those of a CSV without a header. Errors: UsageError."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file: write the text into one first, a pipe or a folder is not read.")
    try:
        # a byte that is no UTF-8 spoils its row only; the csv module and ours split lines themselves
        handle = path.open(
            encoding="utf-8-sig",
            errors="surrogateescape",
            newline="" if path.suffix.lower() in (".csv", ".tsv") else "\n",
        )
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}): check the path, and the folder of the data."
        ) from None
    with handle:
        yield from _rows_of(handle, str(path), path.suffix.lower(), columns)


def rows_of(data: bytes, name: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The same of what came without a file's ending, as on standard input: JSONL, JSON, TSV where the first line has a
    tab, else CSV. Errors: UsageError."""
    text = data.decode("utf-8-sig", "surrogateescape")
    head = text.lstrip()[:1]
    kind = {"[": ".json", "{": ".jsonl"}.get(head) or (".tsv" if "\t" in text.partition("\n")[0] else ".csv")
    yield from _rows_of(io.StringIO(text, newline="" if kind in (".csv", ".tsv") else "\n"), name, kind, [])


def _rows_of(handle: TextIO, path: str, kind: str, columns: list[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    if kind == ".csv" or kind == ".tsv":
        csv.field_size_limit(1 << 30)
        reader = csv.DictReader(handle, fieldnames=columns or None, delimiter="\t" if kind == ".tsv" else ",")
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield reader.line_num, f"is no row ({error})"
                continue
            if row is None:
                return
            yield reader.line_num, row
    elif kind == ".json":
        try:
            entries = json.load(handle)
        except ValueError as error:
            raise UsageError(f"{path} is no JSON ({error}).") from None
        except RecursionError:
            raise UsageError(f"{path} is no list of rows: it is nested too deeply.") from None
        if not isinstance(entries, list):
            raise UsageError(f"{path} should hold a list of rows.")
        yield from (
            (number, entry if isinstance(entry, dict) else f"is {type(entry).__name__}, not a group")
            for number, entry in enumerate(entries, 1)
        )
    elif kind in (".jsonl", ".ndjson"):
        for number, line in enumerate(handle, 1):
            if line.strip():
                try:
                    entry = json.loads(line)
                    yield number, entry if isinstance(entry, dict) else f"is {type(entry).__name__}, not a group"
                except ValueError:
                    yield number, "is no JSON"
                except RecursionError:
                    yield number, "is nested too deeply"
    elif kind == ".txt":
        yield from (
            (number, {"text": line.rstrip("\n")})
            for number, line in enumerate(handle, 1)
            if line.strip() and not line.startswith("#")
        )
    else:
        raise UsageError(f"{path}: mats reads .jsonl, .json, .csv, .tsv and .txt.")


def cells(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a table as text, those left out that are no rows. Errors: UsageError."""
    for _, row in rows(path, []):
        if isinstance(row, dict):
            yield {str(key): str(value) for key, value in row.items() if key is not None}
