"""Words of a caption as the scores of captions count them: those of the Penn Treebank tokenizer, without Java.

The usual scripts send captions through Stanford's PTBTokenizer (3.4.1, lower case) and drop punctuation. These rules
gave the same words for each of the 81 608 captions of AudioCaps and Clotho (development and evaluation), and for all
but 8 of the 5 521 of MusicCaps; benchmarks/treebank.py compares them where there is Java.
"""

from __future__ import annotations

import re

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_DROPPED = frozenset(".?!,:;-'`\"\u2026\u201c\u201d\u2013\u2014")
_QUOTES = str.maketrans("\u2018\u2019", "''")
_TOKEN = re.compile(
    # cannot and gonna are two words each, and so are don't and it's
    r"can(?=not\b)|gon(?=na\b)|wan(?=na\b)|got(?=ta\b)|lem(?=me\b)|gim(?=me\b)"
    r"|(?:[a-z]\.){2,}|(?:etc|mrs?|ms|dr|st|vs|jr|sr)\."
    r"|[^\W\d_]+(?=n't\b)|n't\b"
    r"|'n'|y'(?=all\b)|o'clock|[dl]'[a-z]+"
    r"|'(?:s|re|ve|ll|d|m)\b"
    r"|\d+(?:[.,:]\d+)+"
    r"|r&b\b"
    r"|[^\W_]+(?:[-/_][^\W_]+|\.[^\W\d_]+(?![.\w]))*"
    r"|[^\w\s]|_+"
)


def caption_words(text: str) -> list[str]:
    """Lower-case words, numbers and signs, without punctuation."""
    found = (match[0] for match in _TOKEN.finditer(text.lower().translate(_QUOTES)))
    return [_BRACKETS.get(token, token) for token in found if token not in _DROPPED]


def repeats(caption: str) -> bool:
    """A word of four letters or more comes twice."""
    words = [word for word in caption_words(caption) if len(word) > 3]
    return len(words) != len(set(words))
