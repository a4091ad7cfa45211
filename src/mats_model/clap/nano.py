"""The CLAP of nano: 5 s windows at 32 kHz and any text, in one unit-length space (d = 256).

The audio side ends in tag weights: embedding = sum_c sigmoid(logit_c + b_c) V_c + W f over 527 tags, where V starts as
the text tower's vectors of their names and f is the tower's feature.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from mats_model.clap.protocol import BATCH, Clap
from mats_model.clap.text import WIDTH, TextTower

if TYPE_CHECKING:
    import torch

SECONDS = 5.0


class NanoClap(Clap):
    """5 s windows at 32 kHz; shorter sounds are followed by zeros, since repeating would turn a click into a buzz."""

    dim = WIDTH

    def __init__(self, tokenizer_json: str) -> None:
        # what hears: the one part that is not numpy
        from mats_model.clap.nano_audio import NanoAudio

        self.audio = NanoAudio().eval().requires_grad_(False)
        self.sample_rate = self.audio.front.spec.sample_rate
        self.window = round(SECONDS * self.sample_rate)
        self.text = TextTower(tokenizer_json)

    @property
    def space(self) -> str:
        """The text tower's table and pieces."""
        table = self.text.codes.tobytes() + self.text.scales.tobytes()
        return hashlib.sha256(table + self.text.tokenizer_json.encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """Front end, windows, and the weights of both sides."""
        said = f"{self.audio.front.spec} {SECONDS} s, half a window apart, padded, raw vectors averaged {self.space}"
        return hashlib.sha256(said.encode() + self.audio.digested()).hexdigest()[:12]

    def embed_windows(self, waves: np.ndarray) -> np.ndarray:
        """waves (w, s) -> raw embedding (w, d), `BATCH` at a time."""
        filled = np.concatenate([waves, np.zeros((-len(waves) % BATCH, waves.shape[1]), np.float32)])
        parts = [self.audio.embed(filled[at : at + BATCH]) for at in range(0, len(filled), BATCH)]
        return np.concatenate(parts)[: len(waves)]

    def embed_alone(self, wave: np.ndarray) -> np.ndarray:
        """(s,) -> (d,), without windows of nothing beside it: a fourth of the time."""
        return self.audio.embed(wave[None])[0]

    def embed_text(self, texts: list[str]) -> np.ndarray:
        """texts -> (n, d), unit length. Errors: UsageError for a text in which there is nothing to read."""
        return self.text(texts)

    def kept(self) -> dict[str, torch.Tensor]:
        """The tensors that belong in a model folder; the text side's are its own arrays."""
        from mats_model.tensors import shared

        return {**self.audio.state_dict(), **{f"text.{key}": value for key, value in shared(self.text.kept()).items()}}
