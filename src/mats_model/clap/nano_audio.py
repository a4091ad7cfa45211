"""The audio side of nano in torch, as it is taught: log-mel, tower and head in one; numpy at its door."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mats_model.clap.logmel import LogMel
from mats_model.clap.text import WIDTH
from mats_model.clap.tower import FEATURE, TAGS, AudioTower


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


class NanoAudio(nn.Module):
    """waves (w, s) at the front end's sample rate -> raw embedding (w, d)."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.tower, self.head = LogMel("nano"), AudioTower(), AudioHead()

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        return self.head(*self.tower(self.front(waves)))

    @torch.inference_mode()
    def embed(self, waves: np.ndarray) -> np.ndarray:
        """The same for numpy."""
        return self(torch.from_numpy(np.ascontiguousarray(waves))).numpy()

    def digested(self) -> bytes:
        """All that its weights are, in float16, for an id."""
        return b"".join(
            key.encode() + value.half().cpu().contiguous().numpy().tobytes()
            for part in (self.tower, self.head)
            for key, value in part.state_dict().items()
            if value.is_floating_point()
        )
