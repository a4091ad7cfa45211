"""The audio tower of nano: log-mel (n, frames, 128) -> feature (n, 384), tag logits (n, 527).

Three sections of convolutions, each narrow at its end; the first two are dense, which a CPU runs fastest on large maps.
While it is taught every convolution is followed by batch normalisation; what ships has that folded into its weights.
"""

from __future__ import annotations

import math

import torch
from torch import nn

MELS = 128
FEATURE = 384
TAGS = 527
_HIDDEN = 512
# channels where one section ends and the next begins
EARLY, MIDDLE, LATE = 16, 48, 88


def _conv(inp: int, out: int, kernel: int, stride: int, groups: int, norm: bool) -> list[nn.Module]:
    conv = nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups, bias=not norm)
    return [conv, nn.BatchNorm2d(out)] if norm else [conv]


class _Squeeze(nn.Module):
    """Each channel is weighed by what all of them hold on average: (n, c, f, t) -> (n, c, f, t)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, max(8, channels // 4), 1)
        self.up = nn.Conv2d(max(8, channels // 4), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class _Block(nn.Module):
    """Widen, weigh, narrow, with a shortcut where the shape stays: (n, i, f, t) -> (n, o, f / stride, t / stride).

    Widening is one dense convolution, or with `deep` a 1x1 and one convolution for each channel.
    """

    def __init__(
        self,
        inp: int,
        wide: int,
        out: int,
        norm: bool,
        kernel: int = 3,
        stride: int = 1,
        squeeze: bool = False,
        deep: bool = False,
    ) -> None:
        super().__init__()
        if deep:
            parts = [*_conv(inp, wide, 1, 1, 1, norm), nn.Hardswish(), *_conv(wide, wide, kernel, stride, wide, norm)]
        else:
            parts = _conv(inp, wide, kernel, stride, 1, norm)
        self.wide = nn.Sequential(*parts, nn.Hardswish())
        self.squeeze = _Squeeze(wide) if squeeze else nn.Identity()
        self.narrow = nn.Sequential(*_conv(wide, out, 1, 1, 1, norm))
        self.shortcut = stride == 1 and inp == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.narrow(self.squeeze(self.wide(x)))
        return x + y if self.shortcut else y


class AudioTower(nn.Module):
    """1.4 M parameters. `norm`: with batch normalisation, as it is taught; without, as it ships (`fold`)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, norm: bool = False) -> None:
        super().__init__()

        def block(
            inp: int, wide: int, out: int, kernel: int = 3, stride: int = 1, squeeze: bool = False, deep: bool = False
        ) -> _Block:
            return _Block(inp, wide, out, norm, kernel, stride, squeeze, deep)

        self.early = nn.Sequential(
            *_conv(1, 16, 3, 2, 1, norm), nn.Hardswish(),
            block(16, 32, 16, stride=2), block(16, 32, 24),
            block(24, 64, 32, stride=2, squeeze=True), block(32, 64, 32, squeeze=True), block(32, 64, 32, squeeze=True),
            *_conv(32, EARLY, 1, 1, 1, norm),
        )  # fmt: skip
        self.middle = nn.Sequential(
            block(EARLY, 96, 40, stride=2), block(40, 80, 40), block(40, 80, 40), block(40, 80, 40),
            block(40, 240, 56, squeeze=True, deep=True), block(56, 336, 56, squeeze=True, deep=True),
            *_conv(56, MIDDLE, 1, 1, 1, norm),
        )  # fmt: skip
        self.late = nn.Sequential(
            block(MIDDLE, 336, LATE, 5, 2, squeeze=True, deep=True),
            block(LATE, 440, LATE, 5, squeeze=True, deep=True), block(LATE, 440, LATE, 5, squeeze=True, deep=True),
        )  # fmt: skip
        self.last = nn.Sequential(*_conv(LATE, FEATURE, 1, 1, 1, norm), nn.Hardswish())
        self.tags = nn.Sequential(nn.Linear(FEATURE, _HIDDEN), nn.Hardswish(), nn.Linear(_HIDDEN, TAGS))
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
