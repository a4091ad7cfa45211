"""The mapper: one embedding (n, d) -> a prefix of p soft tokens (n, p, h) that the language model reads as words."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_queries = nn.Linear(width, width, bias=False)
        self.to_keys_values = nn.Linear(width, 2 * width, bias=False)
        self.project = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, width = x.shape
        keys, values = self.to_keys_values(x).chunk(2, -1)
        split = [part.view(n, t, self.heads, -1).transpose(1, 2) for part in (self.to_queries(x), keys, values)]
        mixed = F.scaled_dot_product_attention(*split)
        return self.project(mixed.transpose(1, 2).reshape(n, t, width))


class _MLP(nn.Module):
    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * ratio))
        self.fc2 = nn.Linear(int(width * ratio), width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.relu(self.fc1(x)))


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _MLP(width, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Transformer(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(width, heads) for _ in range(layers)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Mapper(nn.Module):
    """The paper's mapper: the embedding becomes `clip_length` tokens, `prefix_length` learned tokens attend to them.

    Pre-norm layers over all tokens, no positions, no final norm; the last `prefix_length` tokens, projected to the
    language model's width, are the prefix.
    """

    def __init__(self, d: int, width: int, clip_length: int, prefix_length: int, layers: int, heads: int, llm_width: int) -> None:
        super().__init__()
        self.clip_length, self.prefix_length = clip_length, prefix_length
        self.linear = nn.Linear(d, clip_length * width)
        self.prefix_const = nn.Parameter(torch.randn(prefix_length, width))
        self.transformer = _Transformer(width, heads, layers)
        self.project = nn.Linear(width, llm_width)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """(n, d) unit length -> (n, p, h)."""
        n = embedding.shape[0]
        heard = self.linear(embedding).view(n, self.clip_length, -1)
        tokens = torch.cat([heard, self.prefix_const.expand(n, -1, -1)], 1)
        return self.project(self.transformer(tokens)[:, -self.prefix_length :])
