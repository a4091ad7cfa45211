"""Caption metrics against values worked out by hand or by a slower, more obvious version."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from mats_model.errors import UsageError
from mats_model.evaluate.metrics import cider_d, references, rouge_l, text_to_text
from mats_model.evaluate.words import caption_words
from mats_model.mats import Mats

REFERENCES = [
    ["a dog barks twice", "the dog is barking", "a dog barks"],
    ["rain falls on a roof", "heavy rain on a metal roof"],
    ["a man speaks while birds sing", "birds sing and a man talks"],
]


def slow_cider(answer: str, some: list[str], everything: list[list[str]]) -> float:
    """Straight from the formula, with vectors as whole dictionaries."""

    def counts(text: str, n: int) -> Counter[tuple[str, ...]]:
        said = caption_words(text)
        return Counter(zip(*(said[k:] for k in range(n)), strict=False))

    total = 0.0
    for n in (1, 2, 3, 4):
        seen = Counter(gram for group in everything for gram in set().union(*(counts(text, n) for text in group)))
        weigh = lambda c, seen=seen: {g: k * math.log(len(everything) / max(1, seen[g])) for g, k in c.items()}  # noqa: E731
        mine = weigh(counts(answer, n))
        for text in some:
            other = weigh(counts(text, n))
            dot = sum(min(mine[g], other[g]) * other[g] for g in mine.keys() & other.keys())
            size = math.sqrt(sum(v * v for v in mine.values())) * math.sqrt(sum(v * v for v in other.values()))
            length = math.exp(-((len(caption_words(answer)) - len(caption_words(text))) ** 2) / 72)
            total += length * dot / size / len(some) / 4 if size else 0.0
    return 10 * total


def test_cider_is_the_formula() -> None:
    answers = ["a dog barks", "rain on a roof", "a dog sings while a man speaks"]
    got = cider_d(answers, REFERENCES)
    assert got == pytest.approx([slow_cider(a, some, REFERENCES) for a, some in zip(answers, REFERENCES, strict=True)])
    # one that says a reference word for word beats any other, and one that shares nothing has nothing
    assert got[0] > got[1] > 0
    assert cider_d(["xyz", "xyz", "xyz"], REFERENCES) == [0.0, 0.0, 0.0]


def test_rouge_by_hand() -> None:
    assert rouge_l("a dog barks", ["a dog barks"]) == 1.0
    # common subsequence "dog barks": precision 2/3, recall 2/4
    p, r = 2 / 3, 2 / 4
    assert rouge_l("big dog barks", ["the dog barks loudly"]) == pytest.approx(2.44 * p * r / (r + 1.44 * p))
    # best precision and best recall may come from two references
    assert rouge_l("a b c", ["a b c d e f", "c x"]) == pytest.approx(2.44 * 1 * 0.5 / (0.5 + 1.44))
    assert rouge_l("", ["a"]) == 0.0 and rouge_l("x", ["a"]) == 0.0


def test_references_and_their_faults(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("clip,caption\n1,a dog\n1,the dog\n2,alone\n3,x\n3,y\n3,z\n")
    assert references(path, "clip", "caption", 9) == [["a dog", "the dog"], ["x", "y", "z"]]
    assert references(path, "clip", "caption", 1) == [["a dog", "the dog"]]
    with pytest.raises(UsageError, match="has no columns 'id' and 'caption'; it has clip, caption"):
        references(path, "id", "caption", 9)
    with pytest.raises(UsageError, match="no two rows share"):
        references(path, "caption", "clip", 9)


def test_nano_tells_a_caption_again(nano: Mats) -> None:
    groups = [["a dog barks", "a dog is barking"], ["rain falls on a roof", "heavy rain falling"]]
    (done, scores), *more = text_to_text(nano, groups)
    assert done == 2 and not more and 0.2 < scores.rouge_l <= 1 and scores.cider_d > 0
