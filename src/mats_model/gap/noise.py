"""The training side of the gap: Gaussian noise on a unit-length text embedding, made unit length again."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def add_noise(
    embedding: torch.Tensor, variance: float, drawn: torch.Generator | torch.Tensor | None = None
) -> torch.Tensor:
    """u' = normalise(u + N(0, variance)) for u (..., d): eq. 1 of MATS.

    `variance` is per dimension, so cos(u, u') is about 1 / sqrt(1 + variance * d). `drawn` is the noise (..., d), of
    variance 1, or what draws it.
    """
    noise = (
        drawn
        if isinstance(drawn, torch.Tensor)
        else torch.randn(embedding.shape, generator=drawn, dtype=embedding.dtype, device=embedding.device)
    )
    return F.normalize(embedding + noise * variance**0.5, dim=-1)


def noised(embedding: np.ndarray, variance: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """The same for embeddings (..., d) as they pass between stations."""
    return add_noise(torch.from_numpy(np.ascontiguousarray(embedding)), variance, generator)
