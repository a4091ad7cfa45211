"""Sounds as files of their own: samples as a WAV, and stretches cut out of files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mats_model.audio.decode import decoded, plain
from mats_model.audio.item import AudioSource
from mats_model.errors import InputError
from mats_model.files import write


def cut(item: AudioSource, start: float, end: float, target: Path) -> None:
    """A stretch of a file, in seconds, as a WAV of its own: all channels, the file's own rate. Errors: InputError;
    OSError when it cannot be written."""
    samples, sample_rate, kind = _stretch(item, start, end)
    write_wav(target, samples, sample_rate, kind)


def between(item: AudioSource, start: float, end: float) -> tuple[np.ndarray, int]:
    """Samples (s, channels), float32, from `start` to `end` seconds of a file, and their rate. Errors: InputError."""
    samples, sample_rate, _ = _stretch(item, start, end)
    return samples, sample_rate


def _stretch(item: AudioSource, start: float, end: float) -> tuple[np.ndarray, int, str]:
    """Samples, their rate, and how a WAV should hold them. Errors: InputError, also where nothing is."""
    kind = "PCM_16"
    with plain(item) as sound:
        if sound is not None:
            sound.seek(min(sound.frames, round(start * sound.samplerate)))
            samples = sound.read(round((end - start) * sound.samplerate), dtype="float32", always_2d=True)
            sample_rate, kind = (
                sound.samplerate,
                sound.subtype if sound.subtype in ("PCM_24", "PCM_32", "FLOAT") else "PCM_16",
            )
    if sound is None:
        samples, sample_rate = _between(decoded(item), start, end)
    if not len(samples):
        raise InputError(f"{item.name} ends before {start:.1f} s: it changed since it was indexed.")
    return samples, sample_rate, kind


def opus(blocks: Iterable[np.ndarray], sample_rate: int) -> bytes:
    """Mono samples (s,) at 8, 12, 16, 24 or 48 kHz, block by block, as Ogg Opus; 24 kHz take 4 KB a second."""
    import soundfile

    made = io.BytesIO()
    with soundfile.SoundFile(made, "w", sample_rate, 1, format="OGG", subtype="OPUS") as sink:
        for block in blocks:
            sink.write(np.clip(block, -1.0, 1.0))
    return made.getvalue()


def write_wav(target: Path, samples: np.ndarray, sample_rate: int, kind: str = "PCM_16") -> None:
    """Samples (s, channels) as a WAV file, whole or not at all. Errors: OSError."""
    import soundfile

    try:
        soundfile.write(made := io.BytesIO(), samples, sample_rate, kind, format="WAV")
    except soundfile.LibsndfileError as error:
        raise OSError(None, error.error_string.strip(" ."), str(target)) from None
    write(target, made.getvalue())


def _between(blocks: Iterator[tuple[np.ndarray, int]], start: float, end: float) -> tuple[np.ndarray, int]:
    """What lies there; where rate or channels change inside, up to there."""
    parts: list[np.ndarray] = []
    at, sample_rate = 0.0, 0
    for block, own in blocks:
        first, last = round((start - at) * own), round((end - at) * own)
        if last <= 0 or (parts and (own != sample_rate or block.shape[1] != parts[0].shape[1])):
            break
        inside = block[max(0, first) : last]
        if len(inside):
            parts.append(inside)
            sample_rate = own
        at += len(block) / own
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), sample_rate
