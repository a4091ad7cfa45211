"""Many sounds at once, told in their order, and their windows embedded together where a GPU waits for them."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


_many = 1  # threads that torch has outside `_alone`


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Torch computes on one thread, and then on as many as before; nano hears without it."""
    global _many
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    had, outside = torch.get_num_threads(), _many
    _many = max(had, outside)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(had)
        _many = outside


@contextlib.contextmanager
def all_threads() -> Iterator[None]:
    """As many as torch has while nobody listens, for what is large enough: a language model. One thread that the whole
    process was given stays one."""
    import torch

    had = torch.get_num_threads()
    torch.set_num_threads(max(had, _many))
    try:
        yield
    finally:
        torch.set_num_threads(had)


def _keep_to_one() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        # a thread takes the process's number when it first asks for it: only after that it keeps one of its own
        torch.get_num_threads()
        torch.set_num_threads(1)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`work` of each item, in order, a few ahead; each on one thread, whatever is beside it. At the end torch
    has as many threads as it had."""
    pool = ThreadPoolExecutor(workers, initializer=_keep_to_one)
    waiting: deque[Future[Result]] = deque()
    with _alone():
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(eq=False)
class _Asked:
    wave: torch.Tensor
    made: torch.Tensor | None = None
    error: Exception | None = None


class Together:
    """`hear` of waves (rows, s), with the windows that several threads ask for at the same time.

    Whoever comes first takes along what others wait for; while that is computed, more comes together. There are always
    `rows` of them, those of nothing included, so that a window's embedding does not depend on how many are asked for.
    """

    def __init__(self, hear: Callable[[torch.Tensor], torch.Tensor], rows: int) -> None:
        self.hear, self.rows = hear, rows
        self.turn, self.waiting = threading.Lock(), deque[_Asked]()

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        """waves (w, s) -> embeddings (w, d). Errors: what `hear` raises, in every thread that waits for it."""
        mine = [_Asked(wave) for wave in waves]
        self.waiting.extend(mine)
        while any(one.made is None and one.error is None for one in mine):
            with self.turn:
                # others may have done it while this one waited for its turn
                if any(one.made is None and one.error is None for one in mine):
                    self._embed([self.waiting.popleft() for _ in range(min(self.rows, len(self.waiting)))])
        for one in mine:
            if one.error:
                raise one.error
        import torch

        return torch.stack([one.made for one in mine if one.made is not None])

    def _embed(self, some: list[_Asked]) -> None:
        import torch

        waves = torch.stack([one.wave for one in some])
        try:
            made = self.hear(torch.cat([waves, waves.new_zeros(self.rows - len(some), waves.shape[1])]))
        except Exception as error:  # told to each of them, or they would wait for ever
            for one in some:
                one.error = error
            return
        for one, row in zip(some, made, strict=False):
            one.made = row
