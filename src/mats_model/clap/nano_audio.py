"""The audio side of nano in torch, as it is taught: log-mel, tower and head in one. What hears is `hearing`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.clap.layers import FEATURE, LOGIT_MEAN, LOGIT_SPREAD, TAGS
from mats_model.clap.logmel import LogMel
from mats_model.clap.nano import NanoClap
from mats_model.clap.text import WIDTH
from mats_model.clap.tower import AudioTower
from mats_model.tensors import shared


class AudioHead(nn.Module):
    """feature (n, 384), tag logits (n, 527) -> raw embedding (n, d), whose length says how much was recognised.

    `hidden` is the width of a hidden layer beside the tags, 0 for none; `dropout` its share while it is taught.
    """

    def __init__(self, width: int = WIDTH, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.names = nn.Parameter(torch.zeros(TAGS, width))
        self.residual = nn.Linear(FEATURE, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(TAGS))
        nn.init.zeros_(self.residual.weight)
        self.hidden = hidden
        if hidden:
            self.up = nn.Linear(FEATURE + TAGS, hidden)
            self.down = nn.Linear(hidden, width, bias=False)
            self.drop = nn.Dropout(dropout)
            nn.init.zeros_(self.down.weight)

    def forward(self, feature: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        made = torch.sigmoid(logits + self.bias) @ self.names + self.residual(feature)
        if self.hidden:
            level = (logits - LOGIT_MEAN) / LOGIT_SPREAD
            hidden = F.hardswish(self.up(torch.cat([feature, level], -1)))
            made = made + self.down(self.drop(hidden))
        return made


class NanoAudio(nn.Module):
    """waves (w, s) at the front end's sample rate -> raw embedding (w, d)."""

    def __init__(self, hidden: int = 0) -> None:
        super().__init__()
        self.front, self.tower, self.head = LogMel("nano"), AudioTower(), AudioHead(hidden=hidden)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        return self.head(*self.tower(self.front(waves)))

    @classmethod
    def of(cls, clap: NanoClap) -> NanoAudio:
        """The same function as an encoder's audio side, with its weights."""
        made = cls(clap.hidden).eval().requires_grad_(False)
        made.tower.load_state_dict(shared(clap.tower))
        made.head.load_state_dict(shared(clap.head))
        return made
