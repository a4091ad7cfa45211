"""Names of files and folders -> the sounds to hear, in order: folders with all that is in them, links followed once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mats_model.audio.find import SHARED, SUFFIXES, ending, sounds

# endings that are named when files are passed over
_NAMED = 6
# what an input without a path is called
STDIN = "standard input"


@dataclass(frozen=True)
class Item:
    """One sound to hear; `problem` is set when it cannot even be opened."""

    name: str
    path: Path | None  # None: standard input
    tree: Path  # place in an output folder that mirrors the input folder
    problem: str | None = None


@dataclass
class Found:
    """All items in order, and which files of folders were passed over."""

    items: list[Item] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)  # by their endings
    many: bool = False  # more than one answer is to be expected: name each
    _seen: set[str] = field(default_factory=set)

    @property
    def skipped(self) -> int:
        """How many files were passed over."""
        return self.passed.total()

    def passed_over(self) -> str | None:
        """What was passed over, in words; None where nothing was."""
        if not self.passed:
            return None
        named = self.passed.most_common(_NAMED)
        rest = self.skipped - sum(count for _, count in named)
        kinds = ", ".join([f"{count} {name}" for name, count in named] + ([f"{rest} others"] if rest else []))
        many = "1 file was" if self.skipped == 1 else f"{self.skipped} files were"
        return f"{many} passed over, whose endings are of no known sound: {kinds}."

    def add(self, name: str) -> None:
        """A file as it is, or a folder with all sounds in it; what was found before is left out."""
        path = Path(name)
        if _is_folder(path):
            self.many = True
            self._walk(path)
        elif (real := os.path.realpath(path)) not in self._seen or not os.path.exists(path):
            self._seen.add(real)
            self.items.append(Item(name, path, Path(path.name)))

    def _walk(self, top: Path) -> None:
        """Files of a folder in the order of their names; each real folder is entered once, so loops of links end."""
        entered: set[str] = set()
        for folder, folders, files in os.walk(top, followlinks=True, onerror=lambda error: self._refuse(top, error)):
            real = os.path.realpath(folder)
            if real in entered:
                folders.clear()
                continue
            entered.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith("."):
                    self._take(top, Path(folder) / name)

    def _take(self, top: Path, path: Path) -> None:
        if (real := os.path.realpath(path)) in self._seen:
            return
        self._seen.add(real)
        suffix = path.suffix.lower()
        if (suffix not in SUFFIXES or suffix in SHARED) and not _sounds_like_audio(path):
            self.passed[ending(path.name)] += 1
        else:
            self.items.append(Item(str(path), path, path.relative_to(top)))

    def _refuse(self, top: Path, error: OSError) -> None:
        where = Path(error.filename or top)
        why = f"{where} may not be listed ({error.strerror}); check its permissions."
        self.items.append(Item(str(where), where, Path(where.name), why))


def find_sounds(names: Iterable[str]) -> Found:
    """The sounds that some files and folders hold."""
    found = Found()
    for name in names:
        found.add(name)
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _sounds_like_audio(path: Path) -> bool:
    """By its first bytes, for files whose ending says nothing."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as handle:
            head = handle.read(512)
    except OSError:
        return False
    return sounds(head)
