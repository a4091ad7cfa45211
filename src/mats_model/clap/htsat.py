"""HTSAT, the audio tower of LAION's and Microsoft's CLAP: a Swin transformer over a log-mel picture of 1024 frames.

Module names are those of the published checkpoints, so that their tensors load as they are called.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WINDOW = 8  # patches on a side of an attention window
MELS, FRAMES, SIDE = 64, 1024, 256


class Attention(nn.Module):
    """Self-attention within windows (b, 64, c), with a learned bias for each offset between two patches."""

    index: torch.Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
        offset = at[:, :, None] - at[:, None, :] + WINDOW - 1
        self.register_buffer("index", offset[0] * (2 * WINDOW - 1) + offset[1], persistent=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """mask (windows, 64, 64) is added to the logits, the same for each picture."""
        count, tokens, width = x.shape
        q, k, v = self.qkv(x).view(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(count // len(mask), 1, 1, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(count, -1, -1, -1))
        return self.proj(mixed.transpose(1, 2).reshape(count, tokens, width))


class Mlp(nn.Module):
    """Four times as wide in between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention in windows, every other time shifted by half a window; (b, side, side, c)."""

    mask: torch.Tensor | None

    def __init__(self, width: int, heads: int, side: int, shifted: bool) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width)
        self.shift = WINDOW // 2 if shifted and side > WINDOW else 0
        self.register_buffer("mask", _shift_mask(side, self.shift) if self.shift else None, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved = self.norm1(x)
        if self.shift:
            moved = moved.roll((-self.shift, -self.shift), (1, 2))
        moved = _joined(self.attn(_windows(moved), self.mask), x.shape[1])
        if self.shift:
            moved = moved.roll((self.shift, self.shift), (1, 2))
        x = x + moved
        return x + self.mlp(self.norm2(x))


def _windows(x: torch.Tensor) -> torch.Tensor:
    """(b, side, side, c) -> (b * windows, 64, c)."""
    count, side, _, width = x.shape
    parts = side // WINDOW
    return x.view(count, parts, WINDOW, parts, WINDOW, width).transpose(2, 3).reshape(-1, WINDOW * WINDOW, width)


def _joined(x: torch.Tensor, side: int) -> torch.Tensor:
    parts = side // WINDOW
    return x.view(-1, parts, parts, WINDOW, WINDOW, x.shape[-1]).transpose(2, 3).reshape(-1, side, side, x.shape[-1])


def _shift_mask(side: int, shift: int) -> torch.Tensor:
    """(windows, 64, 64): patches that the shift brought together from opposite edges do not attend to each other."""
    zone = torch.zeros(side)
    zone[side - WINDOW : side - shift], zone[side - shift :] = 1, 2
    region = _windows((zone[:, None] * 3 + zone[None])[None, :, :, None])[..., 0]
    return (region[:, None, :] != region[:, :, None]) * -100.0


class Merge(nn.Module):
    """Four neighbouring patches become one, twice as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


class Layer(nn.Module):
    """Blocks of one width; all but the last layer merge patches at their end."""

    def __init__(self, width: int, depth: int, heads: int, side: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, side, shifted=bool(number % 2)) for number in range(depth))
        self.downsample = None if last else Merge(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    """(b, 1, 256, 256) -> (b, 64, 64, c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(1, width, 4, stride=4), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class HTSAT(nn.Module):
    """log-mel in dB (n, frames, 64), at most 1024 frames -> (n, 8 * width)."""

    def __init__(
        self, width: int = 96, depths: tuple[int, ...] = (2, 2, 6, 2), heads: tuple[int, ...] = (4, 8, 16, 32)
    ) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(MELS)
        self.patch_embed = PatchEmbed(width)
        side = SIDE // 4
        self.layers = nn.ModuleList(
            Layer(width << number, depth, heads[number], side >> number, number == len(depths) - 1)
            for number, depth in enumerate(depths)
        )
        self.width = width << (len(depths) - 1)
        self.norm = nn.LayerNorm(self.width)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        count, frames, _ = mels.shape
        if frames > FRAMES:
            raise ValueError(f"{frames} frames do not fit into a picture of {FRAMES}")
        picture = self.bn0(mels.transpose(1, 2)[..., None]).squeeze(-1).transpose(1, 2)
        if frames < FRAMES:
            picture = F.interpolate(picture[:, None], (FRAMES, MELS), mode="bicubic", align_corners=True)[:, 0]
        # four stretches of time, one above the other, each 64 mels high
        x = picture.view(count, SIDE // MELS, SIDE, MELS).transpose(2, 3).reshape(count, 1, SIDE, SIDE)
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x).flatten(1, 2).mean(1)


def sizes(state: dict[str, torch.Tensor]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Width, depths and heads of a checkpoint's tensors."""
    depths, heads, layer = list[int](), list[int](), 0
    while f"layers.{layer}.blocks.0.norm1.weight" in state:
        depth = 0
        while f"layers.{layer}.blocks.{depth}.norm1.weight" in state:
            depth += 1
        depths.append(depth)
        heads.append(state[f"layers.{layer}.blocks.0.attn.relative_position_bias_table"].shape[1])
        layer += 1
    return state["patch_embed.proj.weight"].shape[0], tuple(depths), tuple(heads)
