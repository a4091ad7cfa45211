"""The teacher: a small AudioSet tagger (MobileNetV3 at width 0.4, 0.99 M parameters), run frozen and never shipped.

EfficientAT's mn04 (Schmid et al., 2023, MIT): 527 logits and a 384-d feature, the mean of the last feature map.
Only its published sizes and checkpoint keys are used here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

RATE = 32_000
N_FFT = 1024
WINDOW = 800
HOP = 320
N_MELS = 128
FEATURE = 384
CLASSES = 527

# kernel, expanded, out, squeeze-and-excitation, hard-swish, stride: the published table at width 1
_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def _width(channels: float) -> int:
    """Nearest multiple of 8 that loses no more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _conv(
    inp: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: nn.Module | None = None
) -> nn.Sequential:
    parts: list[nn.Module] = [
        nn.Conv2d(inp, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=0.001),
    ]
    return nn.Sequential(*parts, *([act] if act else []))


class _Squeeze(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class _Concurrent(nn.Module):
    """Holds the one squeeze over channels under the checkpoint's key."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([_Squeeze(channels, _width(channels // 4))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conc_se_layers[0](x)


class _Inverted(nn.Module):
    def __init__(self, inp: int, kernel: int, expanded: int, out: int, squeeze: bool, swish: bool, stride: int) -> None:
        super().__init__()
        act = nn.Hardswish() if swish else nn.ReLU()
        parts: list[nn.Module] = []
        if expanded != inp:
            parts.append(_conv(inp, expanded, 1, act=act))
        parts.append(_conv(expanded, expanded, kernel, stride, expanded, act=act))
        if squeeze:
            parts.append(_Concurrent(expanded))
        parts.append(_conv(expanded, out, 1))
        self.block = nn.Sequential(*parts)
        self.residual = stride == 1 and inp == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.residual else self.block(x)


def kaldi_mel_bank(n_mels: int = N_MELS, low: float = 0.0, high: float = 15_000.0) -> torch.Tensor:
    """Triangles on Kaldi's mel scale 1127 ln(1 + f/700), (n_fft/2 + 1, n_mels), unnormalised."""
    mel = lambda f: 1127.0 * np.log1p(np.asarray(f) / 700.0)  # noqa: E731
    edges = np.linspace(mel(low), mel(high), n_mels + 2)
    bins = mel(np.arange(N_FFT // 2) * RATE / N_FFT)[:, None]
    up = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0.0, np.minimum(up, down))
    return torch.from_numpy(np.concatenate([bank, np.zeros((1, n_mels))])).float()


class Teacher(nn.Module):
    """waves (n, s) at 32 kHz -> feature (n, 384), logits (n, 527)."""

    window: torch.Tensor
    bank: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False), persistent=False)
        self.register_buffer("bank", kaldi_mel_bank(), persistent=False)
        inp = _width(16 * 0.4)
        layers: list[nn.Module] = [_conv(1, inp, 3, 2, act=nn.Hardswish())]
        for kernel, expanded, out, squeeze, swish, stride in _BLOCKS:
            layers.append(_Inverted(inp, kernel, _width(expanded * 0.4), _width(out * 0.4), squeeze, swish, stride))
            inp = _width(out * 0.4)
        layers.append(_conv(inp, FEATURE, 1, act=nn.Hardswish()))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Identity(),
            nn.Identity(),
            nn.Linear(FEATURE, 512),
            nn.Hardswish(),
            nn.Identity(),
            nn.Linear(512, CLASSES),
        )

    def log_mel(self, waves: torch.Tensor) -> torch.Tensor:
        """(n, s) -> (n, 1, 128, frames): pre-emphasis .97, power, (ln(x + 1e-5) + 4.5) / 5."""
        emphasised = waves[:, 1:] - 0.97 * waves[:, :-1]
        spectrum = torch.stft(emphasised, N_FFT, HOP, WINDOW, self.window, center=True, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        mels = torch.matmul(power.transpose(1, 2), self.bank).transpose(1, 2)
        return (((mels + 1e-5).log() + 4.5) / 5.0).unsqueeze(1)

    def forward(self, waves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        feature = self.features(self.log_mel(waves)).mean((2, 3))
        return feature, self.classifier(feature)

    @classmethod
    def load(cls, path: str | Path) -> Teacher:
        """Strict load of the published file; it holds tensors only (weights_only)."""
        teacher = cls()
        state = torch.load(path, map_location="cpu", weights_only=True)
        teacher.load_state_dict(state, strict=True)
        return teacher.eval().requires_grad_(False)
