"""The mapper in torch: one embedding (n, d) -> a prefix of p soft tokens (n, p, h) that the language model reads as
words."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mats_model.config import MapperConfig
from mats_model.numpy_mapper import check_mapper


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
    """What every kind of mapper is: (n, d) unit length -> (n, p, h)."""

    @property
    def device(self) -> torch.device:
        """Where it lies: beside the language model."""
        return next(self.parameters()).device

    @torch.inference_mode()
    def prefix(self, embeddings: np.ndarray) -> torch.Tensor:
        """The same of embeddings as they pass between stations, without gradients: for answering."""
        return self(torch.from_numpy(np.ascontiguousarray(embeddings)).to(self.device))

    def kept(self) -> dict[str, torch.Tensor]:
        """The tensors that belong in a model folder, by name."""
        return self.state_dict()


class TransformerMapper(Mapper):
    """The paper's mapper: the embedding becomes `clip_length` tokens, `prefix_length` learned tokens attend to them.

    Pre-norm layers over all tokens, no positions, no final norm; the last `prefix_length` tokens, projected to the
    language model's width, are the prefix.
    """

    def __init__(
        self, d: int, width: int, clip_length: int, prefix_length: int, layers: int, heads: int, llm_width: int
    ) -> None:
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


class MLPMapper(Mapper):
    """Two matrices with a GELU between them, or one alone: the embedding becomes p tokens at once, without
    attention."""

    def __init__(self, d: int, width: int, prefix_length: int, llm_width: int, deep: bool) -> None:
        super().__init__()
        self.prefix_length = prefix_length
        self.fc1 = nn.Linear(d, width * prefix_length if deep else llm_width * prefix_length)
        self.fc2 = nn.Linear(width, llm_width) if deep else None

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """(n, d) unit length -> (n, p, h)."""
        tokens = self.fc1(embedding).view(embedding.shape[0], self.prefix_length, -1)
        return tokens if self.fc2 is None else self.fc2(F.gelu(tokens))


def make_mapper(config: MapperConfig, d: int, llm_width: int) -> Mapper:
    """A mapper of the config's kind and sizes, its weights drawn from torch's generator. Errors: UsageError."""
    check_mapper(config)
    if config.kind == "transformer":
        return TransformerMapper(
            d, config.width, config.clip_length, config.prefix_length, config.layers, config.heads, llm_width
        )
    return MLPMapper(d, config.width, config.prefix_length, llm_width, config.kind == "mlp")
