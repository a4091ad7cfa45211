"""Ctrl-C, SIGTERM and SIGHUP: one way to stop, and the exit code of each. A second one ends the program at once."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# seconds in which another one is the same wish: `timeout` and launchers send theirs to a program and then to its group
_SAME = 1.0


class _Asked:
    """The signal that asked first, and when; what to do about it."""

    number = 0
    at = 0.0
    gently: list[Callable[[], None]] = []  # noqa: RUF012


def install() -> None:
    """All of them raise KeyboardInterrupt. What is ignored stays so: nohup's SIGHUP, a shell's SIGINT for what runs
    behind it."""
    for name in _NAMES:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    if _Asked.number:
        if time.monotonic() - _Asked.at > _SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    _Asked.number, _Asked.at = number, time.monotonic()
    if not _Asked.gently:
        raise KeyboardInterrupt
    _Asked.gently[-1]()


@contextlib.contextmanager
def gently(stop: Callable[[], None]) -> Iterator[None]:
    """For as long as this lasts `stop` is called instead, and the work ends where it can be taken up again."""
    _Asked.gently.append(stop)
    try:
        yield
    finally:
        _Asked.gently.pop()


def answered() -> bool:
    """Ctrl-C stopped what it was meant to stop, and the program goes on; False where it was told to end."""
    if _Asked.number in (0, signal.SIGINT):
        _Asked.number = 0
        return True
    return False


def code() -> int:
    """The exit code of a program that was stopped."""
    return 128 + (_Asked.number or signal.SIGINT)
