"""A recording heard to be judged: its embedding, and those of its windows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mats_model.audio import source
from mats_model.ears import AudioInput, Ears
from mats_model.vectors import unit


@dataclass(frozen=True)
class Heard:
    """`embedding` (d,) is None where all is silent; `windows` are (start, end, embedding or None), in seconds."""

    embedding: np.ndarray | None
    windows: list[tuple[float, float, np.ndarray | None]] = field(default_factory=list)


def hear(ears: Ears, sound: AudioInput, every: float | None = None) -> Heard:
    """The whole sound and each of its windows, or with `every` each stretch of so many seconds. Errors: InputError."""
    item = source(sound)
    if every is not None:
        return Heard(None, [(one.start, one.end, one.embedding) for one in ears.listen(item, every)])
    total: np.ndarray | None = None
    windows = []
    for window, raw in ears.windows(item):
        windows.append((window.start, window.end, None if raw is None else unit(raw)))
        if raw is not None:
            total = raw if total is None else total + raw
    return Heard(None if total is None else unit(total), windows)
