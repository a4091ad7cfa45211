"""The page about a training run: what it tells, and that it opens nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mats_cli.pages.training import _points, _thinned, _ticks, training_page

STEPS: list[dict[str, Any]] = [
    {"kind": "step", "step": n, "steps": 100, "loss": 4 - n / 50, "learning_rate": 1e-3, "examples": 50.0,
     "gradient": 1.0, "left": 90.0}
    for n in range(10, 60, 10)
]  # fmt: skip
LOOKS: list[dict[str, Any]] = [
    {"kind": "evaluated", "step": 25, "loss": 3.9, "best": True, "rouge_l": 0.25},
    {"kind": "sample", "step": 25, "heard": "a <b>dog</b>", "wanted": "a dog", "answer": "{{style}} rain"},
    {"kind": "sample", "step": 50, "heard": "a cat", "wanted": "a cat", "answer": "a cat meows"},
]


def test_it_tells_where_the_run_stands() -> None:
    page = training_page("mine", ["from nano", "on cpu"], STEPS + LOOKS, done=False)
    assert "50 of 100" in page and "3.000" in page and "3.900 (step 25)" in page and "2 min" in page
    assert 'http-equiv="refresh"' in page and page.count("<polyline") == 2 and page.count("<circle") == 1
    assert page.index("a cat meows") < page.index("<details>") < page.index("{{style}} rain")
    assert "a &lt;b&gt;dog&lt;/b&gt;" in page and "<b>" not in page
    done = training_page("mine", [], STEPS + LOOKS, done=True)
    assert "refresh" not in done and "<dd>done</dd>" in done


def test_it_opens_nothing_and_runs_nothing() -> None:
    page = training_page("mine", [], STEPS, done=False)
    assert "default-src 'none'" in page and "<script" not in page and "://" not in page and " style=" not in page
    assert re.search(r"style-src 'sha256-[\w+/]+=*'", page)


def test_nothing_is_there_yet() -> None:
    page = training_page("mine", [], [], done=False)
    assert page.count("No step was reported yet.") == 2 and "<svg" not in page


def test_a_long_run_is_drawn_by_its_means() -> None:
    rows = [{"step": n, "loss": float(n % 2)} for n in range(4000)]
    line = _thinned(_points(rows))
    assert len(line) == 400 and {loss for _, loss in line} == {0.5} and line[-1][0] == 3999
    assert _points([{"step": 1, "loss": float("nan")}]) == []


@pytest.mark.parametrize(("values", "ticks"), [([0.2, 3.9], [0, 1, 2, 3, 4]), ([2.0], [2.0, 2.00025])])
def test_axes_have_round_numbers(values: list[float], ticks: list[float]) -> None:
    low, high, found = _ticks(values)
    assert low <= min(values) and high >= max(values) and low < high and found == pytest.approx(ticks)
