"""Ogg page by page: the links of a chain, what is in each, how long it is, and where pages are missing or damaged."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from mats_model.audio.view import Peek

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
# how the first packet of a stream begins, and its codec
_HEADS = (
    (b"\x01vorbis", "vorbis"),
    (b"OpusHead", "opus"),
    (b"Speex   ", "speex"),
    (b"\x7fFLAC", "flac"),
    (b"fishead\0", "skeleton"),
    (b"\x80theora", "theora"),
)


@dataclass
class Link:
    """One link of a chain: [start, end) of the file, and what its streams are."""

    start: int
    end: int = 0
    codecs: list[str] = field(default_factory=list)
    sample_rate: int = 0
    first: int = -1  # granule positions of its first and last pages with sound
    last: int = 0
    holes: list[float] = field(default_factory=list)  # seconds at which pages are missing or damaged

    @property
    def seconds(self) -> float:
        """What its pages say it lasts; 0 where that is not known."""
        return self.last / self.sample_rate if self.sample_rate else 0.0


@dataclass
class Chain:
    """A whole file; `cut` when its last page is not whole."""

    links: list[Link] = field(default_factory=list)
    cut: bool = False
    headless: bool = False  # pages come before any that begins a stream


def walk(peek: Peek, at: int) -> Chain:
    """All pages from `at` on. Errors: OSError."""
    chain, link, heads = Chain(), None, False
    numbers: dict[int, int] = {}
    damaged = False
    while at < peek.size:
        page = peek.get(at, 27 + 255)
        count = page[26] if len(page) >= 27 else 0
        length = 27 + count + sum(page[27 : 27 + count])
        whole = len(page) >= 27 + count and page[:4] == b"OggS" and at + length <= peek.size
        if not whole or not _right(peek.get(at, length)):
            after = peek.find(b"OggS", at + 1, peek.size)
            chain.cut = after < 0 and page[:4] == b"OggS" and not whole
            damaged = damaged or (link is not None and after >= 0)
            chain.headless = chain.headless or link is None
            if after < 0:
                break
            at = after
            continue
        flags, granule, serial, number = page[5], *struct.unpack("<qII", page[6:22])
        if flags & 2:
            if link is None or not heads:
                link = Link(at)
                chain.links.append(link)
                numbers.clear()
            heads = True
            link.codecs.append(_codec(peek.get(at, length)[27 + count :], link))
        else:
            heads = False
        chain.headless = chain.headless or link is None
        if link is not None:
            jump = serial in numbers and number != numbers[serial] + 1
            if (jump or damaged) and len(link.codecs) == 1:
                link.holes.append(link.seconds)
            damaged = False
            numbers[serial] = number
            link.end = at + length
            if granule > 0 and len(link.codecs) == 1:
                link.first = granule if link.first < 0 else link.first
                link.last = max(link.last, granule)
        at += length
    return chain


def _right(page: bytes) -> bool:
    """Whether a page's checksum fits: zlib's, over bits in the other order."""
    turned = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    value = zlib.crc32(turned, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2) == struct.unpack("<I", page[22:26])[0]


def _codec(packet: bytes, link: Link) -> str:
    for head, name in _HEADS:
        if packet.startswith(head):
            if name == "vorbis" and len(packet) >= 16:
                link.sample_rate = struct.unpack("<I", packet[12:16])[0]
            elif name == "opus":
                link.sample_rate = 48_000
            return name
    return "unknown"
