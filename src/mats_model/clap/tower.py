"""The audio tower of nano in torch, as it is taught: log-mel (n, frames, 128) -> feature (n, 384), tag logits (n, 527).

While it is taught every convolution is followed by batch normalisation; what ships has that folded into its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from mats_model.clap.layers import FEATURE, HIDDEN, SECTIONS, TAGS, Block, Conv, Hardswish, Layer


def _conv(conv: Conv, norm: bool) -> list[nn.Module]:
    made = nn.Conv2d(conv.inp, conv.out, conv.kernel, conv.stride, conv.kernel // 2, groups=conv.groups, bias=not norm)
    return [made, nn.BatchNorm2d(conv.out)] if norm else [made]


def _in_turn(layers: Iterable[Layer], norm: bool) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, Conv):
            parts += _conv(layer, norm)
        else:
            parts.append(nn.Hardswish() if isinstance(layer, Hardswish) else _Block(layer, norm))
    return nn.Sequential(*parts)


class _Squeeze(nn.Module):
    """Each channel is weighed by what all of them hold on average: (n, c, f, t) -> (n, c, f, t)."""

    def __init__(self, channels: int, narrowest: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, narrowest, 1)
        self.up = nn.Conv2d(narrowest, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class _Block(nn.Module):
    """As `layers.Block` says."""

    def __init__(self, block: Block, norm: bool) -> None:
        super().__init__()
        self.wide = _in_turn(block.widening(), norm)
        self.squeeze = _Squeeze(block.wide, block.narrowest) if block.squeeze else nn.Identity()
        self.narrow = _in_turn([Conv(block.wide, block.out)], norm)
        self.shortcut = block.shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.narrow(self.squeeze(self.wide(x)))
        return x + y if self.shortcut else y


class AudioTower(nn.Module):
    """1.4 M parameters. `norm`: with batch normalisation, as it is taught; without, as it ships (`fold`)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.early, self.middle, self.late, self.last = (_in_turn(layers, norm) for layers in SECTIONS.values())
        self.tags = nn.Sequential(nn.Linear(FEATURE, HIDDEN), nn.Hardswish(), nn.Linear(HIDDEN, TAGS))
        self.register_buffer("mean", torch.zeros(FEATURE))
        self.register_buffer("std", torch.ones(FEATURE))

    @staticmethod
    def scaled(mels: torch.Tensor) -> torch.Tensor:
        """log-mel in dB (n, frames, 128) -> (n, 1, 128, frames), natural logarithm shifted and scaled as the teacher
        has it."""
        x = ((mels * (math.log(10.0) / 10.0) + 4.5) / 5.0).transpose(1, 2).unsqueeze(1)
        return x.contiguous(memory_format=torch.channels_last)

    def maps(self, mels: torch.Tensor) -> torch.Tensor:
        """log-mel in dB (n, frames, 128) -> the map before any mean (n, 384, mels / 32, frames / 32)."""
        return self.last(self.late(self.middle(self.early(self.scaled(mels)))))

    def standard(self, pooled: torch.Tensor) -> torch.Tensor:
        """A mean of the map over places (..., 384) -> standardised feature."""
        return (pooled - self.mean) / self.std

    def forward(self, mels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """log-mel in dB (n, frames, 128) -> standardised feature (n, 384), tag logits (n, 527)."""
        feature = self.standard(self.maps(mels).float().mean((2, 3)))
        return feature, self.tags(feature)


@torch.no_grad()
def fold(taught: AudioTower) -> AudioTower:
    """The same function without batch normalisation: each is a scale and a shift, which its convolution can carry."""
    folded = AudioTower(norm=False)
    _fold(taught, folded)
    return folded.eval()


def _fold(taught: nn.Module, folded: nn.Module) -> None:
    """Copy the weights of `taught` into a module of the same make without its normalisations."""
    for (_, value), kept in zip(folded.named_buffers(recurse=False), taught.buffers(recurse=False), strict=True):
        value.copy_(kept)
    parts = list(taught.children())
    places = [at for at, part in enumerate(parts) if not isinstance(part, nn.BatchNorm2d)]
    for at, own in zip(places, folded.children(), strict=True):
        part, norm = parts[at], parts[at + 1] if at + 1 < len(parts) else None
        if isinstance(part, nn.Conv2d) and isinstance(own, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            assert own.bias is not None and norm.running_var is not None and norm.running_mean is not None
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            own.weight.copy_(part.weight * scale[:, None, None, None])
            own.bias.copy_(norm.bias - norm.running_mean * scale)
        elif list(part.children()):
            _fold(part, own)
        else:
            own.load_state_dict(part.state_dict())
