"""How sure a figure is: a bootstrap over recordings, seeded, paired where two results are compared.

Every figure is a function of the weights of its records: all ones give the figure, the counts of a draw with
replacement give one draw of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], float]  # weights of the records (n,) -> the figure; NaN where there is none
DRAWS, SEED = 1000, 0


@dataclass(frozen=True)
class Figure:
    """A figure, its 95 % interval, and how many records it is of."""

    value: float
    low: float
    high: float
    count: int


def mean_of(values: Sequence[float] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None) -> Statistic:
    """The mean over records, those that are NaN left out; `weights` where a record stands for several."""
    each = np.asarray(values, float)
    share = np.isfinite(each) * (1.0 if weights is None else np.asarray(weights, float))
    filled = np.where(share > 0, each, 0.0)

    def mean(drawn: np.ndarray) -> float:
        used = drawn * share
        total = float(used.sum())
        return float(used @ filled) / total if total else float("nan")

    return mean


def of_sums(values: Sequence[Sequence[float]] | np.ndarray, figure: Callable[[np.ndarray], float]) -> Statistic:
    """A figure of sums over records, as BLEU and F1 are: values (n, k) -> `figure` of (k,)."""
    each = np.asarray(values, float)
    return lambda drawn: figure(drawn @ each)


def draws(groups: Sequence[str], count: int = DRAWS, seed: int = SEED) -> list[np.ndarray]:
    """Weights (n,) of `count` draws of recordings with replacement; records of one group are drawn together."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    places = np.array([names[name] for name in groups], int)
    rng, size = np.random.default_rng(seed), len(names)
    return [np.bincount(rng.integers(0, size, size), minlength=size)[places].astype(float) for _ in range(count)]


def _interval(values: list[float]) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # draws in which a figure cannot be had are NaN
        low, high = np.nanquantile(values, [0.025, 0.975]) if values else (float("nan"), float("nan"))
    return float(low), float(high)


def measured(
    statistics: Mapping[str, Statistic], groups: Sequence[str], count: int = DRAWS, seed: int = SEED
) -> dict[str, Figure]:
    """Each figure with its interval; `groups` names the recording of each record. No figure of no records."""
    ones, drawn = np.ones(len(groups)), draws(groups, count, seed)
    found = {}
    for name, statistic in statistics.items():
        value = statistic(ones)
        if np.isfinite(value):
            found[name] = Figure(value, *_interval([statistic(each) for each in drawn]), len(groups))
    return found


def paired(
    ours: Mapping[str, Statistic],
    theirs: Mapping[str, Statistic],
    groups: Sequence[str],
    count: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Figure]:
    """Ours minus theirs, both of the same records in the same order, drawn together."""
    both = {name: (lambda drawn, a=ours[name], b=theirs[name]: a(drawn) - b(drawn)) for name in ours if name in theirs}
    return measured(both, groups, count, seed)
