"""Examples for distillation: crops, and mixtures of two crops, each heard once by the teacher.

Example `i` is made from `seed` and `i` alone: which clips, where they are cut, speed, tilt of the spectrum, levels.
From `wild_from` on, sounds are changed further than a recording would be (teach/wild.py): the teacher hears the result,
so what it says of it is right by definition, and the student learns the teacher's function where recordings are lacking.
Stored per example: log-mel (250, 64) float16, the teacher's feature (384) and logits (527) float16, and its clips.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mats_model.clap.logmel import LogMel
from mats_model.teach.clips import Clips
from mats_model.teach.teacher import CLASSES, FEATURE, Teacher
from mats_model.teach.wild import texture, vary

SECONDS = 5.0
SAMPLES = 160_000
FRAMES, MELS = 250, 64
_CHUNK = 64


@dataclass(frozen=True)
class Pool:
    """Arrays of the same first dimension, memory-mapped."""

    mels: np.ndarray  # (count, 250, 64) float16, dB
    feature: np.ndarray  # (count, 384) float16
    logits: np.ndarray  # (count, 527) float16
    clips: np.ndarray  # (count, 2) int32: first and second clip, -1 where there is none: a texture has neither
    levels: np.ndarray  # (count,) float32: level of the second clip against the first, dB


def _arrays(folder: Path, count: int, mode: Literal["r", "r+", "w+"]) -> Pool:
    shapes = {
        "mels": ((count, FRAMES, MELS), np.float16),
        "feature": ((count, FEATURE), np.float16),
        "logits": ((count, CLASSES), np.float16),
        "clips": ((count, 2), np.int32),
        "levels": ((count,), np.float32),
    }
    made = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode=mode, dtype=dtype, shape=shape)
        if mode == "w+"
        else np.load(folder / f"{name}.npy", mmap_mode=mode)
        for name, (shape, dtype) in shapes.items()
    }
    return Pool(**made)


def open_pool(folder: Path) -> Pool:
    """The finished pool of `folder`, read-only."""
    return _arrays(folder, 0, "r")


def _cut(wave: np.ndarray, rng: np.random.Generator, plain: bool) -> np.ndarray:
    """5 s of a clip: as it is and zero-padded when `plain`, else at another speed, tilt, place and level."""
    if plain:
        cut = wave[:SAMPLES]
        return np.pad(cut, (0, SAMPLES - len(cut)))
    speed = float(np.exp(rng.uniform(-0.16, 0.16)))
    positions = np.arange(0, len(wave) - 1, speed)
    wave = np.interp(positions, np.arange(len(wave)), wave).astype(np.float32)
    if len(wave) >= SAMPLES:
        start = int(rng.integers(0, len(wave) - SAMPLES + 1))
        cut = wave[start : start + SAMPLES]
    elif rng.random() < 0.3:
        # a sound that comes again, as in life, with a pause between
        period = len(wave) + int(rng.integers(0, 32_000))
        cut = np.zeros(SAMPLES, np.float32)
        for start in range(0, SAMPLES, period):
            piece = wave[: SAMPLES - start]
            cut[start : start + len(piece)] += piece
    else:
        start = int(rng.integers(0, SAMPLES - len(wave) + 1)) if rng.random() < 0.5 else 0
        cut = np.zeros(SAMPLES, np.float32)
        cut[start : start + len(wave)] = wave
    tilt = float(rng.uniform(-0.5, 0.5))
    tilted = cut.copy()
    tilted[1:] += tilt * cut[:-1]
    return tilted


def _level(wave: np.ndarray) -> float:
    loud = np.abs(wave) > 1e-3
    return float(np.sqrt(np.mean(wave[loud] ** 2))) if loud.any() else 1e-3


def _make(clips: Clips, odds: np.ndarray, seed: int, index: int, singles: int) -> tuple[np.ndarray, tuple[int, int], float]:
    rng = np.random.default_rng([seed, index])
    if index < singles:
        return _cut(clips[index], rng, True), (index, -1), 0.0
    first = int(rng.choice(len(clips), p=odds))
    wave, second, level = _cut(clips[first], rng, False), -1, 0.0
    if rng.random() < 0.6:
        second, level = int(rng.choice(len(clips), p=odds)), float(rng.uniform(-8.0, 8.0))
        other = _cut(clips[second], rng, False)
        wave = wave + other * (_level(wave) / _level(other) * 10.0 ** (level / 20.0))
    peak = float(np.abs(wave).max()) or 1.0
    return (wave / peak * rng.uniform(0.3, 1.0)).astype(np.float32), (first, second), level


def _make_wild(clips: Clips, odds: np.ndarray, seed: int, index: int) -> tuple[np.ndarray, tuple[int, int], float]:
    """One or two clips, each varied, over a texture or not; in one of eight a texture alone."""
    rng = np.random.default_rng([seed, index])
    first, second, level = -1, -1, 0.0
    if rng.random() < 0.125:
        wave = vary(texture(rng, SAMPLES), rng)
    else:
        first = int(rng.choice(len(clips), p=odds))
        wave = vary(_cut(clips[first], rng, False), rng)
        kind = rng.random()
        if kind < 0.35:
            second, level = int(rng.choice(len(clips), p=odds)), float(rng.uniform(-8.0, 8.0))
            other = vary(_cut(clips[second], rng, False), rng)
            wave = wave + other * (_level(wave) / _level(other) * 10.0 ** (level / 20.0))
        if 0.3 < kind < 0.75:
            ground = texture(rng, SAMPLES)
            wave = wave + ground * (_level(wave) / _level(ground) * 10.0 ** (rng.uniform(-35.0, 0.0) / 20.0))
    peak = float(np.abs(wave).max()) or 1.0
    return (wave / peak * rng.uniform(0.3, 1.0)).astype(np.float32), (first, second), level


def _worker(job: tuple[Path, Path, Path, np.ndarray, int, int, int, int, int, int, int]) -> int:
    source, weights, folder, odds, seed, begin, end, singles, step, count, wild_from = job
    torch.set_num_threads(1)
    clips, teacher, front = Clips(source), Teacher.load(weights), LogMel("nano")
    pool = _arrays(folder, count, "r+")
    rarer = odds**1.5 / (odds**1.5).sum()  # much of what is left is speech and music, which need no more examples
    for start in range(begin * _CHUNK, end, step * _CHUNK):
        stop = min(start + _CHUNK, end)
        made = [
            _make(clips, odds, seed, index, singles) if index < wild_from else _make_wild(clips, rarer, seed, index) for index in range(start, stop)
        ]
        waves = torch.from_numpy(np.stack([wave for wave, _, _ in made]))
        with torch.inference_mode():
            feature, logits = teacher(waves)
            pool.mels[start:stop] = front(waves).numpy().astype(np.float16)
        pool.feature[start:stop] = feature.numpy().astype(np.float16)
        pool.logits[start:stop] = logits.numpy().astype(np.float16)
        pool.clips[start:stop] = [pair for _, pair, _ in made]
        pool.levels[start:stop] = [level for _, _, level in made]
    return end


def fill(clips: Path, teacher: Path, folder: Path, count: int, seed: int, workers: int = 2, wild_from: int | None = None) -> Pool:
    """Make `count` examples in `folder`: every clip once as it is, then crops and mixtures drawn evenly over what is heard.

    The odds of a clip are one over the square root of how often its loudest tag occurs, so that rare sounds are not lost.
    Examples from `wild_from` on are varied further than recordings are; with None no example is.
    """
    if (folder / "done").exists():
        return open_pool(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _arrays(folder, count, "w+")
    singles = len(Clips(clips))
    context = multiprocessing.get_context("spawn")
    even = np.full(singles, 1.0 / singles)
    wild = count if wild_from is None else wild_from
    with context.Pool(workers) as pool:
        jobs = [(clips, teacher, folder, even, seed, w, singles, singles, workers, count, wild) for w in range(workers)]
        pool.map(_worker, jobs)
        tags = np.asarray(open_pool(folder).logits[:singles]).astype(np.float32).argmax(1)
        odds = np.bincount(tags, minlength=CLASSES)[tags] ** -0.5
        odds = odds / odds.sum()
        first = -(-singles // _CHUNK)
        jobs = [(clips, teacher, folder, odds, seed, first - 1 + w, count, singles, workers, count, wild) for w in range(workers)]
        pool.map(_worker, jobs)
    (folder / "done").touch()
    return open_pool(folder)
