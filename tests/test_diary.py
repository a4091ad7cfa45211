"""The diary: when a sound is another sound, on looks made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mats_model.live.diary import TICK, Begun, Change, Diary, DiarySettings, Ended, Passed, Quiet
from mats_model.live.ring import Now
from mats_model.vectors import unit

A, B = unit(np.array([1.0, 0.2, 0.0])), unit(np.array([0.0, 0.2, 1.0]))
HALF = unit(A + 0.9 * B)  # cosine to A between `other` and `same`
LOUD, LOW = -20.0, -90.0


def run(diary: Diary, looks: list[tuple[float, np.ndarray | None]], start: float = 0.0) -> list[Change]:
    events: list[Change] = []
    for number, (loud, vector) in enumerate(looks, 1):
        events += diary.feed(start + number * TICK, Now(loud, vector), loud)
    return events


def seconds(count: float, loud: float, vector: np.ndarray | None) -> list[tuple[float, np.ndarray | None]]:
    return [(loud, vector)] * round(count / TICK)


def test_a_sound_begins_and_ends() -> None:
    looks = seconds(2, LOW, None) + seconds(6, LOUD, A) + seconds(3, LOW, None)
    assert run(Diary(), looks) == [Begun(2.0, 5.0), Ended(2.0, 8.0), Quiet(8.0)]


def test_a_short_sound_is_said_when_it_is_over() -> None:
    looks = seconds(1, LOW, None) + seconds(0.5, LOUD, A) + seconds(3, LOW, None)
    assert run(Diary(), looks) == [Begun(1.0, 1.5), Ended(1.0, 1.5), Quiet(1.5)]


def test_another_sound_without_a_pause() -> None:
    looks = seconds(6, LOUD, A) + seconds(6, LOUD, B) + seconds(2, LOW, None)
    assert run(Diary(), looks) == [Begun(0.0, 3.0), Ended(0.0, 6.0), Begun(6.0, 9.0), Ended(6.0, 12.0), Quiet(12.0)]


def test_nothing_flickers() -> None:
    """A pause shorter than `hold`, levels between the two lines, a moment of another sound, and one that is half the
    same."""
    assert float(A @ B) < 0.1 and 0.4 < float(A @ HALF) < 0.9
    pause = seconds(5, LOUD, A) + seconds(0.5, LOW, None) + seconds(5, LOUD, A)
    assert [type(event) for event in run(Diary(), pause)] == [Begun]
    between = seconds(5, LOUD, A) + seconds(5, -58.0, A) + seconds(5, LOUD, A)
    assert [type(event) for event in run(Diary(), between)] == [Begun]
    # too quiet to begin, loud enough to go on
    assert run(Diary(), seconds(5, -58.0, A)) == []
    moment = seconds(5, LOUD, A) + seconds(0.5, LOUD, B) + seconds(5, LOUD, A)
    assert [type(event) for event in run(Diary(), moment)] == [Begun]
    assert [type(event) for event in run(Diary(), seconds(5, LOUD, A) + seconds(9, LOUD, HALF))] == [Begun]


def test_the_end_of_the_stream() -> None:
    diary = Diary()
    assert run(diary, seconds(2, LOUD, A)) == [] and list(diary.finish(2.0)) == [Begun(0.0, 2.0), Ended(0.0, 2.0)]
    assert list(diary.finish(2.0)) == [] and list(Diary().finish(5.0)) == []


def test_labels_pass_once_and_rearm() -> None:
    diary = Diary(thresholds={"dog": 0.5})
    scores = [0.1, 0.6, 0.9, 0.4, 0.9] + [0.2] * 3 + [0.9] + [0.2] * 6 + [0.7]
    events = [
        event
        for number, score in enumerate(scores, 1)
        for event in diary.feed(number * TICK, Now(LOUD, A), LOUD, {"dog": score})
    ]
    assert [event for event in events if isinstance(event, Passed)] == [
        Passed(0.5, "dog", 0.6),
        Passed(4.0, "dog", 0.7),
    ]


def test_gate_may_be_moved() -> None:
    looks = seconds(5, -70.0, A)
    assert run(Diary(), looks) == [] and [type(event) for event in run(Diary(DiarySettings(gate=-75.0)), looks)] == [
        Begun
    ]


@pytest.mark.parametrize("kind", ["loud", "changing"])
def test_nothing_grows(kind: str) -> None:
    diary = Diary(thresholds={"dog": 0.5})

    def size() -> int:
        return sum(len(value) if hasattr(value, "__len__") else 1 for value in vars(diary).values())

    run(diary, seconds(100, LOUD, A))
    before = size()
    for hour in range(20):
        run(diary, seconds(50, LOUD, A if kind == "loud" or hour % 2 else B), 100 + hour * 50)
    assert size() <= before + 1
