"""The CLAP of nano: 5 s windows at 32 kHz and any text, in one unit-length space (d = 256).

The audio side ends in tag weights: embedding = sum_c sigmoid(logit_c + b_c) V_c + W f over 527 tags, where V starts as
the text tower's vectors of their names and f is the tower's feature.
"""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from mats_model.clap.logmel import LogMel
from mats_model.clap.protocol import Clap
from mats_model.clap.text import WIDTH, TextTower
from mats_model.clap.tower import FEATURE, TAGS, AudioTower

SECONDS = 5.0


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


class NanoClap(Clap):
    """5 s windows at 32 kHz; shorter sounds are followed by zeros, since repeating would turn a click into a buzz."""

    dim = WIDTH

    def __init__(self, tokenizer_json: str) -> None:
        super().__init__()
        self.front = LogMel("nano")
        self.sample_rate = self.front.spec.sample_rate
        self.window = round(SECONDS * self.sample_rate)
        self.tower = AudioTower()
        self.head = AudioHead()
        self.text = TextTower(tokenizer_json)

    @property
    def space(self) -> str:
        """As `Clap` has it."""
        codes, scales = self.text.codes.cpu().contiguous(), self.text.scales.cpu().half().contiguous()
        return hashlib.sha256(
            codes.numpy().tobytes() + scales.numpy().tobytes() + self.text.tokenizer_json.encode()
        ).hexdigest()[:12]

    @property
    def id(self) -> str:
        """As `Clap` has it."""
        digest = hashlib.sha256(
            f"{self.front.spec} {SECONDS} s, half a window apart, padded, raw vectors averaged {self.space}".encode()
        )
        for part in (self.tower, self.head):
            for key, value in part.state_dict().items():
                if value.is_floating_point():
                    digest.update(key.encode() + value.half().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def embed_waves(self, waves: torch.Tensor) -> torch.Tensor:
        """As `Clap` has it."""
        return self.head(*self.tower(self.front(waves)))

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """As `Clap` has it."""
        return self.text(texts)
