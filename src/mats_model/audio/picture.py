"""A sound as a picture: its log-mel spectrogram as a small PNG, whatever the length of the sound."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mats_model.audio.decode import blocks
from mats_model.audio.item import AudioSource
from mats_model.audio.write import opus

SAMPLE_RATE = 24_000  # Hz, at which samples are fed
FRAME = 1024  # samples, 43 ms of them
PER_SECOND = 50  # frames
MELS = 64  # rows of the picture
MOST = 1200  # columns; a longer sound has more seconds in each
RANGE = 70.0  # dB from the loudest colour to the faintest
_FLOOR = 1e-10  # power, -100 dB
_BATCH = 256  # frames that are transformed at a time
# from paper to ink, as red, green and blue
_INKS = ((255, 255, 255), (214, 226, 244), (148, 170, 226), (118, 92, 196), (122, 34, 132), (58, 8, 66), (18, 2, 24))


@dataclass(frozen=True)
class Look:
    """A sound as it is shown: its length, its picture, and its samples for a browser."""

    seconds: float
    png: bytes
    opus: bytes | None = None  # Ogg Opus


def look(item: AudioSource, embed: bool = False) -> Look:
    """Read a sound for its picture and, with `embed`, for its audio. Errors: InputError."""
    spectrogram = Spectrogram()

    def read() -> Iterator[np.ndarray]:
        for block in blocks(item, SAMPLE_RATE):
            spectrogram.feed(block)
            yield block

    made = opus(read(), SAMPLE_RATE) if embed else None
    if not embed:
        for _ in read():
            pass
    return Look(spectrogram.seconds, spectrogram.png(), made)


class Spectrogram:
    """Fed with mono samples, block by block; memory is flat in the length of the sound."""

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        self.sample_rate, self._hop = sample_rate, max(1, sample_rate // PER_SECOND)
        self._bands = _bands(sample_rate)
        self._window = np.hanning(FRAME).astype(np.float32)
        self._held = np.zeros(FRAME // 2, np.float32)  # the first frame is centred on the first sample
        self._columns = np.zeros((0, MELS), np.float32)
        self._open, self._group = np.zeros((0, MELS), np.float32), 1  # frames of no column yet; frames in a column
        self._samples = 0

    @property
    def seconds(self) -> float:
        """How much was fed."""
        return self._samples / self.sample_rate

    def feed(self, samples: np.ndarray) -> None:
        """Samples (s,), float32."""
        self._samples += len(samples)
        self._held = np.concatenate([self._held, samples.astype(np.float32, copy=False)])
        ready = (len(self._held) - FRAME) // self._hop + 1
        if ready < 1:
            return
        frames = np.lib.stride_tricks.sliding_window_view(self._held, FRAME)[:: self._hop][:ready]
        for first in range(0, ready, _BATCH):
            spectrum = np.fft.rfft(frames[first : first + _BATCH] * self._window)
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
            # sums of bins and no product of matrices: that would start threads
            self._add(np.add.reduceat(power, self._bands, axis=1))
        self._held = self._held[ready * self._hop :]

    def _add(self, frames: np.ndarray) -> None:
        """Frames (n, MELS). The loudest of a column stands for it, so that a click is seen in an hour."""
        frames = np.concatenate([self._open, frames])
        whole = len(frames) // self._group * self._group
        self._open = frames[whole:]
        self._columns = np.concatenate([self._columns, _loudest(frames[:whole], self._group)])
        while len(self._columns) > 2 * MOST:
            even = len(self._columns) // 2 * 2
            # a last column without its pair is taken for a frame again: the next ones do not fall below it
            self._open = np.concatenate([np.repeat(self._columns[even:], self._group, 0), self._open])
            self._columns, self._group = _loudest(self._columns[:even], 2), 2 * self._group

    def levels(self) -> np.ndarray:
        """(MELS, columns) from 0, paper, to 15, ink; high tones are above."""
        columns = np.concatenate([self._columns, _loudest(self._open, max(1, len(self._open)))])
        if len(columns) > MOST:
            columns = np.concatenate([_loudest(columns[: len(columns) // 2 * 2], 2), columns[len(columns) // 2 * 2 :]])
        if not len(columns):
            return np.zeros((MELS, 1), np.uint8)
        decibels = 10.0 * np.log10(np.maximum(columns, _FLOOR))
        # one click does not make the rest faint, and noise that never ends is paper-like
        top = max(float(np.percentile(decibels, 99.5)), -40.0)
        low = max(top - RANGE, min(float(np.percentile(decibels, 10.0)), top - 30.0))
        return np.clip(np.round((decibels.T[::-1] - low) * (15.0 / (top - low))), 0, 15).astype(np.uint8)

    def png(self) -> bytes:
        """The picture, 16 colours, of MELS rows and up to MOST columns."""
        return _png(self.levels())


def _loudest(frames: np.ndarray, group: int) -> np.ndarray:
    """(n x group, MELS) -> (n, MELS)."""
    return frames.reshape(-1, group, MELS).max(1)


def _bands(sample_rate: int) -> np.ndarray:
    """The first bin of each of MELS bands, equally wide on the mel scale, up to the highest tone that is shown."""
    highest = min(sample_rate, SAMPLE_RATE) / 2
    edges = np.linspace(0.0, 2595.0 * np.log10(1.0 + highest / 700.0), MELS + 1)[:-1]
    return np.round(700.0 * (10.0 ** (edges / 2595.0) - 1.0) * FRAME / sample_rate).astype(np.intp)


def _png(levels: np.ndarray) -> bytes:
    """Levels (rows, columns) from 0 to 15 as a PNG with a palette, two pixels a byte."""
    rows, columns = levels.shape
    even = np.pad(levels, ((0, 0), (0, columns % 2)))
    packed = even[:, ::2] << 4 | even[:, 1::2]
    lines = np.pad(packed, ((0, 0), (1, 0)))  # each line begins with 0: no filter
    places = np.linspace(0.0, len(_INKS) - 1.0, 16)
    inks = np.stack([np.interp(places, np.arange(len(_INKS)), ink) for ink in zip(*_INKS, strict=True)], 1)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 4, 3, 0, 0, 0)),
            _chunk(b"PLTE", np.round(inks).astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
