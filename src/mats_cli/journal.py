"""What a job has finished, kept beside its output so that the same command goes on after a kill."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli.formats import Result
from mats_model.files import is_own, own

if TYPE_CHECKING:
    from mats_model.audio.folders import Item

# bytes of a name that every file system in use takes
_LONGEST = 255


def fitting(name: str, ending: str) -> str:
    """One name of the two: where it would be too long, `name` is cut and told from others that begin so by a digest of
    the whole."""
    if len(os.fsencode(name + ending)) <= _LONGEST:
        return name + ending
    whole = os.fsencode(name)
    mark = f"~{hashlib.sha256(whole).hexdigest()[:8]}{ending}"
    return whole[: _LONGEST - len(os.fsencode(mark))].decode("utf-8", "ignore") + mark


def unused(folder: Path, name: str, ending: str, used: set[Path]) -> Path:
    """A place for what belongs to `name`, and not one of those in use; a second one of the same name gets a number."""
    number, place = 1, folder / fitting(name, ending)
    while place in used:
        number += 1
        place = folder / fitting(name, f"-{number}{ending}")
    used.add(place)
    return place


class Journal:
    """One JSON line per finished input, valid for the same settings and an unchanged file only."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self.done: dict[str, dict[str, Any]] = {}
        try:
            lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if is_own(path) else []
        except OSError:
            lines = []
        for line in lines:
            try:
                entry = json.loads(line)
                self.done[entry["key"]] = entry["result"]
            except (ValueError, KeyError, TypeError):
                continue  # the line that a kill cut in half
        # its name can be guessed: in a shared folder, what another put there is neither believed nor written to
        self.handle = os.fdopen(own(path, os.O_APPEND), "a", encoding="utf-8", errors="surrogateescape")
        self.handle.write("\n" if lines else "")

    def key(self, item: Item | str) -> str | None:
        """Settings, path, size and time of change, or the name of what is no file; None for what cannot be recognised
        again."""
        if isinstance(item, str):
            return f"{self.mark} {item}"
        if item.path is None:
            return None
        try:
            stat = os.stat(item.path)
        except OSError:
            return None
        return f"{self.mark} {stat.st_size} {stat.st_mtime_ns} {os.path.abspath(item.path)}"

    def get(self, item: Item) -> Result | None:
        """The finished result of an unchanged input."""
        values = self.recall(item)
        return Result.from_json(values) if values else None

    def add(self, item: Item, result: Result) -> None:
        """Remember a success; failures are tried again."""
        if result.error is None:
            self.keep(item, result.to_json())

    def recall(self, item: Item | str) -> dict[str, Any] | None:
        """What was kept of an unchanged input."""
        return self.done.get(self.key(item) or "")

    def keep(self, item: Item | str, values: dict[str, Any]) -> None:
        """Plain values of a finished input."""
        if key := self.key(item):
            self.handle.write(json.dumps({"key": key, "result": values}) + "\n")
            self.handle.flush()

    def finish(self) -> None:
        """The job is whole: the journal goes."""
        self.handle.close()
        self.path.unlink(missing_ok=True)
