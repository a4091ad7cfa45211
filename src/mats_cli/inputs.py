"""What the user named -> what is read: sounds in files, in folders or on standard input (`-`), and labels."""

from __future__ import annotations

import os
import select
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli import console
from mats_cli.formats import visible
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    from mats_model.audio.folders import Found

# of standard input, which is kept in memory: three hours of a CD
LONGEST = 2_000_000_000
# of labels, each of which is embedded before the first sound is heard
LABEL_BYTES, MOST_LABELS = 8_000_000, 100_000
_SOUND = "a sound"
_PIECE = 1 << 20
# no sound begins with so much of one byte, and what is one is known by then
_ENOUGH = 4_000_000
# seconds after which waiting is said
_PATIENCE = 10.0


def expand(names: list[str]) -> Found:
    """What the user named; `-` is standard input. Errors: UsageError when that is named twice or is a terminal."""
    from mats_model.audio.folders import Found, Item

    if names.count("-") > 1:
        raise UsageError("`-` stands for standard input and can be named once only.")
    found = Found(many=len(names) > 1)
    for name in names:
        if name != "-":
            found.add(name)
            continue
        if sys.stdin is not None and sys.stdin.isatty():
            raise UsageError("`-` reads a sound from standard input, which is the keyboard: pipe a file in.")
        found.items.append(Item("-", None, Path("stdin")))
    return found


def read_stdin(most: int = LONGEST, what: str = _SOUND, quiet: bool = False) -> bytes:
    """All of standard input; where it takes its time, that is said. Errors: InputError when nothing comes, no sound, or
    more than `most` bytes."""
    if sys.stdin is None or sys.stdin.closed:
        raise InputError(f"standard input is closed: pipe {what} in.")
    reader: Any = sys.stdin.buffer
    parts: list[bytes] = []
    size, same, patience = 0, True, time.monotonic() + _PATIENCE
    enough = _ENOUGH if what == _SOUND else most
    while True:
        if not quiet and patience and not _arrives(patience - time.monotonic()):
            console.note(f"standard input has not ended ({size / 1e6:.1f} MB so far): {what} is read to its end first.")
            patience = 0.0
        data = reader.read1(_PIECE)
        if not data:
            break
        parts.append(data)
        size += len(data)
        if size > most:
            raise InputError(
                f"standard input holds more than {_size(most)}, the most that is read of {what} from there: name a "
                "file instead."
            )
        same = same and data.count(parts[0][:1]) == len(data)
        if same and size > _ENOUGH:
            raise InputError(f"standard input is not {what}: its first {_size(_ENOUGH)} are one byte again and again.")
        if size > enough:
            # where it cannot be told yet, twice as much may show it
            enough = most if _recognised(b"".join(parts)) else 2 * size
    if not size:
        raise InputError(f"standard input is empty: pipe {what} in.")
    return b"".join(parts)


def _recognised(head: bytes) -> bool:
    """Errors: InputError, where it is no sound, so that no more of it is kept."""
    from mats_model.audio import AudioSource, recognised

    return recognised(AudioSource("standard input", data=head))


def _arrives(seconds: float) -> bool:
    """Whether something comes on standard input within so long."""
    try:
        return seconds > 0 and bool(select.select([sys.stdin.fileno()], [], [], seconds)[0])
    except (OSError, ValueError, AttributeError):
        return True  # nothing that can be waited for, as a pipe of Windows


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def read_labels(given: str, option: str = "--labels") -> tuple[list[str], list[str]]:
    """A label file, `-`, or labels with commas between them -> labels, and notes about what was left out.

    In a file a line that begins with # is a remark, and \\# begins a label that does. Errors: UsageError when there is
    no such file, it is too long or no text, or no label is in it.
    """
    text, where, listed = _label_text(given, option)
    try:
        lines = [line.strip() for line in text.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        how = "set the terminal to UTF-8, or type it anew" if listed else "save the labels as UTF-8, one per line"
        raise UsageError(f"{f'{option} {visible(given)}' if listed else where} is not UTF-8 text: {how}.") from None
    if not listed:
        lines = [
            line.removeprefix("\\") if line.startswith("\\#") else line for line in lines if not line.startswith("#")
        ]
    labels = [line for line in lines if line]
    if listed and len(labels) == 1 and (mark := next((each for each in "|;" if each in given), "")):
        better = ",".join(part.strip() for part in given.split(mark))
        return labels, [f"{option} {given!r} is one label: did you mean {better!r}, with commas between labels?"]
    if not labels:
        raise UsageError(
            f"{where} holds no labels: write one per line, or give them with commas, as in {option} 'dog,rain'."
        )
    counts = Counter(labels)
    kept = list(counts)
    if len(kept) > MOST_LABELS:
        raise UsageError(f"{where} holds {len(kept)} labels; at most {MOST_LABELS} are read.")
    if len(kept) == len(labels):
        return kept, []
    twice = next(label for label, count in counts.items() if count > 1)
    return kept, [f"{where} names {len(labels) - len(kept)} label(s) twice ({twice!r} first); each counts once."]


def _label_text(given: str, option: str) -> tuple[bytes, str, bool]:
    """The labels as bytes, what to call them, and whether they are a list with commas. Errors: UsageError."""
    path = Path(given)
    if given == "-":
        try:
            return read_stdin(LABEL_BYTES, "labels"), "standard input", False
        except InputError as error:
            raise UsageError(str(error)) from None
    if _is_file(path):
        try:
            with path.open("rb") as handle:
                text = handle.read(LABEL_BYTES + 1)
        except OSError as error:
            raise UsageError(
                f"the labels in {given} cannot be read ({error.strerror}); check its permissions."
            ) from None
        if len(text) > LABEL_BYTES:
            raise UsageError(
                f"{given} is longer than {_size(LABEL_BYTES)}, the most that is read of labels: is it a file of "
                "labels, one per line?"
            )
        return text, given, False
    if path.suffix.lower() in (".txt", ".csv", ".list", ".labels") or (os.sep in given and "," not in given):
        raise UsageError(
            f"there is no label file {given}: give a file with one label per line, or the labels themselves with "
            "commas."
        )
    return given.replace(",", "\n").encode("utf-8", "surrogateescape"), option, True


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
