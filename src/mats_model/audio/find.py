"""What a file is, by its content: where its sound begins, in which parts it is decoded, and what is wrong with its
header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mats_model.audio import chunks, mpeg, ogg, promise
from mats_model.audio.view import Peek, Piece

# endings of what can be heard, here or by the extra `media`
SUFFIXES = frozenset(
    ".wav .wave .bwf .rf64 .bw64 .w64 .flac .ogg .oga .ogv .ogx .opus .spx .mp3 .mp2 .mp1 .mpa .aif .aiff .aifc .afc"
    " .au .snd .caf .voc .sph .nist .svx .8svx .iff .sf .ircam .paf .pvf .avr .htk .xi .sds .wve .m4a .m4b .m4r .m4v"
    " .mp4 .mov .qt .3gp .3g2 .aac .adts .latm .loas .webm .mkv .mka .wma .wmv .asf .amr .awb .ac3 .eac3 .ec3 .dts"
    " .dtshd .mlp .thd .truehd .wv .ape .mpc .mpp .tta .tak .dsf .dff .avi .mpg .mpeg .vob .m2p .ts .m2ts .mts .flv"
    " .f4v .rm .ra .rmvb .shn .qcp .mxf .nut .wtv .oma .aa3 .at3 .qoa .adx .vqf .ogm .3ga .mpga .m2a .tod .brstm"
    " .bfstm .hca .dss .bonk .rka .osq .xwma".split()
)
# endings that programs share: these files are looked into
SHARED = frozenset(".ts .mts .sf .iff .snd .ra .rm .sds .xi .htk .mpc .paf .avr .tak .afc".split())

# bytes of junk, or of the body of an answer of a web server, behind which frames of MP3 are looked for
_JUNK = 1 << 18
_HEADS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "mp4"), (4, b"moov", "mov"), (4, b"mdat", "mov"), (4, b"wide", "mov"), (4, b"free", "mov"), (4,
    b"skip", "mov"),
    (4, b"pnot", "mov"), (0, b"\x1aE\xdf\xa3", "webm"), (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wma"), (0, b"RIFF",
    "riff"),
    (0, b"RIFX", "riff"), (0, b"RF64", "rf64"), (0, b"BW64", "bw64"), (0, b"riff\x2e\x91\xcf\x11", "w64"), (0,
    b"FORM", "aiff"), (0, b"FRM8", "dff"),
    (0, b"fLaC", "flac"), (0, b"OggS", "ogg"), (0, b"caff", "caf"), (0, b".snd", "au"), (0, b"dns.", "au"), (0,
    b"Creative Voice File", "voc"),
    (0, b"NIST_1A", "nist"), (0, b"#!AMR", "amr"), (0, b"wvpk", "wavpack"), (0, b"MAC ", "ape"), (0, b"MPCK",
    "musepack"), (0, b"MP+", "musepack"),
    (0, b"TTA1", "tta"), (0, b"TTA2", "tta"), (0, b"tBaK", "tak"), (0, b"DSD ", "dsf"), (0, b"\x0b\x77", "ac3"), (0,
    b"FLV\x01", "flv"),
    (0, b"\x7f\xfe\x80\x01", "dts"), (0, b"\x00\x00\x01\xba", "mpeg"), (0, b"\x00\x00\x01\xb3", "mpeg"), (0, b".RMF",
    "rm"), (0, b".ra\xfd", "ra"),
    (0, b"ajkg", "shn"), (0, b"qoaf", "qoa"), (0, b"\x06\x0e\x2b\x34", "mxf"), (0, b"nut/multimedia", "nut"), (0,
    b"EA3\x01", "oma"),
    (0, b"TWIN", "vqf"), (0, b"DTSHDHDR", "dts"),
)  # fmt: skip


@dataclass
class Part:
    """A stretch that one decoder can hear from its beginning to its end."""

    views: list[list[Piece]]  # as they should be tried, one after the other
    plain: bool = True  # libsndfile may try
    promised: float = 0.0  # seconds that its header says, 0 where it says nothing
    spare: float = 0.25  # seconds that may be lacking nevertheless
    holes: bool = False  # sound is known to be missing in it, so that its length says nothing
    endless: bool = False  # a FLAC whose header does not know its length


@dataclass
class Content:
    """What was found; `kind` is "" where it is nothing that is known."""

    kind: str
    parts: list[Part]
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: str = ""  # why it is not even tried


def known(head: bytes) -> str:
    """The kind that the first bytes show; "" where they show none."""
    for at, magic, kind in _HEADS:
        if head.startswith(magic, at):
            return "avi" if kind == "riff" and head[8:12] == b"AVI " else kind
    if len(head) > 4 and head[0] == 0x47 and (head[188:189] in (b"\x47", b"") and len(head) > 188):
        return "mpegts"
    if len(head) > 192 and head[4] == 0x47 and head[196:197] == b"\x47":
        return "mpegts"
    if head[:2] == b"\xf0\x7e" and head[3:4] == b"\x01":
        return "sds"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    if head.startswith(b"ID3") or mpeg.frame(head[:4]):
        return "mp3"
    return ""


def sounds(head: bytes) -> bool:
    """Whether these are the first bytes of what may hold a sound; RIFF and FORM hold pictures too."""
    if head.startswith((b"RIFF", b"FORM")):
        return head[8:12] in (b"WAVE", b"AVI ", b"RMP3", b"AIFF", b"AIFC", b"8SVX", b"16SV")
    return known(head) != "" and not (
        head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"avif", b"avis", b"msf1")
    )


def is_text(head: bytes) -> bool:
    """Whether these are words."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8") if error.start > len(head) - 4 else ""
    return bool(text) and all(c.isprintable() or c.isspace() for c in text)


def look(peek: Peek) -> Content:
    """Errors: OSError."""
    size = peek.size
    at = _begin(peek)
    kind = known(peek.get(at, 512))
    if kind == "mp3" and mpeg.begins(peek, at, at + 1) < 0:
        kind = ""  # a sync word alone
    if not kind and at < size and (behind := _hidden(peek, at)) >= 0:
        at, kind = behind, "mp3"
    if not kind:
        # libsndfile would search for frames that are not there, and its MP3 decoder says so on stderr
        head = peek.get(0, 3)
        searched = head == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")
        return Content("", [Part([[(0, size)]], plain=not searched)])
    notes = (
        [f"it begins with {at} bytes that are no sound; what is behind them is heard."]
        if at and peek.get(0, 3) != b"ID3"
        else []
    )
    if kind == "mp3":
        content = _mp3(peek, at)
    elif kind == "ogg":
        content = _ogg(peek, at)
    else:
        content = _single(peek, at, kind)
    content.notes[:0] = notes
    return content


def _begin(peek: Peek) -> int:
    """Where the sound may begin: behind tags, zeros, and the header of a web server's answer."""
    at = 0
    for _ in range(16):
        before = at
        head = peek.get(at, 16)
        # zeros may be part of what follows, as in an MPEG stream
        if head[:4] == bytes(4) and not known(peek.get(at, 512)):
            at = peek.zeros(at)
        elif head.startswith((b"HTTP/1.", b"HTTP/2", b"ICY 200")):
            end = peek.find(b"\r\n\r\n", at, at + (1 << 16))
            at = end + 4 if end >= 0 else at
        elif head.startswith(b"ID3"):
            at = mpeg.tag_end(peek, at)
        if at == before:
            break
    return at if at < peek.size else 0


def _hidden(peek: Peek, at: int) -> int:
    """Where frames of MP3 begin behind junk; -1 where there are none, or the junk is words."""
    head = peek.get(at, 512)
    if is_text(head) and b"\xff" not in head:
        return -1
    return mpeg.begins(peek, at, at + _JUNK)


def _single(peek: Peek, at: int, kind: str) -> Content:
    size = peek.size
    own: list[Piece] = [(at, size)]
    content = Content(kind, [Part([own])])
    part = content.parts[0]
    if kind == "flac":
        info = peek.get(at, 42)
        if info[4:5] and info[4] & 0x7F == 0 and len(info) == 42:
            sample_rate = int.from_bytes(info[18:21], "big") >> 4
            total = (info[21] & 15) << 32 | int.from_bytes(info[22:26], "big")
            part.endless = total == 0
            part.promised, part.spare = (total / sample_rate if sample_rate else 0.0), 0.0
        return content
    if kind == "sds":
        _dump(peek, at, content)
        return content
    try:
        found = chunks.layout(peek, at)
    except chunks.Endless:
        content.refused = "is no sound: its header leads through thousands of chunks, and none of them holds any."
        return content
    if found is None:
        return content
    content.kind = kind = found.kind
    if found.form:
        # codecs that call themselves PCM: a decoder that looks inside knows better
        part.plain = not (found.tag == 1 and _hides_codec(peek, found))
    verdict = promise.judge(found, size)
    if verdict.pieces is not None:
        # lengths were measured from the beginning of the file
        part.views.insert(0, verdict.pieces)
    elif found.form and found.whole:
        # where libsndfile stumbles over another chunk: the sound alone
        claimed = found.there if found.claimed is None else min(found.claimed, found.there)
        part.views.append([found.header(claimed), (found.start, found.start + claimed)])
    content.notes += [verdict.note] if verdict.note else []
    content.missing += [verdict.missing] if verdict.missing else []
    return content


def _dump(peek: Peek, at: int, content: Content) -> None:
    """A MIDI sample dump up to its first bad block, at which libsndfile would print to stdout."""
    end = min(at + 21, peek.size)
    while len(block := peek.get(end, 127)) == 127:
        check = 0
        for value in block[1:125]:
            check ^= value
        if (block[0], block[1], block[3], block[126]) != (0xF0, 0x7E, 2, 0xF7) or check & 0x7F != block[125]:
            break
        end += 127
    if end < at + 21:
        content.refused = "is cut short in its header: there is no sound in it."
        return
    blocks, bits, length = (end - at - 21) // 127, peek.get(at + 6, 1)[0], peek.get(at + 10, 3)
    there = blocks * (40 if bits > 14 else 60 if bits > 7 else 120)
    promised = length[0] & 127 | (length[1] & 127) << 7 | (length[2] & 127) << 14
    if end < peek.size or promised > there:
        count = min(promised, there)
        right = bytes([count & 127, count >> 7 & 127, count >> 14 & 127])
        content.missing.append(
            "it is cut short or damaged: some of its blocks are not whole, and what comes after them is missing."
        )
        content.parts[0].views[0] = [(at, at + 10), right, (at + 13, end)]


def _hides_codec(peek: Peek, found: chunks.Layout) -> bool:
    """Whether PCM of a WAV is DTS, or AC-3 as it is sent through a digital cable."""
    head = peek.get(found.start, 1 << 14)
    for word in (b"\x72\xf8\x1f\x4e", b"\xff\x1f\x00\xe8", b"\xfe\x7f\x01\x80", b"\x7f\xfe\x80\x01"):
        at = head.find(word)
        if at >= 0 and head.find(word, at + 4) >= 0:
            return True
    return False


def _mp3(peek: Peek, at: int) -> Content:
    stream = mpeg.walk(peek, at)
    content = Content("mp3", [])
    for number, segment in enumerate(stream.segments):
        content.parts.append(Part([segment.view], promised=segment.samples / segment.sample_rate, spare=0.3))
        if segment.short and not stream.holes:
            promised = segment.promised * segment.samples / segment.frames / segment.sample_rate
            before = sum(each.samples / each.sample_rate for each in stream.segments[: number + 1])
            content.missing.append(
                f"its header promises {segment.promised} frames ({promised:.1f} s), of which {segment.frames} are "
                f"there: it ends at {before:.1f} s."
            )
    for seconds, count in stream.holes[:1]:
        more = f", and {len(stream.holes) - 1} such stretches later" if len(stream.holes) > 1 else ""
        content.missing.append(f"{count} bytes at {seconds:.1f} s are damaged and are passed over{more}.")
    if not content.parts:
        content.refused = "has no samples in it."
    return content


def _ogg(peek: Peek, at: int) -> Content:
    chain = ogg.walk(peek, at)
    content = Content("ogg", [])
    seconds = 0.0
    for link in _joined(chain.links):
        alone = link.codecs in (["vorbis"], ["opus"])
        length = max(0.0, (link.last - max(0, link.first)) / link.sample_rate) if link.sample_rate else 0.0
        content.parts.append(
            Part([[(link.start, link.end)]], plain=alone, promised=length if alone else 0.0, holes=bool(link.holes))
        )
        for hole in link.holes[:1]:
            more = f", and {len(link.holes) - 1} times later" if len(link.holes) > 1 else ""
            content.missing.append(f"pages are missing or damaged at {seconds + hole:.1f} s{more}.")
        seconds += link.seconds
    if chain.headless and content.parts:
        content.missing.append(
            "it begins with damaged pages, or with those of a stream whose beginning is missing; they are passed over."
        )
    if chain.cut:
        where = f" at {seconds:.1f} s" if seconds else ""
        content.missing.append(
            f"it is cut short: its last page is incomplete{where}, and what came after it is missing."
        )
    if not content.parts:
        content.parts.append(Part([[(at, peek.size)]]))
    return content


def _joined(links: list[ogg.Link]) -> Iterator[ogg.Link]:
    """Links one by one; none that has no sound."""
    for link in links:
        if link.codecs != ["theora"] and link.end > link.start:
            yield link


_NAME = re.compile(r"\.[A-Za-z0-9]{1,8}$")


def ending(name: str) -> str:
    """The ending of a file name as it is shown in a count: ".txt", or "no ending"."""
    found = _NAME.search(name)
    return found[0].lower() if found and found.start() else "no ending"
