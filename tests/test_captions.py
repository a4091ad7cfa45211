"""Words about sounds."""

from __future__ import annotations

from mats_model.captions import tidy
from mats_model.training.dialogues import yes_or_no


def test_tidy() -> None:
    assert tidy('  "A Dog\u2019s  bark , then rain. " ') == "a dog's bark, then rain"


def test_yes_or_no() -> None:
    asked = list(yes_or_no(["a dog barks loudly"] * 101, ["Dog", "Chicken, rooster"], 0))
    assert set(asked) <= {
        ("a dog barks loudly", thing, there) for thing, there in (("dog", True), ("chicken", False), ("rooster", False))
    }
    assert {there for _, _, there in asked} == {True, False}
    assert asked == list(yes_or_no(["a dog barks loudly"] * 101, ["Dog", "Chicken, rooster"], 0))
