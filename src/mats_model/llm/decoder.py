"""A small Llama-style decoder of our own: a prefix and tokens -> logits, with the keys and values of what was read."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.config import DecoderConfig


class RMSNorm(nn.Module):
    """x / rms(x), scaled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5)
        return x * (scale * self.weight).to(x.dtype)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class _Block(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1 = RMSNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.norm2 = RMSNorm(config.width)
        self.gate_up = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, past: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        n, t, width = x.shape
        split = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = _rotate(split[0], cos, sin), _rotate(split[1], cos, sin), split[2]
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        # one new token may see all that went before; a whole sequence is causal
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=past is None and t > 1)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up), (keys, values)


Past = list[tuple[torch.Tensor, torch.Tensor]]


class Decoder(nn.Module):
    """inputs (n, t, h) -> logits (n, t, vocabulary); embedding and output share their weights."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList([_Block(config) for _ in range(config.layers)])
        self.norm = RMSNorm(config.width)
        size = config.width // config.heads
        angles = torch.outer(torch.arange(config.positions), 10_000.0 ** (-torch.arange(0, size, 2) / size))
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                scale = (2 * config.layers) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
                nn.init.normal_(weight, 0.0, 0.02 * scale)

    def forward(self, inputs: torch.Tensor, past: Past | None = None) -> tuple[torch.Tensor, Past]:
        """`past` holds the keys and values of what was read before; returns them grown."""
        hidden, kept = self.read(inputs, past)
        return self.logits(hidden), kept

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., h) -> (..., vocabulary)."""
        return F.linear(hidden, self.embed.weight)

    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        """The last layer's output for a whole sequence, (n, t, h): what training needs."""
        return self.read(inputs)[0]

    def read(self, inputs: torch.Tensor, past: Past | None = None) -> tuple[torch.Tensor, Past]:
        """(n, t, h) -> normalised output of the last layer (n, t, h), keys and values."""
        before = past[0][0].shape[2] if past else 0
        cos = self.cos[before : before + inputs.shape[1]].to(inputs.dtype)
        sin = self.sin[before : before + inputs.shape[1]].to(inputs.dtype)
        x, kept = inputs, []
        for number, block in enumerate(self.blocks):
            x, pair = block(x, cos, sin, past[number] if past else None)
            kept.append(pair)
        return self.norm(x), kept
