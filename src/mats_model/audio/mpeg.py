"""MPEG audio (MP3, MP2) frame by frame: where frames are and where none, how many were promised, and where another rate
begins."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from mats_model.audio.view import Peek, Piece

_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBITS[2, 3] = _KBITS[2, 2]
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
# what may begin a frame: sync, a layer, a bit rate that is known, a sampling rate that is known
_BEGIN = re.compile(rb"(?=\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef])")
# places that are looked at while searching, in all: a hostile file is given up
_TRIES = 100_000
# frames that fewer may come than were promised: writers count differently
_SPARE = 10
_IN_A_ROW = 3


@dataclass(frozen=True)
class Frame:
    """One header: what stays the same through a stream, bytes, and samples."""

    key: tuple[int, int, int, int]  # version, layer, rate, channels
    length: int
    samples: int


@dataclass
class Segment:
    """Frames of one kind that follow each other, tags and junk left out."""

    sample_rate: int
    pieces: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    samples: int = 0
    head: bytes = b""  # the header of its first frame
    tag: bytes = b""  # the frame that holds no sound but says how many frames there are
    promised: int = 0

    def add(self, at: int, this: Frame) -> None:
        """One frame more."""
        last = self.pieces[-1] if self.pieces else None
        if last is not None and last[1] == at:
            self.pieces[-1] = (last[0], at + this.length)
        else:
            self.pieces.append((at, at + this.length))
        self.frames += 1
        self.samples += this.samples

    @property
    def short(self) -> bool:
        """Fewer frames came than were promised."""
        return self.promised > self.frames + _SPARE

    @property
    def view(self) -> list[Piece]:
        """What a decoder should see: a tag that is right, since libsndfile believes it, and without one guesses from
        the first frame."""
        first = frame(self.head)
        if first is None or first.key[1] != 3:
            return list(self.pieces)
        counted = self.tag if abs(self.promised - self.frames) <= _SPARE else b""
        tag = bytearray(counted or _bare(self.head))
        at = 8 + _side(first)
        size = len(tag) + sum(end - start for start, end in self.pieces)
        tag[at + 4 : at + 8] = struct.pack(">I", self.frames)
        if tag[at + 3] & 2:
            tag[at + 8 : at + 12] = struct.pack(">I", min(size, 0xFFFF_FFFF))
        return [bytes(tag), *self.pieces]


@dataclass
class Stream:
    """A whole file; `holes` are (seconds, bytes) that are neither frames nor tags nor zeros, with frames before and
    after them."""

    segments: list[Segment] = field(default_factory=list)
    holes: list[tuple[float, int]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Of all frames."""
        return sum(segment.samples / segment.sample_rate for segment in self.segments)


def frame(head: bytes) -> Frame | None:
    """Four bytes -> a frame; None where they begin none, or one of a bit rate that is not said."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, bits_index = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bits_index in (0, 15):
        return None
    sample_rate = _RATES[version][rate_index]
    bits = _KBITS[1 if version == 3 else 2, layer][bits_index - 1] * 1000
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    padding = head[2] >> 1 & 1
    length = (12 * bits // sample_rate + padding) * 4 if layer == 1 else samples // 8 * bits // sample_rate + padding
    return Frame((version, layer, sample_rate, 1 if head[3] >> 6 == 3 else 2), length, samples)


def begins(peek: Peek, at: int, limit: int) -> int:
    """Where the first frames that follow each other begin in [at, limit), or -1. Errors: OSError."""
    return _search(peek, at, limit, [0])


def _search(peek: Peek, at: int, limit: int, tries: list[int]) -> int:
    limit = min(limit, peek.size)
    while at < limit:
        block = peek.get(at, min(1 << 16, limit - at + 3))
        # what follows is looked at through the same Peek, so the block is kept here
        for found in _BEGIN.finditer(block):
            tries[0] += 1
            if tries[0] > _TRIES:
                return -1
            if at + found.start() < limit and _row(peek, at + found.start()):
                return at + found.start()
        if len(block) < 4:
            return -1
        at += len(block) - 3
    return -1


def _row(peek: Peek, at: int) -> bool:
    """Whether frames of one kind follow each other here, or two of them end the file."""
    first = None
    for count in range(_IN_A_ROW + 1):
        if count > 1 and (at >= peek.size or peek.get(at, 3) in (b"TAG", b"ID3", b"APE")):
            return True
        this = frame(peek.get(at, 4))
        if this is None or (first is not None and this.key != first.key):
            return False
        first, at = this, at + this.length
    return True


def tag_end(peek: Peek, at: int) -> int:
    """Where the tags that begin here end: ID3v2, ID3v1, APE, Lyrics3; `at` where there is none."""
    while True:
        head = peek.get(at, 32)
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
            at += 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + (10 if head[5] & 16 else 0)
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            # in front of its items, or behind them
            at += 32 + (struct.unpack("<I", head[12:16])[0] if head[23] & 0x20 else 0)
        elif head[:3] == b"TAG":
            at += 227 if head[3:4] == b"+" else 128
        else:
            return min(at, peek.size)


def walk(peek: Peek, at: int) -> Stream:
    """All frames from `at` on, which begins one. Errors: OSError."""
    stream, known, tries = Stream(), dict[bytes, Frame | None](), [0]
    current: Segment | None = None
    key: tuple[int, int, int, int] | None = None
    while at + 4 <= peek.size:
        head = peek.get(at, 4)
        if head not in known:
            known[head] = frame(head)
        this = known[head]
        if this is None or (this.key != key and not _row(peek, at)):
            end, junk = _past(peek, at, tries)
            if end < 0:
                break
            if junk and current is not None:
                stream.holes.append((stream.seconds, junk))
            at = end
            continue
        if at + this.length > peek.size and stream.segments:
            break  # the last frame is not whole
        told = _promise(peek, at, this)
        if current is None or this.key != key or told:
            current, key = Segment(this.key[2], head=head), this.key
            stream.segments.append(current)
        if told:
            current.tag, current.promised = peek.get(at, this.length), told
        else:
            current.add(at, this)
        at += this.length
    stream.segments = [segment for segment in stream.segments if segment.frames]
    return stream


def _promise(peek: Peek, at: int, this: Frame) -> int:
    """The frames that a Xing or Info header in this frame says there are; 0 where it is no such header, or does not
    say."""
    side = _side(this)
    if this.key[1] != 3 or peek.get(at + 4 + side, 4) not in (b"Xing", b"Info") or this.length < side + 20:
        return 0
    flags, frames = struct.unpack(">II", peek.get(at + 8 + side, 8).ljust(8, b"\0"))
    return frames if flags & 1 else 0


def _side(this: Frame) -> int:
    """Bytes of side information behind the header of a frame of layer III."""
    version, _, _, channels = this.key
    return (32 if channels == 2 else 17) if version == 3 else (17 if channels == 2 else 9)


def _bare(head: bytes) -> bytes:
    """A frame with a tag that says how many frames and bytes there are, for a stream without one."""
    # 128 kbit/s, or 64 in MPEG 2: long enough for the tag; no checksum, no padding
    own = bytes([head[0], head[1] | 1, (0x90 if head[1] >> 3 & 3 == 3 else 0x80) | head[2] & 0x0C, head[3]])
    this = frame(own)
    assert this is not None
    tag = own + bytes(_side(this)) + b"Xing" + struct.pack(">I", 3)
    return tag.ljust(this.length, b"\0")


def _past(peek: Peek, at: int, tries: list[int]) -> tuple[int, int]:
    """Where frames go on, or -1, and how many bytes on the way are neither zeros nor tags."""
    junk = 0
    while at < peek.size:
        end = tag_end(peek, peek.zeros(at))
        if end > at:
            at = end
            if _row(peek, at):
                return at, junk
            continue
        end = _search(peek, at + 1, peek.size, tries)
        return end, junk + end - at
    return -1, junk
