"""What a header promises beside what is there: what is decoded in place of the file as it is, and what to say of it."""

from __future__ import annotations

from dataclasses import dataclass

from mats_model.audio.chunks import CARELESS, Layout
from mats_model.audio.view import Piece

# lengths that are written while the true one is not known: FFmpeg, sox, arecord and others, each less a header
_UNKNOWN = ((0x7FFF_E000, 0x8000_0000), (0xFFFF_F000, 0xFFFF_FFFF))


@dataclass
class Verdict:
    """What is to be decoded in place of the file as it is, if anything, and what to say of it."""

    pieces: list[Piece] | None = None
    note: str | None = None
    missing: str | None = None


def judge(found: Layout, size: int) -> Verdict:
    """Compare what the header promises with what is there."""
    claimed, there = found.claimed, found.there
    if claimed is None or there <= 0:
        return Verdict()
    seconds = found.seconds(there)
    lasts = f" ({seconds:.1f} s)" if seconds else ""
    if claimed > there:
        if any(low <= claimed <= high for low, high in _UNKNOWN):
            text = (
                f"its header does not know how long it is, as where it came through a pipe; all that is there{lasts} "
                "is heard."
            )
            return Verdict(_pieces(found, size), text)
        lack = claimed - there
        if lack <= CARELESS:
            return Verdict(
                _pieces(found, size),
                f"its header says {lack} bytes of sound more than there are; all that is there{lasts} is heard.",
            )
        promised = found.seconds(claimed)
        since = f", from {seconds:.1f} s on of {promised:.1f} s" if promised else ""
        return Verdict(
            _pieces(found, size), missing=f"it is cut short: {lack} of {claimed} bytes of sound are missing{since}."
        )
    rest = there - claimed
    # sizes of 32 bits start again at 0 beyond 4 GiB, perhaps with chunks behind the sound
    if found.kind == "wav" and found.whole and rest >= 1 << 32 and rest % (1 << 32) < 1 << 20:
        return Verdict(
            _pieces(found, size), f"it is longer than its header can say (4 GiB); all that is there{lasts} is heard."
        )
    if claimed == 0 and rest > 8 and not found.follows:
        text = (
            "its header says that there is no sound in it, as where recording was interrupted; all that is "
            f"there{lasts} is heard."
        )
        return Verdict(_pieces(found, size), text)
    if rest > CARELESS and not found.follows and found.whole:
        text = (
            f"its header says {found.seconds(claimed):.1f} s, but sound goes on behind that; all that is there{lasts} "
            "is heard."
        )
        return Verdict(_pieces(found, size), text)
    return Verdict()


def _pieces(found: Layout, size: int) -> list[Piece] | None:
    """The file with a header that is right."""
    if found.form:
        return [found.header(found.there), (found.start, size)]
    if found.patch:
        at, right = found.patch
        return [(found.top, at), right, (at + len(right), size)]
    return None
