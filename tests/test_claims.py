"""What a sentence claims, and what supports it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mats_model.claims import Claims, stems
from mats_model.judge import listed
from mats_model.mats import Mats
from mats_model.vectors import unit


def test_stems_are_words_cut_short() -> None:
    assert stems("The dogs bark, and a barking dog howls") == {"dogs", "bark", "barki", "dog", "howls"}
    assert stems("") == set() and stems("and then with the") == set()


def test_a_sentence_is_as_doubtful_as_its_most_doubtful_word() -> None:
    texts = ["a dog barks", "rain falls", "a man hums and music goes on"]
    vectors = np.eye(3, dtype=np.float32)
    heard = unit(np.array([3.0, 1.0, 2.9], np.float32))
    claims = Claims(texts, vectors)
    sure, mixed, two, none = claims.doubt(heard, ["a dog barks", "a dog barks as rain falls", "music goes on", "hm"])
    assert sure == 0.0 and abs(mixed - float(heard[0] - heard[1])) < 1e-6
    # a text of two sounds supports neither; a word that no text of one sound holds counts for nothing
    assert two == 0.0 and none == 0.0
    assert Claims([], vectors).doubt(heard, ["a dog barks"]) == [0.0]
    assert (
        np.array_equal(claims.nearest(np.stack([heard, vectors[1]])), vectors[:2])
        and len(claims) == 2
        and not len(Claims([], vectors))
    )


def test_a_list_of_names_is_no_sentence() -> None:
    assert listed("male speech, man speaking") and listed("chicken, rooster") and listed("tick-tock")
    assert listed("scratching (performance technique)")
    assert not listed("a dog barks") and not listed("a man speaks, then a dog barks loudly")


def test_nothing_is_moved_without_santa(nano: Mats, dog: Path) -> None:
    heard, own = nano.embed_audio(dog)[None], nano.santa.settings
    looks: list[torch.Tensor] = []
    answers = nano.llm.answers

    def watched(prefix: torch.Tensor, *more: Any) -> Any:
        looks.append(prefix)
        return answers(prefix, *more)

    try:
        nano.llm.answers = watched  # type: ignore[method-assign]
        nano.answer(heard)
        nano.santa.cross(replace(own, way="none"))
        nano.answer(heard)
    finally:
        nano.santa.cross(own)
        del nano.llm.answers
    # with Santa also from the nearest text of one sound, without it from the sound alone
    assert [len(prefix) for prefix in looks] == [2, 1]
