"""What the user named -> what is read: sounds in files, in folders or on standard input (`-`), and labels."""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli import console
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    from mats_model.audio.folders import Found

# of standard input, which is kept in memory: three hours of a CD
LONGEST = 2_000_000_000
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
    count, same, patience = 0, True, time.monotonic() + _PATIENCE
    enough = _ENOUGH if what == _SOUND else most
    while True:
        if not quiet and patience and not _arrives(patience - time.monotonic()):
            console.note(
                f"standard input has not ended ({count / 1e6:.1f} MB so far): {what} is read to its end first."
            )
            patience = 0.0
        data = reader.read1(_PIECE)
        if not data:
            break
        parts.append(data)
        count += len(data)
        if count > most:
            raise InputError(
                f"standard input holds more than {size(most)}, the most that is read of {what} from there: name a "
                "file instead."
            )
        same = same and data.count(parts[0][:1]) == len(data)
        if same and count > _ENOUGH:
            raise InputError(f"standard input is not {what}: its first {size(_ENOUGH)} are one byte again and again.")
        if count > enough:
            # where it cannot be told yet, twice as much may show it
            enough = most if _recognised(b"".join(parts)) else 2 * count
    if not count:
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


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
