"""Which class an answer in words means, and whether it names a sound at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mats_model.errors import UsageError
from mats_model.evaluate.words import caption_words


def matched(answer: str, labels: list[str], near: np.ndarray) -> dict[str, Any]:
    """The label that an answer means: one whose words it holds in a row, else the nearest of all by `near` (labels,);
    of several it holds, the nearest."""
    said = caption_words(answer)
    held = []
    for place, label in enumerate(labels):
        words = caption_words(label)
        if any(said[at : at + len(words)] == words for at in range(len(said) - len(words) + 1)):
            held.append(place)
    best = max(held or range(len(labels)), key=lambda place: float(near[place]))
    return {"generated": labels[best], "by_words": bool(held)}


def names_it(answer: str, words: Iterable[str]) -> bool:
    """The answer holds one of the words as a whole, an ending s, es, ing, ed or e allowed after each."""
    either = "|".join(re.escape(word) for word in words)
    return re.search(rf"\b(?:{either})(?:s|es|ing|ed|e)?\b", answer.lower()) is not None


def synonyms_of(rows: Iterable[Mapping[str, str]], source: str, labels: list[str]) -> dict[str, list[str]]:
    """Rows with `label` and `words` (`;` between) -> the words by which an answer names each label. Errors:
    UsageError."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if "label" not in row or "words" not in row:
            raise UsageError(f"{source} has no columns label and words; it has {', '.join(row)}.")
        words = [word.strip().lower() for word in row["words"].split(";") if word.strip()]
        if row["label"].strip() and words:
            found[row["label"].strip()] = words
    if missing := [label for label in labels if label not in found]:
        raise UsageError(f"{source} has no words for {', '.join(missing[:5])}: give a row label,words for each label.")
    return found
