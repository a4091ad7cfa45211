"""What was heard as a picture of letters: a row a label, blocks over time."""

from __future__ import annotations

import unicodedata

from mats_cli.formats import Result, clock, visible
from mats_cli.tracks import Mark, marks

# seconds between two times on the scale
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_NARROWEST, _BETWEEN = 20, 2  # columns: of a whole line at least, between two times of the scale
_FULL, _PART, _REST = "\u2588", "\u2592", "\u00b7"


def timeline(result: Result, width: int, blocks: bool = True) -> str:
    """Lines of at most `width` columns; `blocks`: the terminal shows more than ASCII."""
    if result.error is not None:
        return ""
    found = marks(result.rows)
    begin = min((mark.start for mark in found), default=0.0)
    end = max((mark.end for mark in found), default=0.0)
    texts = list(dict.fromkeys(mark.text for mark in found))
    lines = [_cut(f"{visible(result.path)}  {clock(end - begin)}", max(width, _NARROWEST), blocks)]
    named = min(max(map(_columns, texts), default=0), max(width, _NARROWEST) // 3)
    room = max(width, _NARROWEST) - named - 1
    signs = (_FULL, _PART, _REST) if blocks else ("#", "+", ".")
    for text in texts:
        cut = _cut(text, named, blocks)
        row = _row([mark for mark in found if mark.text == text], begin, end, room, signs)
        lines.append(f"{cut}{' ' * (named - _columns(cut))} {row}")
    if texts:
        lines.append(" " * (named + 1) + _scale(begin, end, room))
    return "".join(line.rstrip() + "\n" for line in lines)


def _row(found: list[Mark], begin: float, end: float, room: int, signs: tuple[str, str, str]) -> str:
    """A column is full where most of it was heard so; what is shorter is seen all the same."""
    step = max(end - begin, 1e-9) / room
    share = [0.0] * room
    for mark in found:
        first = min(room - 1, int((mark.start - begin) / step + 1e-6))
        last = max(first + 1, min(room, -int(-((mark.end - begin) / step - 1e-6) // 1)))
        for column in range(first, last):
            left, right = begin + column * step, begin + (column + 1) * step
            share[column] += max(1e-6, min(mark.end, right) - max(mark.start, left)) / step
    return "".join(signs[0] if each >= 0.5 else signs[1] if each > 0 else signs[2] for each in share)


def _scale(begin: float, end: float, room: int) -> str:
    """Times below the blocks, each beginning where it is."""
    length = max(end - begin, 1e-9)
    widest = len(clock(end)) + _BETWEEN
    step = next((each for each in _STEPS if length / each * widest <= room), _STEPS[-1])
    line = ""
    time = -(-begin // step) * step
    while time < end:
        at = round((time - begin) / length * room)
        if at >= len(line) + (1 if line else 0) and at + len(clock(time)) <= room:
            line = line.ljust(at) + clock(time)
        time += step
    return line


def _columns(text: str) -> int:
    """How wide a terminal shows it."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _cut(text: str, width: int, blocks: bool) -> str:
    """The text, or as much of it as has room, with a mark of what is left out."""
    if _columns(text) <= width:
        return text
    more = "\u2026" if blocks else "~"
    kept = ""
    for letter in text:
        if _columns(kept + letter) > width - 1:
            break
        kept += letter
    return kept + more
