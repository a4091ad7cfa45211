"""Whether a label is in words that an encoder taught in English can know: a word of another language falls into
fragments that mean nothing, and its score means nothing either.

words/english.txt holds the words, one by one, of what nano's words were taught with: UCS, AudioCaps' train captions,
MusicCaps, AudioSet's ontology, and the phrases written for it; benchmarks/english.py writes it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

from mats_model.errors import UsageError

_LIST = Path(__file__).parent / "words" / "english.txt"
_WORD = re.compile(r"[^\W\d_]{2,}")
_ENDINGS = re.compile(r"(?:ings?|ed|es|s|ers?|ly|y)$")
_SHORTEST = 4  # letters of a part of a compound: with three, too much of another language would be one


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    return frozenset(_LIST.read_text(encoding="utf-8").split())


def _known(word: str) -> bool:
    words = _words()
    if word in words:
        return True
    stem = _ENDINGS.sub("", word)
    if stem != word and len(stem) > 2:
        single = stem[:-1] if stem[-1] == stem[-2] else stem
        if stem in words or single in words or f"{stem}e" in words:
            return True
    return any(word[:at] in words and word[at:] in words for at in range(_SHORTEST, len(word) - _SHORTEST + 1))


def is_english(text: str) -> bool:
    """Whether half of its words or more are English; so is what has no words."""
    words = _WORD.findall(text.lower())
    return 2 * sum(map(_known, words)) >= len(words)


def unknown(labels: Iterable[str]) -> list[str]:
    """Those that are not English."""
    return [label for label in labels if not is_english(label)]


def without(labels: list[str], strange: Collection[str]) -> list[str]:
    """Labels less those that are `strange`. Errors: UsageError where none is left."""
    left = [label for label in labels if label not in strange]
    if labels and not left:
        raise UsageError(
            f"the labels are of no words that the encoder knows ({', '.join(labels[:3])}): write them in English, or "
            "show sounds of them."
        )
    return left
