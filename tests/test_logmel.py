"""The front end against a slow, obvious version, and against numbers written down once."""

from __future__ import annotations

import numpy as np
import torch
from conftest import noise

from mats_model.clap.logmel import LogMel
from mats_model.clap.mels import BANKS, mel_bank
from mats_model.teach.teacher import kaldi_mel_bank


def slow(wave: np.ndarray) -> np.ndarray:
    spec = BANKS["nano"]
    window = np.zeros(spec.n_fft)
    window[112:912] = np.hanning(spec.window)
    raised = wave[1:].astype(np.float64) - spec.emphasis * wave[:-1].astype(np.float64)
    padded = np.pad(raised, spec.n_fft // 2, mode="reflect")
    rows = []
    for frame in range(-(-len(wave) // spec.hop)):
        piece = padded[frame * spec.hop : frame * spec.hop + spec.n_fft] * window
        power = np.abs(np.fft.rfft(piece)) ** 2
        rows.append(10 * np.log10(power @ mel_bank(spec).astype(np.float64) + spec.floor))
    return np.array(rows)


def test_log_mel_is_the_slow_one() -> None:
    wave = noise(0.5)
    got = LogMel()(torch.from_numpy(wave)[None])[0]
    assert got.shape == (50, 128)
    np.testing.assert_allclose(got.numpy(), slow(wave), atol=2e-3)


def test_levels_are_decibels() -> None:
    time = torch.arange(32_000) / 32_000
    sine = torch.sin(2 * torch.pi * 1000 * time)[None]
    loud, soft = LogMel()(sine)[0], LogMel()(sine / 10)[0]
    assert abs(float(loud.max() - soft.max()) - 20.0) < 0.01
    assert float(LogMel()(torch.zeros(1, 3200)).max()) == -50.0


def test_bank_numbers() -> None:
    bank = mel_bank(BANKS["nano"])
    assert bank.shape == (513, 128) and float(bank.max()) <= 1.0 and float(bank.min()) == 0.0
    # the teacher's, which is written down there once more from Kaldi's scale
    np.testing.assert_allclose(bank, kaldi_mel_bank().numpy(), atol=2e-5)
