"""Company changes nothing: results in order, and windows embedded together with those of other threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mats_model.parallel import Together, all_threads, in_order


def test_results_come_in_the_order_of_the_items() -> None:
    def slow(number: int) -> int:
        time.sleep(0.02 * (number % 3 == 0))
        return number * number

    assert list(in_order(slow, range(20), 4)) == [number * number for number in range(20)]


def test_only_a_few_ahead() -> None:
    taken: list[int] = []

    def items() -> object:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items(), 2)  # type: ignore[arg-type, var-annotated]
    next(results)
    assert len(taken) <= 6
    results.close()  # type: ignore[attr-defined]


def test_an_error_comes_where_its_item_stands() -> None:
    def fails(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    results = in_order(fails, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_each_has_one_thread_and_the_process_is_left_as_it_was() -> None:
    had = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        told = []
        for count in in_order(lambda _: torch.get_num_threads(), range(20), 4):
            told.append(count)
            assert torch.get_num_threads() == 1
            # a language model that makes an answer of it meanwhile
            with all_threads():
                assert torch.get_num_threads() == 3
        assert told == [1] * 20 and torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 3
        # one that is not read to its end
        some = in_order(lambda number: number, range(20), 4)
        next(some)
        some.close()  # type: ignore[attr-defined]
        assert torch.get_num_threads() == 3
        # a process that was given one keeps to it
        torch.set_num_threads(1)
        with all_threads():
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(had)


class Hears:
    """Doubles waves, slowly, and remembers how many rows it was given and how many of those were nothing."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.real: list[int] = []
        self.busy = threading.Lock()

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        assert self.busy.acquire(blocking=False), "two at the same time"
        time.sleep(0.01)
        self.rows.append(len(waves))
        self.real.append(int(waves.any(-1).sum()))
        self.busy.release()
        if (waves == 13).any():
            raise RuntimeError("thirteen")
        return waves * 2


def test_windows_of_many_threads_go_together() -> None:
    hears = Hears()
    together = Together(hears, 8)
    waves = torch.arange(1, 61, dtype=torch.float32).reshape(30, 2) + 100
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(together, waves.split(3)))
    assert torch.equal(torch.cat(made), waves * 2)
    # always eight; without company each call would have had three of them
    assert set(hears.rows) == {8} and sum(hears.real) == 30 and len(hears.rows) < 10


def test_more_windows_than_rows() -> None:
    hears = Hears()
    waves = torch.ones(11, 2)
    assert torch.equal(Together(hears, 4)(waves), waves * 2) and hears.real == [4, 4, 3]


def test_an_error_reaches_everybody_who_waits_and_nobody_else() -> None:
    hears = Hears()
    together = Together(hears, 4)

    def ask(number: int) -> str:
        try:
            together(torch.full((1, 2), float(number)))
            return "made"
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(ask, range(12, 24)))
    assert said[1] == "thirteen" and said.count("made") >= 8
    assert ask(1) == "made"
