"""The front end against a slow, obvious version, and against numbers written down once."""

from __future__ import annotations

import numpy as np
import torch
from conftest import noise

from mats_model.clap.logmel import BANKS, LogMel, mel_bank


def slow(wave: np.ndarray) -> np.ndarray:
    spec = BANKS["nano"]
    window = np.hanning(spec.n_fft + 1)[:-1]
    window *= 2 / window.sum()
    padded = np.pad(wave.astype(np.float64), spec.n_fft // 2, mode="reflect")
    rows = []
    for frame in range(len(wave) // spec.hop):
        piece = padded[frame * spec.hop : frame * spec.hop + spec.n_fft] * window
        power = np.abs(np.fft.rfft(piece)) ** 2
        rows.append(10 * np.log10(power @ mel_bank(spec).numpy().astype(np.float64) + spec.floor))
    return np.array(rows)


def test_log_mel_is_the_slow_one() -> None:
    wave = noise(0.5)
    got = LogMel()(torch.from_numpy(wave)[None])[0]
    assert got.shape == (25, 64)
    np.testing.assert_allclose(got.numpy(), slow(wave), atol=2e-3)


def test_full_scale_sine_reads_zero_db() -> None:
    time = torch.arange(32_000) / 32_000
    mels = LogMel()(torch.sin(2 * torch.pi * 1000 * time)[None])[0]
    assert -3.0 < float(mels[10].max()) < 3.0
    assert float(LogMel()(torch.zeros(1, 3200)).max()) == -100.0


def test_bank_numbers() -> None:
    bank = mel_bank(BANKS["nano"])
    assert bank.shape == (513, 64) and float(bank.max()) <= 1.0 and float(bank.min()) == 0.0
    # every mel hears at least one bin, and the peaks rise
    assert (bank.sum(0) > 0).all() and (bank.argmax(0).diff() >= 0).all()
    centre = 700 * (10 ** (np.linspace(2595 * np.log10(1 + 40 / 700), 2595 * np.log10(1 + 15_500 / 700), 66) / 2595) - 1)
    np.testing.assert_allclose(bank.argmax(0).numpy()[30:] * 32_000 / 1024, centre[1:-1][30:], atol=32)
