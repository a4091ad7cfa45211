"""Mono samples -> windows of an encoder, and segments of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mats_model.audio.decode import blocks
from mats_model.audio.item import AudioSource
from mats_model.audio.mix import LEAST, SILENCE


@dataclass(frozen=True)
class Window:
    """`samples` (s,) of one window, zero-padded, and where it lies in the file, in seconds."""

    samples: np.ndarray
    start: float
    end: float
    segment: int
    silent: bool


def windows(
    item: AudioSource,
    sample_rate: int,
    size: int,
    every: float | None = None,
    fill: str = "zeros",
    ends: Sequence[float] = (),
) -> Iterator[Window]:
    """Cut a sound into windows of `size` samples, half a window apart, the last one right-aligned.

    With `every` (seconds) the sound is first cut into segments of that length, with `ends` (rising seconds) into
    segments that end there, and each is windowed by itself.
    What becomes of a sound shorter than a window is for its encoder to say (`fill`): zeros after it, repeats until it
    is full, or whole repeats only and then zeros.
    """
    step = max(1, round(every * sample_rate)) if every else None
    marks = [round(end * sample_rate) for end in ends]

    def close(segment: int) -> float:
        """Where a segment ends, in samples."""
        return (segment + 1) * step if step else marks[segment] if segment < len(marks) else math.inf

    least = round(LEAST * sample_rate)
    cutter, read = _Cutter(sample_rate, size, 0, 0, fill), 0
    held = np.zeros(0, np.float32)
    for block in blocks(item, sample_rate):
        block = np.concatenate([held, block]) if len(held) else block
        # only what lies beyond the boundary opens a new segment, and only if it is long enough to be heard
        while read + len(block) - close(cutter.segment) >= least:
            inside = int(close(cutter.segment)) - read
            yield from cutter.feed(block[:inside])
            yield from cutter.close()
            read, block = read + inside, block[inside:]
            cutter = _Cutter(sample_rate, size, read, cutter.segment + 1, fill)
        beyond = int(max(0, read + len(block) - close(cutter.segment)))
        block, held = block[: len(block) - beyond], block[len(block) - beyond :]
        yield from cutter.feed(block)
        read += len(block)
    yield from cutter.feed(held)
    yield from cutter.close()


def filled(samples: np.ndarray, size: int, fill: str) -> np.ndarray:
    """(s,) -> (size,), by the encoder's `fill` where it is shorter."""
    length = len(samples)
    if length >= size:
        return samples
    if fill != "zeros":
        samples = np.tile(samples, size // length + (fill == "repeat"))[:size]
    return np.pad(samples, (0, size - len(samples)))


class _Cutter:
    """Windows of one segment, fed piece by piece; holds at most one window and a half."""

    def __init__(self, sample_rate: int, size: int, origin: int, segment: int, fill: str) -> None:
        self.sample_rate, self.size, self.origin, self.segment, self.fill = sample_rate, size, origin, segment, fill
        self.parts: list[np.ndarray] = []  # what may still be part of a window
        self.held = 0  # samples in them
        self.start = 0  # of the first of them within the segment, in samples
        self.last_end = 0

    def _window(self, samples: np.ndarray, start: int) -> Window:
        length = len(samples)
        begin = self.origin + start
        silent = not len(samples) or max(float(samples.max()), -float(samples.min())) < SILENCE
        self.last_end = start + length
        padded = filled(samples, self.size, self.fill)
        return Window(padded, begin / self.sample_rate, (begin + length) / self.sample_rate, self.segment, silent)

    def feed(self, samples: np.ndarray) -> Iterator[Window]:
        self.parts.append(samples)
        self.held += len(samples)
        at = self.last_end - self.size // 2 - self.start if self.last_end else 0
        if at + self.size > self.held:
            return  # nothing is joined before it makes a window
        buffer = np.concatenate(self.parts)
        while at + self.size <= len(buffer):
            yield self._window(buffer[at : at + self.size], self.start + at)
            at += self.size // 2
        # the last window may reach back a whole window from the end
        drop = min(max(0, len(buffer) - self.size), max(0, at))
        self.parts, self.held = [buffer[drop:]], len(buffer) - drop
        self.start += drop

    def close(self) -> Iterator[Window]:
        end = self.start + self.held
        if end > self.last_end:
            tail = np.concatenate(self.parts)[-self.size :]
            yield self._window(tail, end - len(tail))
