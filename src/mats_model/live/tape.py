"""What is asked about a recording's time, answered from its stretches: what happens when, which sounds there are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mats_model.ears import Stretch
from mats_model.mats import Mats
from mats_model.summary import MAIN, Said, clock, joined, sentence, sounds

# of which one answer tells
_MOST = 8
_UNSURE = "Something that cannot be told with confidence."


class Tape:
    """A recording of `seconds`, in stretches as of `stretches.listen_changes`; a caption that is not `trusted`, where
    that is given, is not told."""

    def __init__(
        self, mats: Mats, stretches: list[Stretch], seconds: float, trusted: Callable[[str], bool] | None = None
    ) -> None:
        self.mats, self.stretches, self.seconds, self.trusted = mats, stretches, seconds, trusted
        self._summary: str | None = None

    def summary(self) -> str:
        """Its main sounds in one sentence."""
        if self._summary is None:
            found = sounds(self.stretches)
            captions = self._captions([each.embedding for each in found[: 2 * MAIN]])
            self._summary = sentence(found, captions, self.seconds) if found else "It is silent."
        return self._summary

    def sounds(self) -> str:
        """Which there are, the longest first, and how long each is heard in all."""
        found = sounds(self.stretches)
        if not found:
            return "It is silent."
        seconds: dict[str, float] = {}
        for sound, caption in zip(found, self._captions([each.embedding for each in found]), strict=True):
            seconds[caption.rstrip(".")] = seconds.get(caption.rstrip("."), 0.0) + sound.seconds
        best = sorted(seconds.items(), key=lambda pair: -pair[1])
        told = "; ".join(f"{caption} ({clock(length)} in all)" for caption, length in best[:_MOST])
        return told + (f"; and {len(best) - _MOST} more." if len(best) > _MOST else ".")

    def during(self, start: float, end: float) -> str:
        """What happens from `start` to `end` (seconds, from the end where negative), or at a moment if they are one."""
        start, end = (time + self.seconds if time < 0 else time for time in (start, end))
        if start >= self.seconds:
            return f"It ends at {clock(self.seconds)}."
        inside = [each for each in self.stretches if each.start <= start < each.end or start < each.start < end]
        vectors = [each.embedding for each in inside if each.embedding is not None]
        captions = iter(self._captions(vectors))
        said = joined(Said(each.start, each.end, None if each.embedding is None else next(captions)) for each in inside)
        told = [f"{clock(each.start)}-{clock(each.end)} {(each.caption or 'silence').rstrip('.')}" for each in said]
        return "; ".join(told[:_MOST]) + (f"; and {len(told) - _MOST} more." if len(told) > _MOST else ".")

    def _captions(self, vectors: list[np.ndarray]) -> list[str]:
        rows = max(1, self.mats.llm.rows)
        parts = [self.mats.answer(np.stack(vectors[at : at + rows])) for at in range(0, len(vectors), rows)]
        told = [caption for part in parts for caption in part]
        return [caption if self.trusted is None or self.trusted(caption) else _UNSURE for caption in told]
