"""WAV, RF64, BW64, W64, AIFF, CAF and AU: where the sound begins, how long its header says it is, and a header that
says it rightly."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mats_model.audio.view import Peek

# a header that says more by no more than this was careless; a file cut there has lost nothing that could be heard
CARELESS = 1024
# chunks that are looked at: a hostile file holds millions of empty ones
_CHUNKS = 4096
_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_W64_FORMAT = b"fmt \xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
# what may stand behind the sound without being a chunk
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"PK\x03\x04", b"LYRICSBEGIN")
_WHOLE = (1, 3, 6, 7)  # format tags whose frames have a size of their own: PCM, float, A-law, mu-law


class Endless(Exception):
    """More chunks than any file has, none of which is the sound."""


@dataclass
class Layout:
    """Where the sound lies, in bytes of the file."""

    kind: str
    start: int
    claimed: int | None  # None: its length is said to be unknown
    there: int  # bytes from its beginning to the end of the file
    per_second: float = 0.0
    form: bytes = b""  # the fmt chunk of the WAV family
    fact: bytes = b""
    whole: bool = False  # its form is simple enough for a header of our own
    block: int = 1
    follows: bool = False  # chunks come behind it, just where its length says
    patch: tuple[int, bytes] | None = None  # for other kinds: a length that is right, and where it belongs
    top: int = 0  # where the header begins

    @property
    def tag(self) -> int:
        """The format tag of the WAV family."""
        tag: int = struct.unpack("<H", self.form[:2])[0] if len(self.form) >= 2 else 0
        if tag == 0xFFFE and len(self.form) >= 26:
            tag = struct.unpack("<H", self.form[24:26])[0]
        return tag

    def seconds(self, count: int) -> float:
        """Of so many bytes of sound."""
        return count / self.per_second if self.per_second else 0.0

    def header(self, count: int) -> bytes:
        """A WAV header for `count` bytes of this sound."""
        form = struct.pack("<4sI", b"fmt ", len(self.form)) + self.form + b"\0" * (len(self.form) & 1)
        fact = (
            struct.pack("<4sI", b"fact", len(self.fact)) + self.fact + b"\0" * (len(self.fact) & 1)
            if self.fact and not self.whole
            else b""
        )
        body = 4 + len(form) + len(fact) + 8 + count
        if body < 0xFFFF_0000:
            return struct.pack("<4sI4s", b"RIFF", body, b"WAVE") + form + fact + struct.pack("<4sI", b"data", count)
        sizes = struct.pack("<4sIQQQI", b"ds64", 28, body + 36, count, count // self.block, 0)
        return (
            struct.pack("<4sI4s", b"RF64", 0xFFFF_FFFF, b"WAVE")
            + sizes
            + form
            + struct.pack("<4sI", b"data", 0xFFFF_FFFF)
        )


def layout(peek: Peek, at: int) -> Layout | None:
    """None where it is none of these, or the sound is not found. Errors: OSError."""
    head = peek.get(at, 40)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _riff(peek, at)
    if head[:16] == _W64:
        return _w64(peek, at)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _aiff(peek, at)
    if head[:4] == b"caff":
        return _caf(peek, at)
    if head[:4] == b".snd" and len(head) >= 24:
        return _au(peek, at, head)
    if head.startswith(b"NIST_1A"):
        return _nist(peek, at)
    if head.startswith(b"Creative Voice File"):
        return _voc(peek, at)
    return None


def _walk(peek: Peek, at: int, head: struct.Struct, even: bool) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length of what each chunk holds; chunks of an odd length are followed by a byte where they begin
    at even places.

    Errors: Endless, OSError.
    """
    for _ in range(_CHUNKS):
        data = peek.get(at, head.size)
        if len(data) < head.size:
            return
        name, length = head.unpack(data)
        at += head.size
        yield name, at, length
        if length < 0:  # to the end of the file
            return
        at += length + (length & 1 if even else 0)
    raise Endless


def _riff(peek: Peek, top: int) -> Layout | None:
    form, fact, sizes = b"", b"", b""
    for name, at, length in _walk(peek, top + 12, struct.Struct("<4sI"), True):
        if name == b"data":
            found = Layout("wav", at, length, peek.size - at, form=form, fact=fact)
            if len(sizes) >= 16 and length == 0xFFFF_FFFF:
                found.claimed = struct.unpack("<Q", sizes[8:16])[0]
            return _measured(peek, found)
        if name == b"fmt ":
            form = peek.get(at, min(length, 1 << 12))
        elif name == b"fact":
            fact = peek.get(at, min(length, 64))
        elif name == b"ds64":
            sizes = peek.get(at, min(length, 28))
    return None


def _measured(peek: Peek, found: Layout) -> Layout | None:
    """Its bytes a second, from the fmt chunk, and whether chunks follow where its length says."""
    if len(found.form) < 16:
        return None
    _, channels, sample_rate, each_second, block, bits = struct.unpack("<HHIIHH", found.form[:16])
    plain = found.tag in _WHOLE and channels and 8 <= bits <= 64 and block == channels * ((bits + 7) // 8)
    found.whole, found.block = bool(plain), block or 1
    found.per_second = sample_rate * block if plain else each_second
    if found.claimed is not None:
        found.follows = _follows(peek, found.start + found.claimed)
    return found


def _follows(peek: Peek, at: int) -> bool:
    """Whether a chunk, a tag, zeros or nothing comes at `at`, or one byte later."""
    if at > peek.size:
        return False
    for place in (at, at + 1):
        head = peek.get(place, 16)
        if len(head) < 8 or head.startswith(_TAGS) or not any(head):
            return True
        name, length = head[:4], int.from_bytes(head[4:8], "little")
        if all(32 <= c < 127 for c in name) and name[:1] != b" " and place + 8 + length <= peek.size + CARELESS:
            return True
    return False


def _w64(peek: Peek, top: int) -> Layout | None:
    at, form = top + 40, b""
    for _ in range(_CHUNKS):
        head = peek.get(at, 24)
        if len(head) < 24:
            return None
        length = struct.unpack("<Q", head[16:24])[0]
        if head[:16] == _W64_DATA:
            return _measured(peek, Layout("w64", at + 24, max(0, length - 24), peek.size - at - 24, form=form))
        if head[:16] == _W64_FORMAT:
            form = peek.get(at + 24, min(length, 1 << 12))[: max(0, length - 24)]
        at += max(24, length + 7 & ~7)
    raise Endless


def _aiff(peek: Peek, top: int) -> Layout | None:
    per_second = 0.0
    for name, at, length in _walk(peek, top + 12, struct.Struct(">4sI"), True):
        if name == b"COMM":
            common = peek.get(at, 22)
            if len(common) >= 18:
                channels, _, bits, exponent, mantissa = struct.unpack(">hIhHQ", common[:18])
                sample_rate = mantissa / 2 ** max(0, 63 - ((exponent & 0x7FFF) - 16383))
                simple = (
                    len(common) < 22
                    or peek.get(top + 8, 4) == b"AIFF"
                    or common[18:22] in (b"NONE", b"sowt", b"twos", b"fl32", b"FL32")
                )
                per_second = sample_rate * max(1, channels) * ((bits + 7) // 8) if simple and bits > 0 else 0.0
        if name == b"VHDR":
            per_second = int.from_bytes(peek.get(at + 12, 2), "big") * (2 if peek.get(top + 8, 4) == b"16SV" else 1)
        if name == b"BODY":
            return Layout("svx", at, length, peek.size - at, float(per_second))
        if name == b"SSND":
            there = peek.size - at - 8
            right = struct.pack(">I", min(0xFFFF_FFFF, there + 8))
            return Layout("aiff", at + 8, max(0, length - 8), there, per_second, patch=(at - 4, right), top=top)
    return None


def _caf(peek: Peek, top: int) -> Layout | None:
    per_second = 0.0
    for name, at, length in _walk(peek, top + 8, struct.Struct(">4sq"), False):
        if name == b"desc":
            desc = peek.get(at, 32)
            if len(desc) == 32:
                sample_rate, _, _, packet, frames = struct.unpack(">d4sIII", desc[:24])
                per_second = sample_rate * packet / frames if packet and frames and 0 < sample_rate < 1e7 else 0.0
        if name == b"data":
            there, claimed = peek.size - at, None if length < 0 else max(0, length - 4)
            return Layout(
                "caf", at + 4, claimed, there - 4, per_second, patch=(at - 8, struct.pack(">q", there)), top=top
            )
    return None


def _au(peek: Peek, top: int, head: bytes) -> Layout:
    start, length, encoding, sample_rate, channels = struct.unpack(">IIIII", head[4:24])
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding, 0)
    there = peek.size - top - start
    claimed = None if length == 0xFFFF_FFFF else length
    return Layout(
        "au",
        top + start,
        claimed,
        there,
        float(sample_rate * channels * width),
        patch=(top + 8, b"\xff\xff\xff\xff"),
        top=top,
    )


def _nist(peek: Peek, top: int) -> Layout | None:
    head = peek.get(top, 1024)
    told = {name: int(value) for name, value in re.findall(rb"(\w+) -i (\d{1,12})", head)}
    size = re.match(rb"NIST_1A\n *(\d{1,6})", head)
    each = told.get(b"channel_count", 1) * told.get(b"sample_n_bytes", 0)
    if size is None or not each or b"sample_count" not in told:
        return None
    start = top + int(size[1])
    return Layout(
        "nist", start, told[b"sample_count"] * each, peek.size - start, float(told.get(b"sample_rate", 0) * each)
    )


def _voc(peek: Peek, top: int) -> Layout | None:
    at = top + int.from_bytes(peek.get(top + 20, 2), "little")
    for _ in range(_CHUNKS):
        head = peek.get(at, 12)
        if len(head) < 4 or not head[0]:
            return None
        length = int.from_bytes(head[1:4], "little")
        if at + 4 + length > peek.size:
            return Layout("voc", at + 4, length, peek.size - at - 4)
        at += 4 + length
    raise Endless
