"""What every encoder offers: windows of sound and any text, in one space."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

# windows that are waited for and then embedded together
BATCH = 4
# before a file of LAION's that is to be run by LAION's own package
ORIGINAL = "laion_clap:"


class Clap(ABC):
    """`sample_rate`, `window` (samples) and `fill` say how to cut a sound; `dim` is d.

    `fill` is what becomes of a sound that is shorter than a window: "zeros" after it, "repeat" until the window is
    full, or "whole" repeats only and then zeros. What goes in and comes out is numpy, whatever computes inside.
    """

    sample_rate: int
    window: int
    dim: int
    fill: str = "zeros"
    names: Sequence[str] = ()  # of the sounds that it was taught to tell, where they are known

    @property
    @abstractmethod
    def space(self) -> str:
        """Id of the text side: what was trained on it may hear any audio side that was tied to it."""

    @property
    @abstractmethod
    def id(self) -> str:
        """Of the whole pipeline: front end, windows, pooling and both sides' weights. Vectors of two ids do not
        compare."""

    @property
    def listeners(self) -> int:
        """Threads that keep it busy, each with a sound of its own."""
        return min(4, os.cpu_count() or 1)

    @abstractmethod
    def embed_windows(self, waves: np.ndarray) -> np.ndarray:
        """waves (w, s) -> raw embedding (w, d), not normalised: average these, then normalise."""

    @abstractmethod
    def embed_alone(self, wave: np.ndarray) -> np.ndarray:
        """One window (s,) -> raw embedding (d,), for those who cannot wait: as `embed_windows`, up to rounding, in a
        fraction of the time."""

    @abstractmethod
    def embed_text(self, texts: list[str]) -> np.ndarray:
        """texts -> (n, d), unit length."""
