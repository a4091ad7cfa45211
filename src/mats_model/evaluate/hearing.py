"""A recording heard to be judged: its embedding, and those of its windows."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mats_model.audio import AudioSource, source
from mats_model.mats import Ears


@dataclass(frozen=True)
class Heard:
    """`embedding` (d,) is None where all is silent; `windows` are (start, end, embedding or None), in seconds."""

    embedding: Any
    windows: list[tuple[float, float, np.ndarray | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def vector(self) -> np.ndarray:
        """The embedding as numpy, float32 (d,)."""
        return np.asarray(self.embedding, np.float32)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.windows[-1][1] if self.windows else 0.0


def hear(ears: Ears, sound: str | os.PathLike[str] | bytes | AudioSource, every: float | None = None) -> Heard:
    """The whole sound, and each of its windows, or with `every` each stretch of so many seconds. Errors: InputError."""
    item = source(sound)
    if every is not None:
        stretches = list(ears.listen(item, every))
        windows = [(one.start, one.end, _vector(one.embedding)) for one in stretches]
        return Heard(None, windows, list(item.notes))
    total: Any = None
    windows = []
    for window, raw in ears.windows(item):
        windows.append((window.start, window.end, _unit(raw)))
        if raw is not None:
            total = raw if total is None else total + raw
    return Heard(None if total is None else total / (total * total).sum() ** 0.5, windows, list(item.notes))


def _vector(embedding: Any) -> np.ndarray | None:
    return None if embedding is None else np.asarray(embedding, np.float32)


def _unit(raw: Any) -> np.ndarray | None:
    if raw is None:
        return None
    vector = np.asarray(raw, np.float32)
    return vector / np.linalg.norm(vector)


def stacked(embeddings: list[Any]) -> Any:
    """n embeddings (d,) -> (n, d), of the kind that the model gave and takes."""
    if isinstance(embeddings[0], np.ndarray):
        return np.stack(embeddings)
    import torch

    return torch.stack(embeddings)


def as_given(like: Any, vector: np.ndarray) -> Any:
    """A vector of the kind that the model gives and takes, as `like` is."""
    if isinstance(like, np.ndarray):
        return vector
    import torch

    return torch.from_numpy(vector)
