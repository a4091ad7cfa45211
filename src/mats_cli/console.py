"""All that is shown: results to stdout, everything else to stderr; a bar only on a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def note(message: str) -> None:
    """One line to stderr."""
    print(f"mats: {message}", file=sys.stderr, flush=True)


def progress(items: Iterable[T], total: int, unit: str, quiet: bool) -> Iterator[T]:
    """The items, with a bar on stderr when that is a terminal and there are several."""
    if quiet or total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    # asked for here, since some terminals say that they are of size 0, on which tqdm shows nothing
    size = shutil.get_terminal_size()
    yield from tqdm(items, total=total, unit=unit, file=sys.stderr, leave=False, ncols=size.columns, nrows=size.lines)


class ClosedPipe(Exception):
    """The reader of our results has gone: not an error."""


def out(text: str) -> None:
    """Results, flushed, so that a pipe sees each at once. Errors: ClosedPipe."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ClosedPipe from None
