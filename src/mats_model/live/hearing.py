"""A sound that is talked about: heard whole, window by window, and where it is long in stretches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mats_model.audio import AudioSource
from mats_model.audio.level import FLOOR, level
from mats_model.ears import Stretch
from mats_model.mats import Mats
from mats_model.stretches import LONG, listen_changes
from mats_model.vectors import unit


@dataclass(frozen=True)
class Hearing:
    """A sound that is talked about. `windows` overlap; `embedding` is None where it is silent."""

    source: AudioSource
    seconds: float
    level: float  # of its loudest 50 ms, in dB below full scale
    windows: list[Stretch]
    embedding: np.ndarray | None
    stretches: list[Stretch] = field(default_factory=list)  # of a long one: they end where the sound changes

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.source.name


def take(mats: Mats, item: AudioSource, gate: float | None = None) -> Hearing:
    """Hear a sound to talk about it; one whose level stays below `gate` is silent. Errors: InputError."""
    windows: list[Stretch] = []
    total, loudest = None, FLOOR
    for window, raw in mats.windows(item):
        loudest = max(loudest, level(window.samples, mats.clap.sample_rate))
        windows.append(Stretch(window.start, window.end, None if raw is None else unit(raw)))
        if raw is not None:
            total = raw if total is None else total + raw
    silent = total is None or (gate is not None and loudest < gate)
    # what a microphone heard is one moment
    stretches = listen_changes(mats, item) if item.samples is None and windows[-1].end > LONG else []
    whole = None if silent or total is None else unit(total)
    return Hearing(item, windows[-1].end, loudest, windows, whole, stretches)
