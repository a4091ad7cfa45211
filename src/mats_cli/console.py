"""All that is shown: results to stdout, everything else to stderr; a bar only on a terminal."""

from __future__ import annotations

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

    yield from tqdm(items, total=total, unit=unit, file=sys.stderr, leave=False, dynamic_ncols=True)


def out(text: str) -> None:
    """Results, flushed, so that a pipe sees each at once."""
    sys.stdout.write(text)
    sys.stdout.flush()
