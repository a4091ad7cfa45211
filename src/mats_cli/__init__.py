"""mats_cli: options in, model out; it talks and computes nothing."""

import os
import sys

# numpy's products here are small: a second thread would only spin between them, as `listen` and `chat` wait
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# torch's threads sleep while they wait: where other programs run, spinning makes a step many times as long
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _share_memory() -> None:
    """Threads share what they free: glibc would keep it apart for each, 15 MB a thread that hears."""
    import contextlib
    import ctypes

    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX, of malloc.h


if sys.platform == "linux":
    _share_memory()
