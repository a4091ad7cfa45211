"""How good captions are: CIDEr-D, BLEU and ROUGE-L against several references, and text told again from its own
embedding.

The scores of pycocoevalcap (github.com/salaniz/pycocoevalcap) without Java: CIDEr-D (Vedantam et al. 2015: n = 1..4,
sigma = 6, counts clipped, times 10), BLEU over all clips together with the nearest reference's length, ROUGE-L with
beta 1.2. tests/test_caption_scores.py holds values that it gave.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mats_model.errors import UsageError, is_text
from mats_model.evaluate.words import caption_words
from mats_model.llm.prompts import CAPTION_TAG, Question, sentence
from mats_model.mats import Mats
from mats_model.tables import cells

Grams = Counter[tuple[str, ...]]
_SMALL, _TINY = 1e-9, 1e-15  # as the reference keeps a product from being 0 / 0


def _grams(text: str) -> list[Grams]:
    said = caption_words(text)
    return [Counter(tuple(said[at : at + n]) for at in range(len(said) - n + 1)) for n in (1, 2, 3, 4)]


def cider_d(answers: list[str], references: list[list[str]]) -> list[float]:
    """A score for each answer; document frequencies come from the references given, so small sets score low."""
    told = [[_grams(text) for text in some] for some in references]
    seen: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(4)]
    for some in told:
        for n in range(4):
            seen[n].update({gram for grams in some for gram in grams[n]})
    whole = math.log(max(1, len(references)))

    def weighed(grams: list[Grams]) -> list[dict[tuple[str, ...], float]]:
        return [
            {gram: count * (whole - math.log(max(1, seen[n][gram]))) for gram, count in grams[n].items()}
            for n in range(4)
        ]

    scores = []
    for answer, some in zip(answers, told, strict=True):
        mine, length = _grams(answer), len(caption_words(answer))
        vector = weighed(mine)
        norms = [math.sqrt(sum(v * v for v in each.values())) for each in vector]
        total = 0.0
        for grams in some:
            other = weighed(grams)
            closeness = math.exp(-((length - sum(grams[0].values())) ** 2) / (2 * 6.0**2))
            for n in range(4):
                norm = norms[n] * math.sqrt(sum(v * v for v in other[n].values()))
                if norm:
                    shared = sum(
                        min(value, other[n][gram]) * other[n][gram]
                        for gram, value in vector[n].items()
                        if gram in other[n]
                    )
                    total += closeness * shared / norm / 4
        scores.append(10.0 * total / max(1, len(some)))
    return scores


def rouge_l(answer: str, references: list[str], beta: float = 1.2) -> float:
    """The longest common subsequence of words, best precision and best recall over the references joined in an F
    score."""
    said = caption_words(answer)
    precision = recall = 0.0
    for reference in references:
        other = caption_words(reference)
        row = [0] * (len(other) + 1)
        for word in said:
            above = 0
            for at, match in enumerate(other, 1):
                above, row[at] = row[at], above + 1 if word == match else max(row[at], row[at - 1])
        if said and other:
            precision, recall = max(precision, row[-1] / len(said)), max(recall, row[-1] / len(other))
    if not precision or not recall:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def bleu_counts(answer: str, references: list[str]) -> np.ndarray:
    """What BLEU sums over clips (10,): words said, words of the reference nearest in length, then for n = 1..4 the
    n-grams said and those that a reference has too."""
    mine, told = _grams(answer), [_grams(text) for text in references]
    length = len(caption_words(answer))
    lengths = [sum(grams[0].values()) for grams in told]
    counts = [length, min(lengths, key=lambda other: (abs(other - length), other))]
    for n in range(4):
        most: Grams = Counter()
        for grams in told:
            most |= grams[n]
        counts += [max(0, length - n), sum((mine[n] & most).values())]
    return np.array(counts, float)


def bleu(counts: np.ndarray) -> list[float]:
    """BLEU-1 to BLEU-4 of the sums (10,) of `bleu_counts`."""
    said, other, *grams = counts.tolist()
    ratio = (said + _TINY) / (other + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for n in range(4):
        guessed, right = grams[2 * n], grams[2 * n + 1]
        product *= (right + _TINY) / (guessed + _SMALL)
        scores.append(product ** (1 / (n + 1)) * penalty)
    return scores


@dataclass(frozen=True)
class TextScores:
    """Means over clips."""

    clips: int
    cider_d: float
    rouge_l: float


def references(path: Path, clip: str, text: str, limit: int) -> list[list[str]]:
    """Captions that belong to one clip, clip by clip in the order of the file. Errors: UsageError."""
    groups: dict[str, list[str]] = {}
    for row in cells(path):
        if clip not in row or text not in row:
            raise UsageError(f"{path} has no columns {clip!r} and {text!r}; it has {', '.join(row)}.")
        if not is_text(row[text]):
            raise UsageError(f"{path}: a text of {row[clip]} is not UTF-8: leave it out, or save the file as UTF-8.")
        groups.setdefault(row[clip], []).append(row[text])
    several = [captions for captions in groups.values() if len(captions) > 1]
    if not several:
        raise UsageError(f"{path}: no two rows share a {clip!r}, so there is nothing to compare an answer with.")
    return several[:limit]


def text_to_text(mats: Mats, groups: list[list[str]]) -> Iterator[tuple[int, TextScores]]:
    """Each clip's first caption -> text side -> mapper -> language model, scored against its other captions.

    The encoder's audio side takes no part: this is the ceiling of what the model says when it hears perfectly.
    """
    answers: list[str] = []
    for at in range(0, len(groups), 16):
        answers += tell_again(mats, [some[0] for some in groups[at : at + 16]])
        if len(answers) == len(groups) or at % 64 == 48:
            others = [some[1:] for some in groups[: len(answers)]]
            cider = cider_d(answers, others)
            rouge = [rouge_l(answer, some) for answer, some in zip(answers, others, strict=True)]
            yield len(answers), TextScores(len(answers), sum(cider) / len(cider), sum(rouge) / len(rouge))


def tell_again(mats: Mats, texts: list[str], tag: str = "") -> list[str]:
    """Texts -> text side -> mapper -> language model -> a caption for each."""
    found = mats.llm.answers(
        mats.mapper.prefix(mats.clap.embed_text(texts)), Question("", tag or CAPTION_TAG), mats.config.search
    )
    return [sentence(some[0].text) for some in found]
