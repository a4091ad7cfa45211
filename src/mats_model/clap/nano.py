"""The CLAP of nano: 5 s windows at 32 kHz and any text, in one unit-length space (d = 256).

The audio side ends in tag weights: embedding = sum_c sigmoid(logit_c + b_c) V_c + W f over 527 tags, where V starts as the
text tower's vectors of their names and f is the tower's feature.
"""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from mats_model.clap.logmel import LogMel
from mats_model.clap.text import WIDTH, TextTower
from mats_model.clap.tower import FEATURE, TAGS, AudioTower

SECONDS = 5.0
# windows are always run this many at a time, so that a window's embedding never depends on its neighbours
BATCH = 4


class AudioHead(nn.Module):
    """feature (n, 384), tag logits (n, 527) -> raw embedding (n, d), whose length says how much was recognised."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.names = nn.Parameter(torch.zeros(TAGS, width))
        self.residual = nn.Linear(FEATURE, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(TAGS))
        nn.init.zeros_(self.residual.weight)

    def forward(self, feature: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(logits + self.bias) @ self.names + self.residual(feature)


class NanoClap(nn.Module):
    """`embed_windows` and `embed_text` meet in one space; `rate` and `window` (samples) say how to cut the sound."""

    def __init__(self, tokenizer_json: str) -> None:
        super().__init__()
        self.front = LogMel("nano")
        self.tower = AudioTower()
        self.head = AudioHead()
        self.text = TextTower(tokenizer_json)

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.front.spec.rate

    @property
    def dim(self) -> int:
        """d."""
        return WIDTH

    @property
    def space(self) -> str:
        """Id of the text side: what was trained on it may hear any audio side that was tied to it."""
        codes, scales = self.text.codes.cpu().contiguous(), self.text.scales.cpu().half().contiguous()
        return hashlib.sha256(codes.numpy().tobytes() + scales.numpy().tobytes() + self.text.tokenizer_json.encode()).hexdigest()[:12]

    @property
    def id(self) -> str:
        """Of the whole pipeline: front end, windows, pooling and both sides' weights. Vectors of two ids do not compare."""
        digest = hashlib.sha256(f"{self.front.spec} {SECONDS} s, half a window apart, padded, raw vectors averaged {self.space}".encode())
        for part in (self.tower, self.head):
            for key, value in part.state_dict().items():
                if value.is_floating_point():
                    digest.update(key.encode() + value.half().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def window(self) -> int:
        """Samples in a window."""
        return round(SECONDS * self.rate)

    def embed_windows(self, waves: torch.Tensor) -> torch.Tensor:
        """waves (w, s) -> raw embedding (w, d), not normalised: average these, then normalise."""
        count = waves.shape[0]
        filled = torch.cat([waves, waves.new_zeros(-count % BATCH, waves.shape[1])])
        parts = [self.head(*self.tower(self.front(part))) for part in filled.split(BATCH)]
        return torch.cat(parts)[:count]

    def embed_alone(self, wave: torch.Tensor) -> torch.Tensor:
        """One window (s,) -> raw embedding (d,), for those who cannot wait: as `embed_windows`, up to rounding, in a fourth of the time."""
        return self.head(*self.tower(self.front(wave[None])))[0]

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """texts -> (n, d), unit length."""
        return self.text(texts)
