"""The CLAP of nano: 5 s windows at 32 kHz and any text, in one unit-length space (d = 256).

The audio side ends in tag weights: embedding = sum_c sigmoid(logit_c + b_c) V_c + W f + g(f, logits) over 527 tags,
where V starts as the text tower's vectors of their names, f is the tower's feature and g has one hidden layer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from mats_model.clap.hearing import SPEC, Hearing
from mats_model.clap.layers import head_shapes, tower_shapes
from mats_model.clap.protocol import Clap
from mats_model.clap.text import WIDTH, TextTower

SECONDS = 5.0


class NanoClap(Clap):
    """5 s windows at 32 kHz; shorter sounds are followed by zeros, since repeating would turn a click into a buzz.

    `tower` and `head` are the audio side's weights by name, float32, or float16 as they lie in a file; they are set
    before the first sound. `hidden` is the width of the head's hidden layer, 0 for none.
    """

    dim = WIDTH
    sample_rate = SPEC.sample_rate
    window = round(SECONDS * SPEC.sample_rate)

    def __init__(self, tokenizer_json: str, hidden: int = 0) -> None:
        self.tower = {name: np.zeros(shape, np.float32) for name, shape in tower_shapes().items()}
        self.head = {name: np.zeros(shape, np.float32) for name, shape in head_shapes(WIDTH, hidden).items()}
        self.text = TextTower(tokenizer_json)
        self.hidden = hidden

    @cached_property
    def _hearing(self) -> Hearing:
        return Hearing(self.tower, self.head, self.dim)

    @property
    def space(self) -> str:
        """The text tower's table and pieces."""
        table = self.text.codes.tobytes() + self.text.scales.tobytes()
        return hashlib.sha256(table + self.text.tokenizer_json.encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """Front end, windows, and the weights of both sides, in float16 as they are kept."""
        said = f"{SPEC} {SECONDS} s, half a window apart, padded, raw vectors averaged {self.space}"
        digest = hashlib.sha256(said.encode())
        for part in (self.tower, self.head):
            for name, value in part.items():
                digest.update(name.encode() + value.astype(np.float16).tobytes())
        return digest.hexdigest()[:12]

    def embed_windows(self, waves: np.ndarray) -> np.ndarray:
        """waves (w, s) -> raw embedding (w, d); each window alone, on as many threads as there are processors."""
        return self._hearing.embed(waves)

    def embed_alone(self, wave: np.ndarray) -> np.ndarray:
        """(s,) -> (d,)."""
        return self._hearing.alone(wave)

    def embed_text(self, texts: list[str]) -> np.ndarray:
        """texts -> (n, d), unit length. Errors: UsageError for a text in which there is nothing to read."""
        return self.text(texts)

    def kept(self) -> dict[str, np.ndarray]:
        """The arrays that belong in a model folder, by name: what is copied into them, it hears and reads with."""
        parts = {"tower": self.tower, "head": self.head, "text": self.text.kept()}
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def keep(self, arrays: Mapping[str, np.ndarray]) -> None:
        """These in the place of those of `kept`."""
        self.text.codes, self.text.scales = arrays["text.codes"], arrays["text.scales"]
        for part, own in (("tower", self.tower), ("head", self.head)):
            own.update({name: arrays[f"{part}.{name}"] for name in own})
