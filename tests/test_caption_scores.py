"""Words and scores of captions against what PTBTokenizer 3.4.1 and pycocoevalcap 1.2 gave for the same sentences."""

from __future__ import annotations

import pytest

from mats_model.evaluate.metrics import bleu, bleu_counts, cider_d, rouge_l
from mats_model.evaluate.words import caption_words

REFERENCES = [
    ["a dog barks twice", "the dog is barking", "a dog barks"],
    ["rain falls on a roof", "heavy rain on a metal roof"],
    ["a man speaks while birds sing", "birds sing and a man talks"],
    ["It's raining, and a high-pitched bell doesn't stop (far away)", "a bell rings in the rain"],
]
ANSWERS = ["a dog barks", "rain on a roof", "a dog sings while a man speaks", "A bell rings; it's raining."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's raining, and the bell doesn't stop.", "it 's raining and the bell does n't stop"),
        (
            "I'm you're they've he'll she'd can't won't cannot",
            "i 'm you 're they 've he 'll she 'd ca n't wo n't can not",
        ),
        (
            "a high-pitched, clip-clopping horse/cart (far away)",
            "a high-pitched clip-clopping horse/cart -lrb- far away -rrb-",
        ),
        ("Dr. Smith vs. birds, etc. at 10:30 p.m.", "dr. smith vs. birds etc. at 10:30 p.m."),
        ("the dogs' bark… a woman’s voice “hello”", "the dogs bark a woman 's voice hello"),
        ("rock 'n' roll, 5 o'clock; y'all", "rock 'n' roll 5 o'clock y' all"),
        ("it is loud,then quiet.then gone -- 3.5 or 1,000 times", "it is loud then quiet.then gone 3.5 or 1,000 times"),
        ("gonna wanna 1/2 10-second 80's 50% & more", "gon na wan na 1/2 10-second 80 's 50 % & more"),
        ("", ""),
    ],
)
def test_words_are_those_of_the_treebank(text: str, words: str) -> None:
    assert caption_words(text) == words.split()


def test_cider_is_the_reference_s() -> None:
    golden = [4.745537895069359, 4.129754244411972, 1.9769941002368838, 1.8782630015222712]
    assert cider_d(ANSWERS, REFERENCES) == pytest.approx(golden, abs=1e-9)


def test_bleu_is_the_reference_s() -> None:
    golden = [0.849999999915, 0.7644442424898107, 0.6635707142423838, 7.77397091275943e-05]
    sums = sum(bleu_counts(*pair) for pair in zip(ANSWERS, REFERENCES, strict=True))
    assert bleu(sums) == pytest.approx(golden, abs=1e-9)  # type: ignore[arg-type]


def test_rouge_is_the_reference_s() -> None:
    each = [rouge_l(*pair) for pair in zip(ANSWERS, REFERENCES, strict=True)]
    assert sum(each) / 4 == pytest.approx(0.709864815491414, abs=1e-9)


def test_nothing_said_scores_nothing() -> None:
    assert cider_d(["", "xyz"], REFERENCES[:2]) == [0.0, 0.0] and rouge_l("", ["a dog"]) == 0.0
    assert max(bleu(bleu_counts("", ["a dog"]))) < 1e-6
