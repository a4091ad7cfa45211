"""The log-mel front ends in torch, for batches: waveforms (n, s) -> log-mel (n, frames, mels), decibels of power."""

from __future__ import annotations

import torch
from torch import nn

from mats_model.clap.mels import BANKS, hann, mel_bank


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
        self.register_buffer("window", torch.from_numpy(hann(self.spec)), persistent=False)
        self.register_buffer("bank", torch.from_numpy(mel_bank(self.spec)), persistent=False)

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        spec = self.spec
        if spec.emphasis:
            waves = waves[..., 1:] - spec.emphasis * waves[..., :-1]
        spectrum = torch.stft(
            waves, spec.n_fft, spec.hop, len(self.window), self.window, center=True, return_complex=True
        )
        mels = (spectrum.real.square() + spectrum.imag.square()).transpose(-1, -2) @ self.bank
        return 10.0 * torch.log10(mels + spec.floor if spec.emphasis else mels.clamp(min=spec.floor))
