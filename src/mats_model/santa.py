"""Santa, the listening side of the gap: an audio embedding moves toward the captions nearest to it (eq. 6-7)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.config import SantaSettings


def kmeans(vectors: torch.Tensor, clusters: int, rounds: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain Lloyd k-means from seeded, distinct starts: centres (K, d), assignment (m,).

    An emptied cluster takes the vector farthest from its centre.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = vectors[torch.randperm(len(vectors), generator=generator)[:clusters]].clone()
    assign = torch.zeros(len(vectors), dtype=torch.long)
    for _ in range(rounds):
        distance = torch.cdist(vectors, centres)
        nearest, assign = distance.min(1)
        sums = torch.zeros_like(centres).index_add_(0, assign, vectors)
        sizes = torch.bincount(assign, minlength=clusters)
        centres = sums / sizes.clamp(min=1)[:, None]
        for empty in (sizes == 0).nonzero().flatten().tolist():
            far = int(nearest.argmax())
            centres[empty], nearest[far] = vectors[far], 0.0
    return centres, torch.cdist(vectors, centres).argmin(1)


class Santa(nn.Module):
    """Memory (m, d) of text embeddings in K clusters; (n, d) unit length -> (n, d) unit length."""

    memory: torch.Tensor
    centres: torch.Tensor
    assign: torch.Tensor
    names: torch.Tensor

    def __init__(self, width: int, settings: SantaSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("memory", torch.zeros(settings.size, width))
        self.register_buffer("centres", torch.zeros(settings.clusters, width))
        self.register_buffer("assign", torch.zeros(settings.size, dtype=torch.int32))
        self.register_buffer("names", torch.zeros(settings.names, width), persistent=settings.names > 0)

    @classmethod
    def build(cls, texts: torch.Tensor, settings: SantaSettings, rounds: int = 25, seed: int = 0, names: torch.Tensor | None = None) -> Santa:
        """Cluster the embeddings (m, d) of the training texts, noise included if they carry any; m and K are `settings`'.

        `names` (c, d) are embeddings of class names, kept beside them.
        """
        santa = cls(texts.shape[1], settings)
        if names is not None:
            santa.names.copy_(names)
        santa.memory.copy_(texts)
        centres, assign = kmeans(texts, settings.clusters, rounds, seed)
        santa.centres.copy_(centres)
        santa.assign.copy_(assign)
        return santa

    def forward(self, heard: torch.Tensor) -> torch.Tensor:
        """normalise((1 - lambda) z + lambda sum_i softmax(z.m_i / tau)_i m_i), over the L texts of z's cluster nearest to z."""
        if self.settings.blend == 0.0 or not len(self.memory):
            return heard
        cluster = torch.cdist(heard, self.centres).argmin(1)
        # unit vectors: nearest by L2 is largest by product
        closeness = (heard @ self.memory.T).masked_fill(self.assign[None, :] != cluster[:, None], float("-inf"))
        near = self._near(self.memory, closeness, self.settings.neighbours)
        return F.normalize((1.0 - self.settings.blend) * heard + self.settings.blend * near, dim=-1)

    def looks(self, heard: torch.Tensor) -> list[torch.Tensor]:
        """What the mapper may be given, each (n, d) unit length: the blend above, and where names are kept the nearest of those.

        Captions are vague where several sounds are alike; a name is not. Which of the answers fits best is judged by the encoder.
        """
        first = self(heard)
        if not len(self.names):
            return [first]
        return [first, F.normalize(self._near(self.names, heard @ self.names.T, self.settings.near_names), dim=-1)]

    def _near(self, texts: torch.Tensor, closeness: torch.Tensor, count: int) -> torch.Tensor:
        value, which = closeness.topk(min(count, len(texts)), -1)
        weight = (value / self.settings.temperature).softmax(-1)
        return (weight[..., None] * texts[which]).sum(-2)
