"""All that is shown: results to stdout, everything else to stderr; a bar only on a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from mats_cli.formats import harmless, visible

T = TypeVar("T")


def note(message: str) -> None:
    """One line to stderr."""
    print(f"mats: {visible(message)}", file=sys.stderr, flush=True)


def progress(items: Iterable[T], total: int, unit: str, quiet: bool) -> Iterator[T]:
    """The items, with a bar on stderr when that is a terminal and there are several."""
    if quiet or total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    # asked for here, since some terminals say that they are of size 0, on which tqdm shows nothing
    size = shutil.get_terminal_size()
    yield from tqdm(items, total=total, unit=unit, file=sys.stderr, leave=False, ncols=size.columns, nrows=size.lines)


class Meter:
    """A bar on stderr that is told where it stands; on no terminal it shows nothing, and `say` is a plain line."""

    def __init__(self, total: int, show: bool) -> None:
        self.visible = show and sys.stderr.isatty()
        self.bar: Any = None
        if self.visible:
            from tqdm import tqdm

            size = shutil.get_terminal_size()
            self.bar = tqdm(total=total, file=sys.stderr, leave=False, ncols=size.columns, nrows=size.lines, mininterval=0.2)

    def show(self, done: int, text: str) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(done - self.bar.n)

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self.bar is not None:
            self.bar.write(f"mats: {visible(text)}", file=sys.stderr)
        else:
            note(text)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def bytes_bar(quiet: bool) -> Callable[[int, int], None]:
    """Told bytes so far and in all, it keeps a bar on stderr, one file after the other; on no terminal nothing is shown."""
    if quiet or not sys.stderr.isatty():
        return lambda done, whole: None
    from tqdm import tqdm

    bars: list[Any] = []

    def show(done: int, whole: int) -> None:
        if bars and (done < bars[0].n or bars[0].total != (whole or None)):
            bars.pop().close()
        if not bars:
            size = shutil.get_terminal_size()
            bars.append(tqdm(total=whole or None, unit="B", unit_scale=True, file=sys.stderr, leave=False, ncols=size.columns, nrows=size.lines))
        bars[0].update(done - bars[0].n)
        if whole and done >= whole:
            bars.pop().close()

    return show


def clock(seconds: float) -> str:
    """A duration as people read it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Stopped(Exception):
    """Ctrl-C, where what there was to say has been said."""


class ClosedPipe(Exception):
    """The reader of our results has gone: not an error."""


def out(text: str) -> None:
    """Results, flushed, so that a pipe sees each at once. Errors: ClosedPipe."""
    try:
        sys.stdout.write(harmless(text))
        sys.stdout.flush()
    except BrokenPipeError:
        raise ClosedPipe from None
