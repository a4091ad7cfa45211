"""A stream that is still going on: the last seconds of it are kept, and what sounds right now is heard a few times a
second."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

from mats_model.audio import AudioSource
from mats_model.audio.level import GATE, level
from mats_model.ears import Ears
from mats_model.vectors import unit

# seconds that count as now: long enough to be recognised, short enough to be over soon after the sound is
NOW = 2.0


class Ring:
    """The last samples of a stream, (s, channels) float32: one thread writes, others read; positions count from the
    beginning. Nobody's lock is waited for: readers copy, and drop what was written over meanwhile."""

    def __init__(self, seconds: float, sample_rate: int, channels: int = 1) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self.size = max(1, round(seconds * sample_rate))
        self.total = 0  # samples written so far
        self.overruns = 0  # blocks that the device says were lost before they came here
        # a second more is kept than is given, which may be written over while it is read
        self._samples = np.zeros((self.size + sample_rate, channels), np.float32)
        # taken by whoever waits for samples, given back by the writer, who never takes it and so never waits
        self._news = threading.Lock()

    def write(self, block: np.ndarray) -> None:
        """block (s, channels) or (s,): copied, and nothing else."""
        block = block.reshape(len(block), -1)
        for at in range(0, len(block), self.sample_rate):
            self._write(block[at : at + self.sample_rate])
        if self._news.locked():
            self._news.release()

    def _write(self, block: np.ndarray) -> None:
        at = self.total % len(self._samples)
        first = min(len(block), len(self._samples) - at)
        self._samples[at : at + first] = block[:first]
        self._samples[: len(block) - first] = block[first:]
        self.total += len(block)

    def wait(self, position: int, seconds: float) -> bool:
        """Until `position` samples were written, or for so long; whether they were."""
        until = time.monotonic() + seconds
        while self.total < position and (left := until - time.monotonic()) > 0:
            # a second one that waits may be woken a block later
            self._news.acquire(timeout=left)
        return self.total >= position

    def between(self, first: int, end: int) -> np.ndarray:
        """A copy (s, channels) of positions [first, end), as far as they are still here."""
        total = self.total
        end = min(end, total)
        first = min(max(first, total - self.size, 0), end)
        at, count = first % len(self._samples), end - first
        copy = np.concatenate(
            [self._samples[at : at + count], self._samples[: max(0, at + count - len(self._samples))]]
        )
        return copy[max(0, self.total - self.size - first) :]

    def last(self, seconds: float) -> np.ndarray:
        """A copy (s, channels) of the last seconds."""
        total = self.total
        return self.between(total - round(seconds * self.sample_rate), total)


@dataclass(frozen=True)
class Now:
    """What sounds at a moment: its level in dB, and its unit-length embedding (d,), or None where it is below the
    gate."""

    level: float
    embedding: np.ndarray | None


def hear_now(mats: Ears, samples: np.ndarray, sample_rate: int, gate: float = GATE) -> Now:
    """Samples (s, channels), at most one window of the encoder."""
    loud = level(samples, sample_rate)
    if loud < gate:
        return Now(loud, None)
    window, *_ = mats.cut(AudioSource("the microphone", samples=samples, sample_rate=sample_rate))
    return Now(loud, unit(mats.clap.embed_alone(window.samples)))
