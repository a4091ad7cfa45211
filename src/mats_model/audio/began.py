"""When a recording began, by the clock: from its header (BWF) or from its name, as recorders write it."""

from __future__ import annotations

import re
import struct
from datetime import datetime, timezone
from pathlib import PurePath
from typing import Any

from mats_model.audio.item import AudioSource
from mats_model.errors import InputError

# chunks before the sound that are looked at
_CHUNKS = 64
# description, originator and its reference stand before the date in a bext chunk
_DATE, _LENGTH = 320, 18
_TIME = r"(\d\d)[-.:_]?(\d\d)[-.:_]?(\d\d)(Z?)(?!\d)"
_NAMES = (
    # 20230105_063000 (AudioMoth, Song Meter, iPhone), 2023-01-05T06-30-00
    re.compile(rf"(?<!\d)((?:19|20)\d\d)-?(\d\d)-?(\d\d)[ _T-]{_TIME}"),
    # 230105-063000 (Zoom)
    re.compile(rf"(?<!\d)(\d\d)(\d\d)(\d\d)[_-]{_TIME}"),
)


def began(item: AudioSource) -> datetime | None:
    """Local time of the recorder, or UTC where a Z says so; None where neither header nor name tells."""
    return _of_header(item) or of_name(PurePath(item.path or item.name).name)


def of_name(name: str) -> datetime | None:
    """A date and a time in a file's name."""
    for pattern in _NAMES:
        for found in pattern.finditer(name):
            year, month, day, hour, minute, second = (int(each) for each in found.groups()[:6])
            zone = timezone.utc if found[7] else None
            try:
                return datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second, tzinfo=zone)
            except ValueError:
                continue  # digits that are no date
    return None


def _of_header(item: AudioSource) -> datetime | None:
    """The origination date and time of a broadcast WAV."""
    if item.samples is not None:
        return None
    try:
        with item.open() as handle:
            written = _bext(handle)
    except (InputError, OSError):
        return None
    digits = re.fullmatch(rb"(\d{4})[^\d](\d\d)[^\d](\d\d)(\d\d)[^\d](\d\d)[^\d](\d\d)", written)
    if digits is None:
        return None
    try:
        return datetime(*(int(each) for each in digits.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None


def _bext(handle: Any) -> bytes:
    """Date and time as they stand in the chunk of that name; nothing where there is none before the sound."""
    head = handle.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return b""
    for _ in range(_CHUNKS):
        chunk = handle.read(8)
        if len(chunk) < 8 or chunk[:4] == b"data":
            return b""
        size = struct.unpack("<I", chunk[4:])[0]
        if chunk[:4] == b"bext":
            return bytes(handle.read(_DATE + _LENGTH)[_DATE:])
        handle.seek(size + size % 2, 1)
    return b""
