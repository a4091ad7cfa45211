"""mats_model: audio understanding as a silent library.

    learn   captions -> clap text  -> noise -> mapper -> llm -> loss      train.py
    hear    audio    -> clap audio -> santa -> mapper -> llm -> text      mats.py

    from mats_model import load
    load().caption("a.wav")

Letters of the shapes, everywhere: n clips in a batch, w windows in a clip, s samples in a window, d embedding width,
m texts in the memory, k neighbours, p prefix positions, h width of the language model, t text tokens.
Everything of shape (..., d) has unit length between clap, noise, santa and mapper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mats_model.mats import Mats

__version__ = "0.1.0"


def load(name: str = "nano") -> Mats:
    """The model called `name`, or the one in that folder; torch is imported here and not before."""
    from mats_model.weights.loading import load as load_model

    return load_model(name)
