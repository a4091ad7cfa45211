"""What can go wrong, each with its own sentence and exit code; `mats_cli.main` is the one place that prints them."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator


class MatsError(Exception):
    """A sentence for the user: what, which file, what to do."""

    exit_code = 1


class UsageError(MatsError):
    """A wrong option, label file or recipe."""

    exit_code = 2


class InputError(MatsError):
    """One input that cannot be heard or read; the job goes on with the next."""

    exit_code = 4


class UnexpectedError(InputError):
    """What nobody foresaw while one input was read; `trace` says where, for whoever mends it."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace


class SilenceError(InputError):
    """Nothing but digital silence (or as good as): said to be silence, never captioned as a sound."""


class ModelError(MatsError):
    """A model folder is missing, incomplete or not what its config says."""

    exit_code = 5


class MismatchError(MatsError):
    """Embeddings of two pipelines were about to be mixed."""

    exit_code = 6


class DeviceError(MatsError):
    """A device that is not there, or memory that ran out."""

    exit_code = 7


# what torch says of a CPU whose memory is full
_FULL = ("can't allocate memory", "not enough memory")


@contextlib.contextmanager
def one_input(name: str) -> Iterator[None]:
    """The door of one input: whatever is wrong with it is a sentence about it, and the job goes on with the next.

    Signals pass, and what says something of the machine. Errors: InputError; DeviceError, MemoryError.
    """
    try:
        yield
    except (MatsError, MemoryError):
        raise
    except Exception as error:
        kind, why = (
            type(error).__name__,
            " ".join(str(error).encode("utf-8", "backslashreplace").decode().split())[:200],
        )
        if kind == "OutOfMemoryError":
            raise
        if any(words in why for words in _FULL):
            raise MemoryError(why) from error
        if kind == "AcceleratorError" or why.startswith("CUDA error"):
            raise DeviceError(
                f"the device failed ({why.split(' CUDA kernel')[0]}): try again on the device cpu."
            ) from error
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{name} cannot be read ({error.strerror}).") from error
        raise UnexpectedError(
            f"{name} cannot be heard ({kind}: {why}), which was not expected: MATS_DEBUG=1 shows where.",
            traceback.format_exc(),
        ) from error


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: it holds no byte that was none, and no half of a surrogate pair, as JSON may
    spell it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
