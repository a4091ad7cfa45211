"""What a library holds: a content and its vectors, the state of a file, all windows at once, and how much there is."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Sound:
    """What was heard in one content; windows that are silent have no vector."""

    hash: str
    seconds: float
    format: str
    sample_rate: int
    channels: int
    times: np.ndarray  # (windows, 2) seconds
    vectors: np.ndarray  # (windows, d) float16, unit length
    vector: np.ndarray  # (d,) float16, unit length; zeros where all is silent


@dataclass(frozen=True)
class State:
    """Of a file when it was read: the same again means that it need not be read again."""

    size: int
    mtime_ns: int
    error: str | None = None

    def same(self, other: State) -> bool:
        """Unchanged since."""
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True)
class Matrix:
    """All windows at once, in the order of their sounds."""

    vectors: np.ndarray  # (windows, d) float16
    times: np.ndarray  # (windows, 2) float32
    sounds: np.ndarray  # (windows,) ids


@dataclass
class Info:
    """What an index holds."""

    path: str
    pipeline: str
    files: int = 0
    sounds: int = 0
    failed: int = 0
    captions: int = 0
    windows: int = 0
    seconds: float = 0.0
    bytes: int = 0
    roots: list[str] = field(default_factory=list)


def state_of(path: str | Path) -> State:
    """Errors: OSError."""
    stat = os.stat(path)
    return State(stat.st_size, stat.st_mtime_ns)


def in_shard(path: str, shard: tuple[int, int]) -> bool:
    """Whether a path, as it stands in the folder that was named, is of part i (from 1) of n: the same on every
    machine."""
    number, count = shard
    return int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:8], "big") % count == number - 1
