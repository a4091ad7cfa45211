"""Log-mel front ends by name: their numbers, their windows and their banks.

Banks are chosen by name, since the wrong bank gives plausible but incomparable embeddings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


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


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """HTK mel scale: 2595 log10(1 + f / 700)."""
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """And back."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def hz_to_slaney(hz: np.ndarray) -> np.ndarray:
    """Slaney's scale: 3 mels in 200 Hz up to 1 kHz, 27 for each factor of 6.4 above."""
    return np.where(hz < 1000.0, hz * 3.0 / 200.0, 15.0 + 27.0 * np.log(np.maximum(hz, 1.0) / 1000.0) / math.log(6.4))


def slaney_to_hz(mel: np.ndarray) -> np.ndarray:
    """And back."""
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * math.log(6.4) / 27.0))


def mel_bank(spec: LogMelSpec) -> np.ndarray:
    """Triangular filters, (n_fft // 2 + 1, n_mels), float32."""
    hz = np.arange(spec.n_fft // 2 + 1, dtype=np.float64) * (spec.bank_rate or spec.sample_rate) / spec.n_fft
    to_mel, to_hz = (hz_to_slaney, slaney_to_hz) if spec.scale == "slaney" else (hz_to_mel, mel_to_hz)
    low, high = to_mel(np.array([spec.fmin, spec.fmax]))
    mels = np.linspace(low, high, spec.n_mels + 2)
    bins, edges = (hz_to_mel(hz), mels) if spec.scale == "htk" else (hz, to_hz(mels))
    up = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bank = np.maximum(np.minimum(up, down), 0.0)
    return (bank * 2.0 / (edges[2:] - edges[:-2]) if spec.scale == "slaney" else bank).astype(np.float32)


def hann(spec: LogMelSpec) -> np.ndarray:
    """The window, float32; one that is shorter than its frame ends in zero on both sides."""
    length = spec.window or spec.n_fft
    steps = length if length == spec.n_fft else length - 1
    return (0.5 - 0.5 * np.cos(2.0 * math.pi * np.arange(length) / steps)).astype(np.float32)
