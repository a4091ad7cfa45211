"""Many sounds at once, told in their order, and their windows embedded together where a GPU waits for them."""

from __future__ import annotations

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


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`work` of each item, in order, a few ahead; each on one thread, so that company changes nothing."""
    torch = sys.modules.get("torch")
    if torch is not None:  # nano hears without
        torch.set_num_threads(1)
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[Result]] = deque()
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
