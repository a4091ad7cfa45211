"""What the user named -> the sounds to hear: files, folders (recursive, links followed once), `-` for standard input."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mats_model.errors import InputError, UsageError

# endings that are named when files are passed over
_NAMED = 6


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


def expand(names: list[str]) -> Found:
    """Errors: UsageError when standard input is named twice or is a terminal."""
    found = Found(many=len(names) > 1)
    seen: set[str] = set()
    if names.count("-") > 1:
        raise UsageError("`-` stands for standard input and can be named once only.")
    for name in names:
        if name == "-":
            if sys.stdin.isatty():
                raise UsageError("`-` reads a sound from standard input, which is the keyboard: pipe a file in.")
            found.items.append(Item("-", None, Path("stdin")))
            continue
        path = Path(name)
        if _is_folder(path):
            found.many = True
            _walk(path, found, seen)
        elif (real := os.path.realpath(path)) not in seen or not path.exists():
            seen.add(real)
            found.items.append(Item(name, path, Path(path.name)))
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _walk(top: Path, found: Found, seen: set[str]) -> None:
    """Files of a folder in the order of their names; each real folder is entered once, so loops of links end."""
    from mats_model.audio import SHARED, SUFFIXES, ending

    entered: set[str] = set()

    def refused(error: OSError) -> None:
        where = Path(error.filename or top)
        found.items.append(Item(str(where), where, Path(where.name), f"{where} may not be listed ({error.strerror}); check its permissions."))

    for folder, folders, files in os.walk(top, followlinks=True, onerror=refused):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder) / name
            if name.startswith("."):
                continue
            suffix = path.suffix.lower()
            if (suffix not in SUFFIXES or suffix in SHARED) and not _sounds_like_audio(path):
                found.passed[ending(name)] += 1
                continue
            real_file = os.path.realpath(path)
            if real_file not in seen:
                seen.add(real_file)
                found.items.append(Item(str(path), path, path.relative_to(top)))


def _sounds_like_audio(path: Path) -> bool:
    """By its first bytes, for files whose ending says nothing."""
    from mats_model.audio import sounds

    try:
        if not path.is_file():
            return False
        with path.open("rb") as handle:
            head = handle.read(512)
    except OSError:
        return False
    return sounds(head)


def read_stdin() -> bytes:
    """All of standard input. Errors: InputError when nothing came."""
    data = sys.stdin.buffer.read()
    if not data:
        raise InputError("standard input is empty: pipe a sound in.")
    return data


def read_labels(given: str) -> tuple[list[str], list[str]]:
    """A label file, `-`, or labels with commas between them -> labels, and notes about what was left out.

    Errors: UsageError when there is no such file, it is no text, or no label is in it.
    """
    path = Path(given)
    if given == "-":
        text, where = sys.stdin.buffer.read(), "standard input"
    elif _is_file(path):
        try:
            text, where = path.read_bytes(), given
        except OSError as error:
            raise UsageError(f"the labels in {given} cannot be read ({error.strerror}); check its permissions.") from None
    elif path.suffix.lower() in (".txt", ".csv", ".list", ".labels") or (os.sep in given and "," not in given):
        raise UsageError(f"there is no label file {given}: give a file with one label per line, or the labels themselves with commas.")
    else:
        text, where = given.replace(",", "\n").encode(), "--labels"
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{where} is not UTF-8 text: save the labels as UTF-8, one per line.") from None
    labels = [line.strip() for line in lines if line.strip()]
    if not labels:
        raise UsageError(f"{where} holds no labels: write one per line, or give them with commas, as in --labels 'dog,rain'.")
    kept = list(dict.fromkeys(labels))
    notes = []
    if len(kept) < len(labels):
        twice = next(label for label in kept if labels.count(label) > 1)
        notes.append(f"{where} names {len(labels) - len(kept)} label(s) twice ({twice!r} first); each counts once.")
    return kept, notes


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
