"""How long a run will still take: it does not jump, and it counts what is not a step."""

from __future__ import annotations

import pytest

from mats_model.training.pace import Pace
from mats_model.training.recipe import LoopSettings

SETTINGS = LoopSettings(steps=100, evaluate_every=50, sample_every=1000, save_every=10)


def test_one_slow_step_changes_little() -> None:
    pace = Pace(SETTINGS, evaluates=False)
    assert pace.left(0) == 0.0
    for _ in range(20):
        pace.step(0.1)
    before = pace.left(20)
    pace.step(30.0)  # the machine did something else
    assert before == pytest.approx(8.0) and pace.left(21) < 1.2 * before


def test_a_machine_that_grew_slower_is_believed() -> None:
    pace = Pace(SETTINGS, evaluates=False)
    for seconds in [0.1] * 10 + [0.3] * 30:
        pace.step(seconds)
    assert pace.left(40) == pytest.approx(60 * 0.25, rel=0.01)


def test_checkpoints_and_evaluations_count_apart() -> None:
    pace = Pace(SETTINGS, evaluates=True)
    for step in range(1, 51):
        pace.step(0.1)
        pace.pause(step, 8.0 if step == 50 else 1.0 if step % 10 == 0 else 0.0)
    # 50 steps, checkpoints after 60, 70, 80 and 90, a look at the end
    assert pace.left(50) == pytest.approx(5.0 + 4 * 1.0 + 8.0) and pace.left(100) == 0.0
