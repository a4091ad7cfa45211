"""Samples as they were decoded -> mono float32 at the encoder's rate: the channels' mean, or the louder one where they
cancel; no offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mats_model.audio.item import AudioSource
from mats_model.errors import InputError

Blocks = Iterator[tuple[np.ndarray, int]]  # (frames, channels) float32, and samples a second

# below this no sound survives; above it no recorder goes
RATES = (1_000, 1_536_000)
# peak under which a recording is digital silence, whatever its offset: one step of 16 bits, -88 dB
SILENCE = 4e-5
# seconds under which nobody could say what a sound is
LEAST = 0.05
# the mean of the channels is as good as gone, and as good as back, in dB below the loudest of them
CANCELLED, BACK = -20.0, -10.0


def heard_at(item: AudioSource, heard: Blocks, sample_rate: int) -> Iterator[np.ndarray]:
    """Blocks of any size -> mono (s,) at `rate`; what is odd about them is said to the item. Errors: InputError."""
    yield from _resampled(item, _mixed(item, _seconds(item, heard)), sample_rate)


def _seconds(item: AudioSource, heard: Blocks) -> Blocks:
    """The same in blocks of one second, so that what is decided for each does not depend on how they were read."""
    waiting: list[np.ndarray] = []
    count, own = 0, 0
    for block, sample_rate in heard:
        if not RATES[0] <= sample_rate <= RATES[1]:
            raise InputError(
                f"{item.name} has a sample rate of {sample_rate} Hz; sounds between {RATES[0]} Hz and "
                f"{RATES[1] // 1000} kHz can be heard."
            )
        if waiting and (sample_rate != own or block.shape[1] != waiting[0].shape[1]):
            yield np.concatenate(waiting), own
            waiting, count = [], 0
        own = sample_rate
        waiting.append(block)
        count += len(block)
        if count < own:
            continue
        joined = np.concatenate(waiting) if len(waiting) > 1 else block
        for at in range(0, count - own + 1, own):
            yield joined[at : at + own], own
        waiting = [joined[count - count % own :]] if count % own else []
        count %= own
    if count:
        yield np.concatenate(waiting), own


@dataclass
class _Mix:
    """Which channel is heard: None is the mean of all; and whether the last second was nothing but an offset."""

    channel: int | None = None
    flat: bool = False

    def choose(self, block: np.ndarray, mono: np.ndarray) -> None:
        """Where the mean of (s, channels) is far below the loudest of them, hear that one until the mean is back."""
        if float(np.abs(mono).max()) > 1e15:
            return  # its square is no number
        count = len(block)
        here = float(mono @ mono) / count - float(mono.mean()) ** 2
        flat = block.reshape(-1)
        # no channel is louder than all of them together, so most sounds need no closer look
        if self.channel is None and here * 10 ** (-CANCELLED / 10) > float(flat @ flat) / count:
            return
        power = np.einsum("sc,sc->c", block, block) / count - np.square(block.mean(0))
        loudest = float(power.max())
        if loudest < SILENCE**2:
            return
        left = 10 * np.log10(max(here, 1e-20) / loudest)
        if self.channel is not None and (left > BACK or power[self.channel] < loudest / 4):
            self.channel = None
        if self.channel is None and left <= CANCELLED:
            self.channel = int(power.argmax())

    def level(self, mono: np.ndarray, own: int, low: float, high: float) -> np.ndarray:
        """A constant offset is no sound: a second of nothing else is zeros."""
        if len(mono) >= LEAST * own:
            self.flat = high - low < 2 * SILENCE
        middle = (low + high) / 2
        return mono - np.float32(middle) if self.flat and high - low < 2 * SILENCE and abs(middle) >= SILENCE else mono


def _mean(block: np.ndarray) -> np.ndarray:
    """(s, channels) -> (s,)."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is said by the caller
        if block.shape[1] == 2:  # the same as mean, and faster
            mono: np.ndarray = (block[:, 0] + block[:, 1]) / np.float32(2)
            return mono
        return block.mean(1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]


def _mixed(item: AudioSource, heard: Blocks) -> Blocks:
    """Mono (s,) and samples a second."""
    mix, count, seconds, channels = _Mix(), 0, 0.0, 0
    for block, own in heard:
        if block.shape[1] != channels:
            mix.channel, channels = None, block.shape[1]
        mono = _mean(block)
        low, high = float(mono.min()), float(mono.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            first = seconds + int(np.argmin(np.isfinite(mono))) / own
            raise InputError(f"{item.name} holds NaN or infinite samples (first at {first:.2f} s); export it again.")
        if channels > 1:
            before = mix.channel
            mix.choose(block, mono)
            if mix.channel is not None:
                mono = np.ascontiguousarray(block[:, mix.channel])
                low, high = float(mono.min()), float(mono.max())
                if before is None:
                    item.say(
                        f"from {seconds:.1f} s on its channels cancel each other: their mean is {-CANCELLED:.0f} dB "
                        "below the loudest or less,"
                        f" so channel {mix.channel + 1} is heard there."
                    )
        count += len(mono)
        yield mix.level(mono, own, low, high), own
        seconds += len(mono) / own


def _resampled(item: AudioSource, heard: Blocks, sample_rate: int) -> Iterator[np.ndarray]:
    import soxr

    stream, own, seconds = None, 0, 0.0
    nothing = np.zeros(0, np.float32)
    for mono, own_rate in heard:
        if own_rate != own:
            if stream is not None and len(rest := stream.resample_chunk(nothing, last=True)):
                yield rest
            own = own_rate
            if own > 384_000:
                item.say(f"it is sampled at {own} Hz; what lies above {sample_rate // 2} Hz is not heard.")
            stream = (
                soxr.ResampleStream(own, sample_rate, 1, dtype="float32", quality="HQ") if own != sample_rate else None
            )
        seconds += len(mono) / own
        out = stream.resample_chunk(mono) if stream else mono
        if len(out):
            yield out
    if not seconds:
        raise InputError(f"{item.name} has no samples in it.")
    if seconds < LEAST - 0.5 / own:
        raise InputError(
            f"{item.name} lasts {int(seconds * 1000)} ms, which is too short to say what it is: give "
            f"{LEAST * 1000:.0f} ms or more."
        )
    if stream is not None and len(rest := stream.resample_chunk(nothing, last=True)):
        yield rest
