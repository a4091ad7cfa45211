"""Sounds for distillation: recordings cut, mixed and changed in the ways that recorders, rooms and lines change them,
and further.

Example `i` is made from `seed` and `i` alone. The teacher hears the result, so what it says of it is right by
definition.
"""

from __future__ import annotations

import io

import numpy as np

from mats_model.teach.clips import RATE, Clips
from mats_model.teach.wild import texture, vary

SAMPLES = 5 * RATE
MOST = 3  # clips in one example


def _speed(wave: np.ndarray, factor: float) -> np.ndarray:
    positions = np.arange(0, len(wave) - 1, factor)
    return np.interp(positions, np.arange(len(wave)), wave).astype(np.float32)


def cut(wave: np.ndarray, rng: np.random.Generator, plain: bool) -> np.ndarray:
    """5 s of a clip: some place of it, zeros after it; unless `plain` at another speed and tilt, and if short again and
    again."""
    if not plain:
        wide = rng.random() < 0.2
        wave = _speed(wave, float(np.exp(rng.uniform(-0.69, 0.69) if wide else rng.uniform(-0.16, 0.16))))
    out = np.zeros(SAMPLES, np.float32)
    if len(wave) >= SAMPLES:
        start = int(rng.integers(0, len(wave) - SAMPLES + 1))
        out[:] = wave[start : start + SAMPLES]
    elif rng.random() < (0.0 if plain else 0.3):
        # a sound that comes again, as in life, with a pause between
        period = len(wave) + int(rng.integers(0, RATE))
        for start in range(0, SAMPLES, max(period, 800)):
            piece = wave[: SAMPLES - start]
            out[start : start + len(piece)] += piece
    else:
        start = int(rng.integers(0, SAMPLES - len(wave) + 1)) if rng.random() < 0.5 else 0
        out[start : start + len(wave)] = wave
    if not plain:
        out[1:] = out[1:] + float(rng.uniform(-0.5, 0.5)) * out[:-1]
    return out


def level(wave: np.ndarray) -> float:
    """RMS of what is not silent."""
    loud = np.abs(wave) > 1e-3
    return float(np.sqrt(np.mean(wave[loud] ** 2))) if loud.any() else 1e-3


def _envelope(wave: np.ndarray) -> np.ndarray:
    """Loudness over time (s,), by 10 ms."""
    steps = np.sqrt(np.mean(wave[: len(wave) // 320 * 320].reshape(-1, 320) ** 2, 1))
    return np.interp(np.arange(len(wave)), np.arange(len(steps)) * 320 + 160, steps)


def _cross(wave: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One sound with another's loudness, or noise with it, or one run through the other."""
    kind = rng.integers(3)
    if kind == 0:
        return wave / (_envelope(wave) + 1e-3) * _envelope(other)
    if kind == 1:
        return texture(rng, SAMPLES) * _envelope(other)
    some = other[int(np.abs(other).argmax()) :][: int(np.exp(rng.uniform(6.0, 10.0)))]
    piece = np.zeros(SAMPLES)
    piece[: len(some)] = some * np.linspace(1.0, 0.0, len(some))
    return np.fft.irfft(np.fft.rfft(wave) * np.fft.rfft(piece), SAMPLES)


def _coded(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through Opus or MP3 at a low rate."""
    import soundfile
    import soxr

    sample_rate = int(rng.choice([8000, 16_000, 24_000]))
    peak = float(np.abs(wave).max()) or 1.0
    container, codec = [("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")][int(rng.integers(2))]
    file = io.BytesIO()
    small = soxr.resample(wave / peak * 0.9, RATE, sample_rate)
    soundfile.write(
        file, small, sample_rate, format=container, subtype=codec, compression_level=float(rng.uniform(0.6, 0.99))
    )
    file.seek(0)
    back, sample_rate = soundfile.read(file, dtype="float32")
    again = soxr.resample(back, sample_rate, RATE)[:SAMPLES] * peak / 0.9
    return np.pad(again, (0, SAMPLES - len(again)))


def channel(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What recorders, lines and loudspeakers do to a sound: less bandwidth, codecs, clipping, hiss."""
    kind = rng.random()
    if kind < 0.22:
        frequency = np.linspace(0.0, RATE / 2, SAMPLES // 2 + 1)
        edge = float(rng.choice([3400, 4000, 5500, 8000, 8000, 11_025, 12_000])) * 0.97
        gain = 1 / (1 + (frequency / edge) ** 40)
        if edge < 3500 or rng.random() < 0.15:
            gain *= 1 / (1 + (rng.uniform(150, 400) / (frequency + 1.0)) ** 8)
        wave = np.fft.irfft(np.fft.rfft(wave) * gain, SAMPLES)
    elif kind < 0.25:
        wave = _coded(wave, rng)
    if rng.random() < 0.06:
        edge = (float(np.abs(wave).max()) or 1.0) * 10 ** (rng.uniform(-24, -3) / 20)
        wave = np.clip(wave, -edge, edge)
    if rng.random() < 0.1:
        hiss = rng.normal(size=SAMPLES) if rng.random() < 0.5 else texture(rng, SAMPLES)
        wave = wave + hiss * level(wave) * 10.0 ** (rng.uniform(-55.0, -20.0) / 20.0)
    return wave


def make(clips: Clips, odds: np.ndarray, seed: int, index: int) -> tuple[np.ndarray, list[int], list[float]]:
    """Example `index`: wave (s,), its clips (-1 where there is none or nothing can be said of it), their levels in dB
    against the first.

    A third are one clip as it is; the rest one to three, some through filters, rooms and modulations, over textures, or
    crossed.
    """
    rng = np.random.default_rng([seed, index])
    ids, levels = [-1] * MOST, [0.0] * MOST

    def take() -> tuple[int, np.ndarray]:
        which = int(rng.choice(len(clips), p=odds))
        return which, clips[which]

    kind = rng.random()
    wild = kind >= 0.7
    if kind < 0.04:
        wave = vary(texture(rng, SAMPLES), rng)
    else:
        ids[0], first = take()
        wave = cut(first, rng, kind < 0.3)
        wave = vary(wave, rng) if wild else wave
        count = int(rng.choice([1, 2, 3], p=[0.55, 0.37, 0.08])) if kind >= 0.3 else 1
        for place in range(1, count):
            ids[place], other = take()
            levels[place] = float(rng.uniform(-12.0, 8.0))
            more = cut(other, rng, False)
            more = vary(more, rng) if wild and rng.random() < 0.5 else more
            wave = wave + more * (level(wave) / level(more) * 10.0 ** (levels[place] / 20.0))
        if kind > 0.95:
            wave, ids = _cross(wave, cut(take()[1], rng, False), rng), [-1] * MOST
        elif 0.78 < kind < 0.88:
            ground = texture(rng, SAMPLES)
            wave = wave + ground * (level(wave) / level(ground) * 10.0 ** (rng.uniform(-35.0, 0.0) / 20.0))
    if rng.random() < 0.5:
        wave = channel(wave, rng)
    peak = float(np.abs(wave).max()) or 1.0
    loud = 10.0 ** (rng.uniform(-36.0, 0.0) / 20.0) if rng.random() < 0.35 else rng.uniform(0.3, 1.0)
    return (wave / peak * loud).astype(np.float32), ids, levels
