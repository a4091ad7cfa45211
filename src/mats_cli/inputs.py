"""What the user named -> the sounds to hear: files, folders (recursive, links followed once), `-` for standard input."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mats_model.errors import InputError, UsageError

# the first bytes of containers that hold sound, for files without a known suffix
_MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"ID3", b"caff", b".snd", b"riff")


@dataclass(frozen=True)
class Item:
    """One sound to hear; `problem` is set when it cannot even be opened."""

    name: str
    path: Path | None  # None: standard input
    tree: Path  # place in an output folder that mirrors the input folder
    problem: str | None = None


@dataclass
class Found:
    """All items in order, and how many files of folders were passed over."""

    items: list[Item] = field(default_factory=list)
    skipped: int = 0
    many: bool = False  # more than one answer is to be expected: name each


def expand(names: list[str]) -> Found:
    """Errors: UsageError when standard input is named twice or is a terminal."""
    from mats_model.audio import SUFFIXES

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
            _walk(path, found, SUFFIXES, seen)
        elif (real := os.path.realpath(path)) not in seen or not path.exists():
            seen.add(real)
            found.items.append(Item(name, path, Path(path.name)))
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _walk(top: Path, found: Found, suffixes: frozenset[str], seen: set[str]) -> None:
    """Files of a folder in the order of their names; each real folder is entered once, so loops of links end."""
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
            if path.suffix.lower() not in suffixes and not _sounds_like_audio(path):
                found.skipped += 1
                continue
            real_file = os.path.realpath(path)
            if real_file not in seen:
                seen.add(real_file)
                found.items.append(Item(str(path), path, path.relative_to(top)))


def _sounds_like_audio(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as handle:
            head = handle.read(12)
    except OSError:
        return False
    return head.startswith(_MAGIC) or head[4:8] == b"ftyp"


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
