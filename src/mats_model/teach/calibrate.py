"""What a cosine means, measured on recordings that nothing was trained on: the scales of shares and probabilities.

Every recording has a label that is there, and nine of other recordings that are not, none of which means the same: a
label is there in one case of ten. Their probability is fitted by logistic regression on the label's cosine and on how
well the sound fits all that is known; the share among them by the least cross entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mats_model.config import MatsConfig
from mats_model.labels import Scales, background
from mats_model.vectors import sigmoid

OTHERS = 9
_ALIKE = 0.8  # cosine of two labels from which they mean the same
_STEPS = 50  # of Newton's method, which needs ten
_RIDGE = 1e-6


@dataclass(frozen=True)
class Trial:
    """Cosines of recordings (n,) with the label that is there, and with nine that are not (n, 9); and their background
    (n,)."""

    there: np.ndarray
    absent: np.ndarray
    background: np.ndarray

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cosine, background, and 1 where the label is there, of every pair (10 n,)."""
        cosines = np.concatenate([self.there, self.absent.ravel()])
        grounds = np.concatenate([self.background, np.repeat(self.background, self.absent.shape[1])])
        return cosines, grounds, np.repeat([1.0, 0.0], [self.there.size, self.absent.size])

    def some(self, rows: np.ndarray) -> Trial:
        """Of some recordings."""
        return Trial(self.there[rows], self.absent[rows], self.background[rows])


def draw(
    audio: np.ndarray,
    said: list[list[str]],
    embed_text: Callable[[list[str]], np.ndarray],
    names: Sequence[str],
    seed: int = 0,
) -> Trial:
    """`audio` (n, d) are the recordings, `said` the phrases that fit each, its own label first; `names` are those that
    the model knows."""
    generator = np.random.default_rng(seed)
    labels = sorted({phrases[0] for phrases in said})
    texts = embed_text(labels)
    likeness = audio @ texts.T
    there, absent = [], []
    for row, phrases in zip(likeness, said, strict=True):
        same = (texts @ embed_text(phrases).T > _ALIKE).any(1)
        others = np.flatnonzero(~same)
        there.append(row[labels.index(phrases[0])])
        absent.append(row[generator.choice(others, OTHERS, replace=False)])
    ground = background(audio, embed_text(list(names))) if names else np.zeros(len(audio))
    return Trial(np.array(there), np.stack(absent), ground)


def calibrate(trial: Trial) -> Scales:
    """Cosine -> score. Without names there is no background, and its scale is 0."""
    choices = np.concatenate([trial.there[:, None], trial.absent], 1)
    grid = np.arange(4.0, 60.0)
    losses = [float((np.log(np.exp(scale * choices).sum(1)) - scale * trial.there).mean()) for scale in grid]
    cosines, grounds, truth = trial.pairs()
    columns = np.stack([cosines, -grounds, np.ones_like(cosines)], 1)
    if not trial.background.any():
        columns[:, 1] = 0.0
    line = _logistic(columns, truth)
    return Scales(float(grid[int(np.argmin(losses))]), *(round(float(line[at]), 2) for at in (0, 2, 1)))


def calibrated(config: MatsConfig, scales: Scales) -> MatsConfig:
    """The config with these scales; its id is no longer its own."""
    return replace(
        config,
        label_scale=scales.label,
        multi_scale=scales.multi,
        multi_bias=scales.bias,
        background=scales.background,
    )


def _logistic(columns: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Logistic regression (c,) by Newton's method; a column of zeros gets 0."""
    line = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        expected = sigmoid(columns @ line)
        slope = columns.T @ (expected - truth) + _RIDGE * line
        curve = (columns * (expected * (1 - expected))[:, None]).T @ columns + _RIDGE * np.eye(len(line))
        line = line - np.linalg.solve(curve, slope)
    return line


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """ECE: how far what was said lies from how often it was true, over equal steps of what was said."""
    return sum(share * abs(said - true) for _, _, share, said, true in reliability(probabilities, truth, bins))


def reliability(
    probabilities: np.ndarray, truth: np.ndarray, bins: int = 10
) -> list[tuple[float, float, float, float, float]]:
    """For each step that is not empty: from, to, its share of the cases, the mean of what was said, how often it was
    true."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    rows = []
    for at in range(bins):
        inside = place == at
        if inside.any():
            said, true = float(probabilities[inside].mean()), float(truth[inside].mean())
            rows.append((at / bins, (at + 1) / bins, float(inside.mean()), said, true))
    return rows
