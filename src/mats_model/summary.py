"""A long recording in one sentence: its main sounds in the order of their share of time; and over time, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mats_model.ears import Stretch
from mats_model.vectors import unit

# cosine above which two stretches are the same sound
SAME = 0.6
# sounds of which a sentence tells
MAIN = 3


@dataclass
class Sound:
    """A sound that is heard in one or more stretches: seconds in all, from the first to the last of them."""

    start: float
    end: float
    seconds: float
    total: np.ndarray  # (d,) sum of its stretches' embeddings, each times its seconds
    middle: float  # mean time, in seconds

    @property
    def embedding(self) -> np.ndarray:
        """(d,), unit length."""
        return unit(self.total)


@dataclass(frozen=True)
class Said:
    """A sentence about a time, in seconds, and how well it fits; None where that is silent."""

    start: float
    end: float
    caption: str | None
    score: float | None = None


def sounds(stretches: Iterable[Stretch]) -> list[Sound]:
    """The sounds of a recording, the one with most time first; stretches that are alike are one sound."""
    found: list[Sound] = []
    for stretch in stretches:
        if stretch.embedding is None:
            continue
        seconds, middle = stretch.end - stretch.start, (stretch.start + stretch.end) / 2
        like = np.stack([sound.embedding for sound in found]) @ stretch.embedding if found else np.zeros(0)
        if len(like) and like.max() >= SAME:
            sound = found[int(like.argmax())]
            sound.middle = (sound.middle * sound.seconds + middle * seconds) / (sound.seconds + seconds)
            sound.seconds, sound.end = sound.seconds + seconds, stretch.end
            sound.total = sound.total + seconds * stretch.embedding
        else:
            found.append(Sound(stretch.start, stretch.end, seconds, seconds * stretch.embedding, middle))
    return sorted(found, key=lambda sound: -sound.seconds)


def joined(said: Iterable[Said]) -> list[Said]:
    """Neighbours that say the same are one, as sure as the surest."""
    rows: list[Said] = []
    for each in said:
        if rows and rows[-1].caption == each.caption:
            scores = [one.score for one in (rows[-1], each) if one.score is not None]
            rows[-1] = Said(rows[-1].start, each.end, each.caption, max(scores, default=None))
        else:
            rows.append(each)
    return rows


def sentence(found: Sequence[Sound], captions: Sequence[str], length: float) -> str:
    """The main ones of `found` (as `sounds` gives them), of which the first have `captions`, in a recording of `length`
    seconds: "A dog barks, later rain falls, in between a man speaks (14 sounds in 9:58)."""
    main: dict[str, Sound] = {}
    for sound, caption in zip(found, captions, strict=False):
        main.setdefault(caption.rstrip(" ."), sound)
    if len(main) == 1:
        return captions[0]
    (first, longest), *others = list(main.items())[:MAIN]
    told, where = first, ""
    for caption, sound in others:
        before, where = where, _when(sound, longest)
        told += f" and {_lower(caption)}" if where == before else f", {where} {_lower(caption)}"
    return f"{told} ({len(found)} sounds in {clock(length)})"


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any: 9:58."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _when(sound: Sound, longest: Sound) -> str:
    """By the longest sound."""
    if sound.start >= longest.end:
        return "later"
    return "before that" if sound.end <= longest.start else "in between"


def _lower(caption: str) -> str:
    """To stand within a sentence; "I" and a word in capitals stay."""
    word = caption.split(" ", 1)[0]
    return caption if word == "I" or (len(word) > 1 and word.isupper()) else caption[:1].lower() + caption[1:]
