"""What a sentence claims to have been heard, and how well the memory supports it.

A word is supported by the texts of the memory that hold it and speak of one sound: by the one that is nearest to what
was heard. A sentence is as doubtful as its most doubtful word, measured against the nearest of all those texts; words
that none of them holds count for nothing.
"""

from __future__ import annotations

import re

import numpy as np

# a text that speaks of one sound: a few words, and nothing that joins two
_SHORT = 6
_JOINS = re.compile(r"\b(and|then|as|while|with|followed|before|after|near|nearby)\b|,")
_STEM = 5  # letters that decide whether two words are one
_NO_SOUND = frozenset(
    "the and with then while for from into over that this are was its his her their some several more away down off out"
    " very them they".split()
)


def stems(text: str) -> set[str]:
    """The words of a text that may name something, cut to a few letters."""
    return {word[:_STEM] for word in re.findall(r"[a-z]{3,}", text.lower()) if word not in _NO_SOUND}


class Claims:
    """Texts (m) and their embeddings (m, d), unit length."""

    def __init__(self, texts: list[str], vectors: np.ndarray) -> None:
        rows = [row for row, text in enumerate(texts) if len(text.split()) <= _SHORT and not _JOINS.search(text)]
        self.vectors = vectors[rows].astype(np.float32)
        places: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            for stem in stems(texts[row]):
                places.setdefault(stem, []).append(place)
        self.places = {stem: np.array(some) for stem, some in places.items()}

    def __len__(self) -> int:
        """Texts that speak of one sound."""
        return len(self.vectors)

    def nearest(self, heard: np.ndarray) -> np.ndarray:
        """Sounds (n, d) -> for each the text of one sound that is nearest to it (n, d); there must be some."""
        return self.vectors[(heard @ self.vectors.T).argmax(1)]

    def doubt(self, heard: np.ndarray, sentences: list[str]) -> list[float]:
        """How much nearer to a sound (d,) the nearest text is than the nearest with a sentence's most doubtful word: 0
        is certain."""
        if not len(self):
            return [0.0] * len(sentences)
        likeness = self.vectors @ heard
        best = float(likeness.max())
        support = {
            stem: float(likeness[self.places[stem]].max())
            for text in sentences
            for stem in stems(text)
            if stem in self.places
        }
        return [
            best - min((support[stem] for stem in stems(text) if stem in support), default=best) for text in sentences
        ]
