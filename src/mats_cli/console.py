"""All that is shown: results to stdout, everything else to stderr; a bar only on a terminal."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from mats_cli.formats import clock as short
from mats_cli.formats import harmless, visible
from mats_model.errors import MatsError

T = TypeVar("T")
# settings that sentences of the library name
_SETTING = re.compile("`(every|force|rebuild|template)`")


class Stopped(Exception):
    """Ctrl-C or the like, where what there was to say has been said."""


class ClosedPipe(Exception):
    """The reader of our results has gone: not an error."""


class OutputError(MatsError):
    """Standard output takes nothing: no use to go on."""

    exit_code = 2


class _Bar:
    """The bar that stands on the terminal at the moment, if one does: it is taken away before a line is written."""

    shown: Any = None

    @classmethod
    def clear(cls) -> None:
        if cls.shown is not None:
            cls.shown.clear()

    @classmethod
    def again(cls) -> None:
        if cls.shown is not None:
            cls.shown.refresh()


class _Results(io.TextIOWrapper):
    """Standard output. Errors: ClosedPipe, OutputError."""

    def write(self, text: str) -> int:
        with _told():
            return super().write(text)

    def flush(self) -> None:
        with _told():
            super().flush()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ClosedPipe from None
    except OSError as error:
        if error.errno == errno.EBADF:
            raise OutputError("standard output is closed: there is nowhere to write results to.") from None
        raise OutputError(
            f"standard output cannot be written ({error.strerror}): make room, or send it elsewhere."
        ) from None


class _Remarks(io.TextIOWrapper):
    """Standard error: where nobody reads it, or its disk is full, the work goes on without."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def streams() -> None:
    """Standard streams may be closed, full, or no UTF-8: made such that none of it ends a job."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # or the next file that is opened has this number, and what libraries say to the terminal is written into
            # it; standard
            # output cannot be written even so, since results should not vanish in silence
            os.open(os.devnull, os.O_RDONLY if number < 2 else os.O_WRONLY)
    # a name that is no text in the terminal's encoding must not end a job
    out: Any = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    encoding, terminal = out.encoding, out.isatty()
    # the other name too, by which shutil asks how wide the terminal is
    sys.stdout = sys.__stdout__ = _Results(out.detach(), encoding, "backslashreplace", line_buffering=terminal)  # type: ignore[misc]
    raw: Any = open(2, "wb", 0, closefd=False)  # noqa: SIM115
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = _Remarks(raw, encoding, "backslashreplace", line_buffering=True, write_through=True)
    if sys.stdin is not None:
        # a path may hold any byte; a question that does is refused where it is asked
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]


def check_output() -> None:
    """Said before the work instead of after. Errors: OutputError when standard output is closed."""
    with _told(), contextlib.suppress(io.UnsupportedOperation):
        os.write(sys.stdout.fileno(), b"")


def spelled(sentence: str) -> str:
    """The library names settings, `every`; here they are options, --every."""
    return _SETTING.sub(r"--\1", sentence)


def on_terminal() -> bool:
    """Whether a bar has a place."""
    return sys.stderr.isatty()


def note(message: str) -> None:
    """One line to stderr."""
    _Bar.clear()
    print(f"mats: {visible(spelled(message))}", file=sys.stderr, flush=True)
    _Bar.again()


def failure(error: Exception) -> None:
    """What went wrong, in its sentence."""
    note(str(error))
    trace(getattr(error, "trace", ""))


def trace(where: str) -> None:
    """Where something that was not expected happened, for those who ask with MATS_DEBUG=1."""
    if where and os.environ.get("MATS_DEBUG"):
        print(harmless(where), end="", file=sys.stderr, flush=True)


def progress(items: Iterable[T], total: int, unit: str, quiet: bool) -> Iterator[T]:
    """The items, with a bar on stderr when that is a terminal and there are several."""
    if quiet or total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    # asked for here, since some terminals say that they are of size 0, on which tqdm shows nothing
    size = shutil.get_terminal_size()
    with tqdm(total=total, unit=unit, file=sys.stderr, leave=False, ncols=size.columns, nrows=size.lines) as bar:
        _Bar.shown = bar
        try:
            for item in items:
                yield item
                bar.update()
        finally:
            _Bar.shown = None


class Seconds:
    """A bar for one long sound: seconds heard of all, and how long the rest will take."""

    def __init__(self, total: float | None) -> None:
        from tqdm import tqdm

        size = shutil.get_terminal_size()
        form = "{desc} |{bar}| {elapsed}<{remaining}" if total else "{desc} {elapsed}"
        self.total = total
        self.bar: Any
        self.bar = _Bar.shown = tqdm(
            total=total, bar_format=form, file=sys.stderr, leave=False, ncols=size.columns, nrows=size.lines
        )

    def heard(self, seconds: float) -> None:
        """So far."""
        if self.bar is not None:
            whole = f" of {short(self.total)}" if self.total else " heard"
            self.bar.set_description_str(f"{short(int(seconds))}{whole}", refresh=False)
            self.bar.update(max(0.0, min(seconds, self.total or seconds) - self.bar.n))

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = _Bar.shown = None


class Meter:
    """A bar on stderr that is told where it stands; on no terminal it shows nothing, and `say` is a plain line."""

    def __init__(self, total: int, show: bool, clock: bool = True) -> None:
        """`clock`: whether it says by itself how long the rest will take; where what it is told says so, it does
        not."""
        self.visible = show and sys.stderr.isatty()
        self.bar: Any = None
        if self.visible:
            from tqdm import tqdm

            size = shutil.get_terminal_size()
            form = None if clock else "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
            self.bar = tqdm(
                total=total, file=sys.stderr, leave=False, ncols=size.columns, nrows=size.lines, mininterval=0.2,
                bar_format=form,
            )  # fmt: skip

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
    """Told bytes so far and in all, it keeps a bar on stderr, one file after the other; on no terminal nothing is
    shown."""
    if quiet or not sys.stderr.isatty():
        return lambda done, whole: None
    from tqdm import tqdm

    bars: list[Any] = []

    def show(done: int, whole: int) -> None:
        if bars and (done < bars[0].n or bars[0].total != (whole or None)):
            bars.pop().close()
        if not bars:
            size = shutil.get_terminal_size()
            bars.append(
                tqdm(
                    total=whole or None,
                    unit="B",
                    unit_scale=True,
                    file=sys.stderr,
                    leave=False,
                    ncols=size.columns,
                    nrows=size.lines,
                )
            )
        bars[0].update(done - bars[0].n)
        if whole and done >= whole:
            bars.pop().close()

    return show


def clock(seconds: float) -> str:
    """A duration as people read it."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60:02d} min"
        if minutes >= 60
        else f"{minutes} min {rest:02d} s"
        if minutes
        else f"{rest} s"
    )


def out(text: str) -> None:
    """Results, flushed, so that a pipe sees each at once. Errors: ClosedPipe, OutputError."""
    _Bar.clear()
    sys.stdout.write(harmless(text))
    sys.stdout.flush()
    _Bar.again()


def tell_warnings() -> None:
    """What the library warns of, such as a setting's former name, is a remark like any other."""
    import warnings

    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if category.__name__ == "FormerNameWarning":
            note(str(message))
        else:
            shown(message, category, *rest)

    warnings.showwarning = show  # type: ignore[assignment]
