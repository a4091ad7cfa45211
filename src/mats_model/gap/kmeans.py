"""Plain Lloyd k-means, in torch: only making a memory needs it, never hearing."""

from __future__ import annotations

import numpy as np
import torch


def kmeans(vectors: np.ndarray, clusters: int, rounds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(m, d) float32 -> centres (K, d), assignment (m,), from seeded, distinct starts.

    An emptied cluster takes the vector farthest from its centre.
    """
    points = torch.from_numpy(np.ascontiguousarray(vectors))
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randperm(len(points), generator=generator)[:clusters]].clone()
    assign = torch.zeros(len(points), dtype=torch.long)
    for _ in range(rounds):
        distance = torch.cdist(points, centres)
        nearest, assign = distance.min(1)
        sums = torch.zeros_like(centres).index_add_(0, assign, points)
        sizes = torch.bincount(assign, minlength=clusters)
        centres = sums / sizes.clamp(min=1)[:, None]
        for empty in (sizes == 0).nonzero().flatten().tolist():
            far = int(nearest.argmax())
            centres[empty], nearest[far] = points[far], 0.0
    return centres.numpy(), torch.cdist(points, centres).argmin(1).numpy()
