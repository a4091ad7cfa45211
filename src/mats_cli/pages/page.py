"""A page about many sounds, in one file that opens nothing else: what was heard when, seen, played and filtered."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from mats_cli.formats import SILENT, visible
from mats_cli.tracks import Mark

_HERE = Path(__file__).parent
# labels of which the page tells the hours
_HOURLY = 24
_HOUR = timedelta(hours=1)


@dataclass
class Sound:
    """One sound on the page, or the part of it from `begin` to `end`, in seconds of the file."""

    name: str
    marks: list[Mark]
    begin: float
    end: float
    picture: bytes | None = None  # a PNG of the part
    link: str | None = None  # where a browser finds the file
    audio: bytes | None = None  # the part as Ogg Opus
    began: datetime | None = None  # when the file begins, by the clock
    score: float | None = None  # of the whole part, as in a search
    error: str | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)  # what else is told of it: (of what, text)


@dataclass(frozen=True)
class Front:
    """What stands before the sounds instead of what was heard how often."""

    lead: str  # plain text below the title
    html: str  # trusted: whoever makes it escapes all that was heard or typed
    style: str = ""  # a file of this folder


def page(title: str, sounds: Iterable[Sound], about: dict[str, str], front: Front | None = None) -> str:
    """HTML. `about`: what made it, shown in the head, such as the model's id."""
    script, style = (_HERE / "page.js").read_text("utf-8"), (_HERE / "page.css").read_text("utf-8")
    if front and front.style:
        style += (_HERE / front.style).read_text("utf-8")
    data = _data(list(sounds), about)
    if front:
        data |= {"lead": visible(front.lead), "totals": [], "hours": []}
    told = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    values = {
        "title": escape(visible(title)),
        "policy": "default-src 'none'; img-src data:; media-src data: blob: file: 'self'; base-uri 'none'; "
        f"form-action 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'",
        "style": style,
        "front": front.html if front else "",
        "script": script,
        # nothing that was heard or typed can end the element that it stands in
        "data": told.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"),
    }
    shell = (_HERE / "page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], shell)


def digest(text: str) -> str:
    """By which a browser knows that the page runs what mats wrote, and nothing else."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(sounds: list[Sound], about: dict[str, str]) -> dict[str, Any]:
    """Plain values; texts, each once, by falling length of time: their place gives them their colour."""
    joined = [_joined(sound.marks) for sound in sounds]
    seconds: dict[str, float] = defaultdict(float)
    for mark in (mark for some in joined for mark in some):
        seconds[mark.text] += mark.end - mark.start
    texts = sorted(seconds, key=lambda text: (text == SILENT, -seconds[text], text))
    place = {text: number for number, text in enumerate(texts)}
    return {
        "about": about,
        "silence": place.get(SILENT, -1),
        "texts": texts,
        "totals": _totals(joined, texts, seconds),
        "hours": _hours(sounds, joined, texts),
        "sounds": [_sound(sound, some, place) for sound, some in zip(sounds, joined, strict=True)],
    }


def _joined(marks: list[Mark]) -> list[Mark]:
    """Marks that say the same and touch are one, with the best of their scores; by time."""
    open_marks: dict[str, Mark] = {}
    done: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.start, mark.end)):
        before = open_marks.get(mark.text)
        if before is not None and mark.start <= before.end + 1e-6:
            scores = [score for score in (before.score, mark.score) if score is not None]
            best = max(scores, default=None)
            open_marks[mark.text] = before._replace(end=max(before.end, mark.end), score=best)
            continue
        if before is not None:
            done.append(before)
        open_marks[mark.text] = mark
    return sorted([*done, *open_marks.values()], key=lambda mark: (mark.start, mark.end))


def _totals(joined: list[list[Mark]], texts: list[str], seconds: dict[str, float]) -> list[list[float]]:
    """For each text how often it was heard, for how many seconds, and in how many sounds."""
    counts: dict[str, int] = defaultdict(int)
    inside: dict[str, int] = defaultdict(int)
    for some in joined:
        for text in {mark.text for mark in some}:
            inside[text] += 1
        for mark in some:
            counts[mark.text] += 1
    return [[counts[text], round(seconds[text], 2), inside[text]] for text in texts]


def _hours(sounds: list[Sound], joined: list[list[Mark]], texts: list[str]) -> list[list[float]]:
    """Seconds of the first texts in each hour of the day; none where no sound says when it began."""
    if not any(sound.began for sound in sounds):
        return []
    place = {text: number for number, text in enumerate(texts[:_HOURLY])}
    table = [[0.0] * 24 for _ in place]
    for sound, some in zip(sounds, joined, strict=True):
        for mark in some:
            if sound.began is None or mark.text not in place:
                continue
            now, end = (sound.began + timedelta(seconds=seconds) for seconds in (mark.start, mark.end))
            while now < end:
                until = min(end, now.replace(minute=0, second=0, microsecond=0) + _HOUR)
                table[place[mark.text]][now.hour] += (until - now).total_seconds()
                now = until
    return [[round(seconds, 1) for seconds in row] for row in table]


def _sound(sound: Sound, marks: list[Mark], place: dict[str, int]) -> dict[str, Any]:
    """Plain values, without what is not known."""
    told = {
        "name": visible(sound.name),
        "begin": round(sound.begin, 3),
        "end": round(sound.end, 3),
        "marks": [
            [round(mark.start, 3), round(mark.end, 3), place[mark.text]]
            + ([] if mark.score is None else [round(mark.score, 3)])
            for mark in marks
        ],
        "began": sound.began.isoformat(timespec="seconds") if sound.began else None,
        "score": None if sound.score is None else round(sound.score, 3),
        "error": visible(sound.error) if sound.error else None,
        "notes": [[visible(name), visible(text)] for name, text in sound.notes] or None,
        "picture": base64.b64encode(sound.picture).decode() if sound.picture else None,
        "link": sound.link,
        "audio": base64.b64encode(sound.audio).decode() if sound.audio else None,
    }
    return {key: value for key, value in told.items() if value is not None}
