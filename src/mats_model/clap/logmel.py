"""One batched log-mel front end: waveforms (n, s) -> log-mel (n, frames, mels) in dB relative to a full-scale sine.

Banks are chosen by name, since the wrong bank gives plausible but incomparable embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class LogMelSpec:
    """Every number of a front end, in samples and Hz."""

    rate: int  # samples per second
    n_fft: int  # samples in a frame, and the length of the Hann window
    hop: int  # samples between frames
    n_mels: int
    fmin: float
    fmax: float
    floor: float = 1e-10  # power added before the logarithm: -100 dB


# 20 ms frames: 250 frames of 64 mels for the 5 s window of nano
BANKS: dict[str, LogMelSpec] = {
    "nano": LogMelSpec(rate=32_000, n_fft=1024, hop=640, n_mels=64, fmin=40.0, fmax=15_500.0),
}


def hz_to_mel(hz: torch.Tensor) -> torch.Tensor:
    """HTK mel scale: 2595 log10(1 + f / 700)."""
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def mel_bank(spec: LogMelSpec) -> torch.Tensor:
    """Triangular filters with peak 1, evenly spaced in HTK mels: (n_fft // 2 + 1, n_mels), float32."""
    bins = hz_to_mel(torch.arange(spec.n_fft // 2 + 1, dtype=torch.float64) * spec.rate / spec.n_fft)
    low, high = hz_to_mel(torch.tensor([spec.fmin, spec.fmax], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, spec.n_mels + 2, dtype=torch.float64)
    up = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(up, down).clamp(min=0.0).float()


class LogMel(nn.Module):
    """waves (n, s) float32 -> (n, s // hop, n_mels) in dB; a full-scale sine reads about 0 dB in its mel."""

    window: torch.Tensor
    bank: torch.Tensor

    def __init__(self, bank: str = "nano") -> None:
        super().__init__()
        self.spec = BANKS[bank]
        window = torch.hann_window(self.spec.n_fft, dtype=torch.float64)
        # scaled so that the squared magnitude of a full-scale sine at a bin centre is 1
        self.register_buffer("window", (window * 2.0 / window.sum()).float(), persistent=False)
        self.register_buffer("bank", mel_bank(self.spec), persistent=False)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        spec = self.spec
        frames = waves.shape[-1] // spec.hop
        spectrum = torch.stft(waves, spec.n_fft, spec.hop, window=self.window, center=True, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        mels = power[..., :frames].transpose(-1, -2) @ self.bank
        return 10.0 * torch.log10(mels + spec.floor)
