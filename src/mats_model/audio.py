"""Bytes, files and streams -> mono float32 windows at the encoder's rate. The one door for decoding.

Files are read in blocks and resampled with state, so memory is flat in length and the block size changes nothing.
libsndfile decodes WAV, FLAC, OGG, Opus, MP3 and AIFF by content; PyAV (the extra `media`) decodes the rest.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mats_model.errors import InputError
from mats_model.files import write

# below this no sound survives; above it no recorder goes
RATES = (1_000, 1_536_000)
# peak under which a recording is digital silence: one step of 16 bits, -88 dB
SILENCE = 4e-5
BLOCK = 65_536
SUFFIXES = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .w64 .rf64 .caf .m4a .m4b .aac .mp4 .mov .webm .mkv .wma .3gp .amr".split()
)


@dataclass(frozen=True)
class Source:
    """A file, the bytes of one that came through a pipe, or samples as they are; `name` is what the user called it."""

    name: str
    path: Path | None = None
    data: bytes | None = None
    samples: np.ndarray | None = field(default=None, compare=False)  # (s,) or (s, channels), float32
    rate: int = 0  # of the samples
    notes: list[str] = field(default_factory=list, compare=False)  # said beside the result, not errors

    def open(self) -> Any:
        """A seekable binary handle; InputError says why there is none."""
        if self.data is not None:
            return io.BytesIO(self.data)
        assert self.path is not None
        try:
            if self.path.is_symlink() and not self.path.exists():
                raise InputError(f"{self.name} is a link to a file that is not there.")
            if self.path.is_dir():
                raise InputError(f"{self.name} is a folder, not a sound.")
            if not self.path.is_file() and self.path.exists():
                raise InputError(f"{self.name} is not a regular file; pipe it in with `-` instead.")
            return self.path.open("rb")
        except FileNotFoundError:
            raise InputError(f"{self.name} is not there; check the path.") from None
        except PermissionError:
            raise InputError(f"{self.name} may not be read; check its permissions.") from None
        except OSError as error:
            reason = "is part of a loop of links" if error.errno == 40 else f"cannot be opened ({error.strerror})"
            raise InputError(f"{self.name} {reason}.") from None


def source(thing: str | os.PathLike[str] | bytes | Source, name: str | None = None) -> Source:
    """A path or the bytes of a file as a Source."""
    if isinstance(thing, Source):
        return thing
    if isinstance(thing, bytes):
        return Source(name or "stdin", data=thing)
    return Source(name or str(thing), path=Path(thing))


def _cut_short(handle: Any, head: bytes, size: int) -> str | None:
    """What the container promises beyond its last byte, in words, or None."""
    if head[:4] in (b"RIFF", b"FORM"):
        order = "<" if head[:4] == b"RIFF" else ">"
        at = 12
        while at + 8 <= size:
            handle.seek(at)
            chunk, length = struct.unpack(order + "4sI", handle.read(8))
            # streams are written with a length of 0 or all ones, since it was not known yet
            if chunk in (b"data", b"SSND"):
                missing = at + 8 + length - size
                return f"{missing} of {length} bytes of sound are missing" if length < 0xFFFFFF00 and missing > 1 else None
            at += 8 + length + (length & 1)
    if head[:4] == b"OggS":
        handle.seek(max(0, size - 70_000))
        tail = handle.read()
        last = tail.rfind(b"OggS")
        if last >= 0:
            page = tail[last:]
            whole = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 27 else 28
            if len(page) < whole:
                return "its last page is incomplete"
    return None


def _what(head: bytes) -> str:
    """A guess at content that libsndfile did not know."""
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "webm"
    if head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11":
        return "wma"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8") if error.start > len(head) - 4 else ""
    return "text" if text and all(c.isprintable() or c.isspace() for c in text) else "unknown"


def blocks(item: Source, rate: int) -> Iterator[np.ndarray]:
    """Mono float32 samples (s,) at `rate`, block by block: the mean of the channels, never clamped.

    Errors: InputError, one sentence that names the file and says what to do.
    """
    if item.samples is not None:
        yield from _resampled(item, iter([(item.samples.reshape(len(item.samples), -1), item.rate)]), rate)
        return
    with item.open() as handle:
        size = handle.seek(0, os.SEEK_END)
        if size == 0:
            raise InputError(f"{item.name} is empty (0 bytes).")
        handle.seek(0)
        head = handle.read(512)
        short = _cut_short(handle, head, size)
        if short:
            raise InputError(f"{item.name} is cut short: {short}; copy or export it again.")
        handle.seek(0)
        yield from _resampled(item, _decoded(item, handle, head), rate)


@dataclass(frozen=True)
class Facts:
    """What a file's header says: container or codec, samples a second, channels; "" and 0 where it says nothing."""

    format: str = ""
    rate: int = 0
    channels: int = 0


def facts(item: Source) -> Facts:
    """Whether the file can be heard is for `blocks` to say. Errors: InputError when it cannot be opened."""
    import soundfile

    with item.open() as handle:
        try:
            with soundfile.SoundFile(handle) as sound:
                return Facts(sound.format.lower(), sound.samplerate, sound.channels)
        except (soundfile.LibsndfileError, OSError):
            handle.seek(0)
        try:
            import av
        except ImportError:
            return Facts()
        try:
            with av.open(handle) as container:
                stream = container.streams.audio[0]
                return Facts(container.format.name.split(",")[0], stream.rate or 0, stream.channels)
        except (av.FFmpegError, IndexError, OSError, ValueError):  # FFmpeg's errors are of many kinds, one of them EOFError
            return Facts()


def cut(item: Source, start: float, end: float, target: Path) -> None:
    """A stretch of a file, in seconds, as a WAV of its own: all channels, the file's own rate. Errors: InputError; OSError when it
    cannot be written."""
    import soundfile

    with item.open() as handle:
        try:
            with soundfile.SoundFile(handle) as sound:
                sound.seek(min(sound.frames, round(start * sound.samplerate)))
                samples = sound.read(round((end - start) * sound.samplerate), dtype="float32", always_2d=True)
                rate, kind = sound.samplerate, sound.subtype if sound.subtype in ("PCM_24", "PCM_32", "FLOAT") else "PCM_16"
        except soundfile.LibsndfileError:
            handle.seek(0)
            samples, rate, kind = *_between(_decoded(item, handle, handle.read(512)), start, end), "PCM_16"
    if not len(samples):
        raise InputError(f"{item.name} ends before {start:.1f} s: it changed since it was indexed.")
    write_wav(target, samples, rate, kind)


def write_wav(target: Path, samples: np.ndarray, rate: int, kind: str = "PCM_16") -> None:
    """Samples (s, channels) as a WAV file, whole or not at all. Errors: OSError."""
    import soundfile

    try:
        soundfile.write(made := io.BytesIO(), samples, rate, kind, format="WAV")
    except soundfile.LibsndfileError as error:
        raise OSError(None, error.error_string.strip(" ."), str(target)) from None
    write(target, made.getvalue())


def _between(decoded: Iterator[tuple[np.ndarray, int]], start: float, end: float) -> tuple[np.ndarray, int]:
    parts, at, rate = [], 0, 0
    for block, rate in decoded:
        first, last = round(start * rate) - at, round(end * rate) - at
        if last <= 0:
            break
        parts.append(block[max(0, first) : last])
        at += len(block)
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), rate


def _decoded(item: Source, handle: Any, head: bytes) -> Iterator[tuple[np.ndarray, int]]:
    """(frames, channels) float32 and the file's own rate."""
    import soundfile

    try:
        sound = soundfile.SoundFile(handle)
    except soundfile.LibsndfileError:
        kind = _what(head)
        if kind in ("mp4", "webm", "wma", "aac"):
            handle.seek(0)
            yield from _decoded_by_av(item, handle, kind)
            return
        like = "its content is text" if kind == "text" else "its content is of no known audio format"
        raise InputError(f"{item.name} is not a sound: {like}.") from None
    with sound:
        if sound.channels > 8:
            item.notes.append(f"{item.name} has {sound.channels} channels; their mean is what was heard.")
        done = 0
        try:
            while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
                done += len(block)
                yield block, sound.samplerate
        except soundfile.LibsndfileError as error:
            at = done / sound.samplerate
            raise InputError(f"{item.name} is damaged after {at:.1f} s ({error.error_string.strip(' .')}); copy or export it again.") from None
        promised = sound.frames
        # MP3 lengths are estimates; FLAC's is written in its header
        if sound.format == "FLAC" and 0 < promised < 2**62 and done < promised:
            raise InputError(f"{item.name} is cut short: {done} of {promised} samples are there; copy or export it again.")


def _decoded_by_av(item: Source, handle: Any, kind: str) -> Iterator[tuple[np.ndarray, int]]:
    try:
        import av
    except ImportError:
        raise InputError(f"{item.name} holds {kind}, which needs the extra `media`: pip install 'mats[media]'.") from None
    try:
        with av.open(handle) as container:
            if not container.streams.audio:
                raise InputError(f"{item.name} has no audio in it, only pictures.")
            for frame in container.decode(audio=0):
                block = frame.to_ndarray()
                channels = frame.layout.nb_channels
                if not frame.format.is_planar:
                    block = block.reshape(-1, channels).T
                if block.dtype.kind == "i":
                    block = block / np.float32(-float(np.iinfo(block.dtype).min))
                elif block.dtype.kind == "u":
                    block = (block.astype(np.float32) - 128.0) / 128.0
                yield np.ascontiguousarray(block.T, dtype=np.float32), frame.sample_rate
    except av.FFmpegError as error:
        raise InputError(f"{item.name} cannot be decoded ({error.strerror or error}); copy or export it again.") from None


def _resampled(item: Source, decoded: Iterator[tuple[np.ndarray, int]], rate: int) -> Iterator[np.ndarray]:
    import soxr

    stream, own, count = None, 0, 0
    for block, own_rate in decoded:
        if not own:
            own = own_rate
            if not RATES[0] <= own <= RATES[1]:
                raise InputError(f"{item.name} has a sample rate of {own} Hz; sounds between {RATES[0]} Hz and {RATES[1] // 1000} kHz can be heard.")
            if own > 384_000:
                item.notes.append(f"{item.name} is sampled at {own} Hz; what lies above {rate // 2} Hz is not heard.")
            stream = soxr.ResampleStream(own, rate, 1, dtype="float32", quality="HQ") if own != rate else None
        mono = block.mean(1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]
        if not np.isfinite(mono).all():
            first = (count + int(np.argmin(np.isfinite(mono)))) / own
            raise InputError(f"{item.name} holds NaN or infinite samples (first at {first:.2f} s); export it again.")
        count += len(mono)
        out = stream.resample_chunk(mono) if stream else mono
        if len(out):
            yield out
    if count == 0:
        raise InputError(f"{item.name} has no samples in it.")
    if stream:
        out = stream.resample_chunk(np.zeros(0, np.float32), last=True)
        if len(out):
            yield out


@dataclass(frozen=True)
class Window:
    """`samples` (s,) of one window, zero-padded, and where it lies in the file, in seconds."""

    samples: np.ndarray
    start: float
    end: float
    segment: int
    silent: bool


def windows(item: Source, rate: int, size: int, every: float | None = None, fill: str = "zeros") -> Iterator[Window]:
    """Cut a sound into windows of `size` samples, half a window apart, the last one right-aligned.

    With `every` (seconds) the sound is first cut into segments of that length and each is windowed by itself.
    What becomes of a sound shorter than a window is for its encoder to say (`fill`): zeros after it, repeats until it is full, or whole repeats
    only and then zeros.
    """
    step = max(1, round(every * rate)) if every else None
    cutter, read = _Cutter(rate, size, 0, 0, fill), 0
    for block in blocks(item, rate):
        # only what lies beyond the boundary opens a new segment, so none is empty
        while step and read + len(block) > (cutter.segment + 1) * step:
            inside = (cutter.segment + 1) * step - read
            yield from cutter.feed(block[:inside])
            yield from cutter.close()
            read, block = read + inside, block[inside:]
            cutter = _Cutter(rate, size, read, cutter.segment + 1, fill)
        yield from cutter.feed(block)
        read += len(block)
    yield from cutter.close()


class _Cutter:
    """Windows of one segment, fed piece by piece; holds at most one window and a half."""

    def __init__(self, rate: int, size: int, origin: int, segment: int, fill: str) -> None:
        self.rate, self.size, self.origin, self.segment, self.fill = rate, size, origin, segment, fill
        self.buffer = np.zeros(0, np.float32)
        self.start = 0  # of the buffer within the segment, in samples
        self.last_end = 0

    def _window(self, samples: np.ndarray, start: int) -> Window:
        length = len(samples)
        begin = self.origin + start
        silent = bool(np.abs(samples).max(initial=0.0) < SILENCE)
        padded = samples
        if length < self.size:
            if self.fill != "zeros":
                padded = np.tile(samples, self.size // length + (self.fill == "repeat"))[: self.size]
            padded = np.pad(padded, (0, self.size - len(padded)))
        self.last_end = start + length
        return Window(padded, begin / self.rate, (begin + length) / self.rate, self.segment, silent)

    def feed(self, samples: np.ndarray) -> Iterator[Window]:
        self.buffer = np.concatenate([self.buffer, samples]) if len(self.buffer) else samples
        at = self.last_end - self.size // 2 - self.start if self.last_end else 0
        while at + self.size <= len(self.buffer):
            yield self._window(self.buffer[at : at + self.size], self.start + at)
            at += self.size // 2
        # the last window may reach back a whole window from the end
        keep = max(0, len(self.buffer) - self.size)
        drop = min(keep, max(0, at))
        self.buffer = self.buffer[drop:].copy()
        self.start += drop

    def close(self) -> Iterator[Window]:
        end = self.start + len(self.buffer)
        if end > self.last_end:
            tail = self.buffer[-self.size :]
            yield self._window(tail, end - len(tail))
