"""Sounds that no recording holds: textures from noise, drops and pulses, and clips changed by filter, room and
modulation.

All take a numpy generator and repeat with its seed. They carry no label: the teacher says what it hears in them.
"""

from __future__ import annotations

import numpy as np

RATE = 32_000


def _curve(rng: np.random.Generator, bins: int, spread: float) -> np.ndarray:
    """A smooth random gain over frequency (bins,): ten points over 40 Hz to 16 kHz on a log axis, `spread` dB each."""
    points = np.geomspace(40.0, RATE / 2, 10)
    gain = rng.normal(0.0, spread, 10)
    return 10.0 ** (np.interp(np.linspace(0.0, RATE / 2, bins), points, gain) / 20.0)


def _slow(rng: np.random.Generator, samples: int, rate: float, depth: float) -> np.ndarray:
    """A slowly wandering line (samples,): `rate` random points a second, standard deviation `depth`."""
    points = max(2, round(samples / RATE * rate) + 2)
    return np.interp(np.arange(samples), np.linspace(0, samples, points), rng.normal(0.0, depth, points))


def _band(rng: np.random.Generator, bins: int) -> np.ndarray:
    """Gain of a band between two random edges (bins,), with a random slope within it."""
    frequency = np.linspace(0.0, RATE / 2, bins) + 1.0
    low, high = np.exp(rng.uniform(3.0, 7.0)), np.exp(rng.uniform(7.0, 9.7))
    return (
        (frequency / 1000.0) ** (-rng.uniform(-0.3, 1.2)) / (1 + (low / frequency) ** 4) / (1 + (frequency / high) ** 4)
    )


def vary(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sound (s,) through a random filter, room and modulation, each in a part of the cases."""
    count = len(wave)
    spectrum = np.fft.rfft(wave)
    bins = len(spectrum)
    if rng.random() < 0.7:
        spectrum *= _curve(rng, bins, rng.uniform(2.0, 9.0))
    if rng.random() < 0.2:
        frequency = np.linspace(0.0, RATE / 2, bins) + 1.0
        spectrum /= 1 + (frequency / np.exp(rng.uniform(7.0, 9.5))) ** 8
    if rng.random() < 0.4:
        # a room: noise that decays, its high tones faster
        length = round(RATE * float(np.exp(rng.uniform(-2.5, 0.5))))
        room = np.zeros(count)
        tail = rng.normal(size=min(length, count)) * np.exp(-6.9 * np.arange(min(length, count)) / length)
        room[: len(tail)] = tail / (np.sqrt((tail**2).sum()) + 1e-9)
        softer = 1 / (1 + np.linspace(0.0, RATE / 2, bins) / np.exp(rng.uniform(7.0, 9.5)))
        spectrum *= 1.0 + np.exp(rng.uniform(-2.0, 1.5)) * np.fft.rfft(room) * softer
    heard = np.fft.irfft(spectrum, count)
    chance = rng.random()
    if chance < 0.12:
        # pulses of rotors and engines
        phase = np.cumsum(np.exp(np.log(rng.uniform(3.0, 35.0)) + _slow(rng, count, 1.0, 0.03))) / RATE
        heard = heard * (rng.uniform(0.0, 0.5) + np.exp(-rng.uniform(1.0, 10.0) * (phase % 1.0)))
    elif chance < 0.25:
        # comes and goes, as waves and wind do
        heard = heard * np.exp(_slow(rng, count, float(np.exp(rng.uniform(-1.5, 1.5))), rng.uniform(0.3, 1.2)))
    return heard


def _noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    return rng.normal(size=samples)


def _drops(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Many short sounds: clicks, crackles, drops."""
    wave = np.zeros(samples + RATE)
    count = rng.poisson(np.exp(rng.uniform(0.5, 6.5)) * samples / RATE)
    decay, spread = np.exp(rng.uniform(-8.0, -3.5)), rng.uniform(0.0, 1.0)
    tonal, loudness = rng.random(), rng.uniform(0.3, 1.5)
    for start in rng.integers(0, samples, count):
        length = int(np.clip(RATE * decay * 5 * np.exp(rng.normal() * spread), 8, RATE))
        time = np.arange(length)
        if rng.random() < tonal:
            pitch = np.exp(rng.uniform(6.5, 9.3))
            piece = np.sin(2 * np.pi * pitch * time / RATE)
        else:
            piece = rng.normal(size=length)
        wave[start : start + length] += np.exp(rng.normal() * loudness) * np.exp(-5.0 * time / length) * piece
    return wave[:samples]


def _motor(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A wandering pitch with its harmonics, and noise that pulses with it."""
    pitch = np.exp(rng.uniform(2.3, 5.7))
    run = pitch * np.exp(_slow(rng, samples, float(np.exp(rng.uniform(-1.5, 1.5))), rng.uniform(0.0, 0.3)))
    phase = np.cumsum(run) / RATE
    # one period of a random wave, read by phase: every harmonic at once
    harmonics = int(np.clip(RATE / 2.2 / run.max(), 2, 120))
    sizes = rng.normal(size=harmonics) + 1j * rng.normal(size=harmonics)
    sizes *= np.arange(1, harmonics + 1) ** -rng.uniform(0.1, 1.6)
    period = np.fft.irfft(np.concatenate([[0], sizes]), 1024)
    tone = np.interp(phase % 1.0, np.arange(1025) / 1024, np.append(period, period[0]))
    noise = rng.normal(size=samples) * (rng.uniform(0.0, 1.0) + np.exp(-rng.uniform(1.0, 10.0) * (phase % 1.0)))
    return tone / (tone.std() + 1e-9) + rng.uniform(0.0, 2.0) * noise


def texture(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Noise, drops, a motor, or two of them (samples,), filtered; standard deviation 1."""
    kinds = rng.choice(3, size=rng.choice([1, 2], p=[0.6, 0.4]), replace=False)
    total = np.zeros(samples)
    for kind in kinds:
        wave = (_noise, _drops, _motor)[kind](rng, samples)
        wave = np.fft.irfft(np.fft.rfft(wave) * _band(rng, samples // 2 + 1), samples)
        wave = wave * np.exp(_slow(rng, samples, float(np.exp(rng.uniform(-1.5, 1.5))), rng.uniform(0.0, 0.8)))
        total += rng.uniform(0.2, 1.0) * wave / (wave.std() + 1e-9)
    return total / (total.std() + 1e-9)
