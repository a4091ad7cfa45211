"""One batched log-mel front end: waveforms (n, s) -> log-mel (n, frames, mels), decibels of power.

Banks are chosen by name, since the wrong bank gives plausible but incomparable embeddings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass(frozen=True)
class LogMelSpec:
    """Every number of a front end, in samples and Hz."""

    sample_rate: int  # samples per second
    n_fft: int  # samples in a frame
    hop: int  # samples between frames
    n_mels: int
    fmin: float
    fmax: float
    floor: float = 1e-10  # the least power; with `emphasis`, power added before the logarithm
    # not part of the words for it, from which ids are made, since nano's were made before
    scale: str = field(
        default="htk", repr=False
    )  # htk: peak 1, straight in mels; slaney: area 1, straight in Hz; plain: htk, straight in Hz
    bank_rate: int = field(
        default=0, repr=False
    )  # the rate that the bank was made for, where that is not the rate of the sound
    window: int = field(default=0, repr=False)  # samples of the Hann window, where it is shorter than the frame
    emphasis: float = field(
        default=0.0, repr=False
    )  # the share of each sample that is taken from the next: high tones gain by it


BANKS: dict[str, LogMelSpec] = {
    # 10 ms: 500 frames of 128 mels for the 5 s window of nano; the numbers of its teacher's front end
    "nano": LogMelSpec(
        sample_rate=32_000,
        n_fft=1024,
        hop=320,
        n_mels=128,
        fmin=0.0,
        fmax=15_000.0,
        floor=1e-5,
        window=800,
        emphasis=0.97,
    ),
    "laion": LogMelSpec(sample_rate=48_000, n_fft=1024, hop=480, n_mels=64, fmin=50.0, fmax=14_000.0, scale="slaney"),
    "laion-fused": LogMelSpec(
        sample_rate=48_000, n_fft=1024, hop=480, n_mels=64, fmin=50.0, fmax=14_000.0, scale="plain"
    ),
    # its bank was made for 32 kHz and is used at 44.1
    "msclap": LogMelSpec(
        sample_rate=44_100, n_fft=1024, hop=320, n_mels=64, fmin=50.0, fmax=14_000.0, scale="slaney", bank_rate=32_000
    ),
}


def hz_to_mel(hz: torch.Tensor) -> torch.Tensor:
    """HTK mel scale: 2595 log10(1 + f / 700)."""
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def hz_to_slaney(hz: torch.Tensor) -> torch.Tensor:
    """Slaney's scale: 3 mels in 200 Hz up to 1 kHz, 27 for each factor of 6.4 above."""
    return torch.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + 27.0 * (hz.clamp(min=1.0) / 1000.0).log() / math.log(6.4))


def slaney_to_hz(mel: torch.Tensor) -> torch.Tensor:
    """And back."""
    return torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * ((mel - 15.0) * math.log(6.4) / 27.0).exp())


def mel_to_hz(mel: torch.Tensor) -> torch.Tensor:
    """And back."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def mel_bank(spec: LogMelSpec) -> torch.Tensor:
    """Triangular filters, (n_fft // 2 + 1, n_mels), float32."""
    hz = torch.arange(spec.n_fft // 2 + 1, dtype=torch.float64) * (spec.bank_rate or spec.sample_rate) / spec.n_fft
    to_mel, to_hz = (hz_to_slaney, slaney_to_hz) if spec.scale == "slaney" else (hz_to_mel, mel_to_hz)
    low, high = to_mel(torch.tensor([spec.fmin, spec.fmax], dtype=torch.float64)).tolist()
    mels = torch.linspace(low, high, spec.n_mels + 2, dtype=torch.float64)
    bins, edges = (hz_to_mel(hz), mels) if spec.scale == "htk" else (hz, to_hz(mels))
    up = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bank = torch.minimum(up, down).clamp(min=0.0)
    return (bank * 2.0 / (edges[2:] - edges[:-2]) if spec.scale == "slaney" else bank).float()


class LogMel(nn.Module):
    """waves (n, s) float32 -> (n, frames, n_mels) in dB of power, where a sample of 1 has a power of 1.

    With emphasis: ceil(s / hop) frames, of differences of neighbouring samples. Without: s // hop + 1 frames, as the
    published encoders were taught.
    """

    window: torch.Tensor
    bank: torch.Tensor

    def __init__(self, bank: str = "nano") -> None:
        super().__init__()
        self.spec = BANKS[bank]
        length = self.spec.window or self.spec.n_fft
        # a window that is shorter than its frame ends in zero on both sides
        window = torch.hann_window(length, periodic=length == self.spec.n_fft, dtype=torch.float64)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("bank", mel_bank(self.spec), persistent=False)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        spec = self.spec
        if spec.emphasis:
            waves = waves[..., 1:] - spec.emphasis * waves[..., :-1]
        spectrum = torch.stft(
            waves, spec.n_fft, spec.hop, len(self.window), self.window, center=True, return_complex=True
        )
        mels = (spectrum.real.square() + spectrum.imag.square()).transpose(-1, -2) @ self.bank
        return 10.0 * torch.log10(mels + spec.floor if spec.emphasis else mels.clamp(min=spec.floor))
