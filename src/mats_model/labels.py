"""Labels and their scores: a cosine says how well one fits, `Scales` what that means as a share or a probability."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mats_model.vectors import sigmoid, softmax


@dataclass(frozen=True)
class Label:
    """A label and its score: its share among the labels, or on its own its probability."""

    name: str
    score: float


@dataclass(frozen=True)
class Scales:
    """Cosine -> score, as the encoder was trained or measured."""

    label: float  # cosine -> logit of the softmax over labels
    multi: float  # cosine -> logit of one label's own probability
    bias: float

    def scores(self, cosines: np.ndarray, multi: bool = False) -> np.ndarray:
        """(labels,) -> (labels,): shares that sum to 1, or with `multi` a probability each."""
        return sigmoid(cosines * self.multi + self.bias) if multi else softmax(cosines * self.label)


def ranked(names: list[str], scores: Iterable[float]) -> list[Label]:
    """Labels by falling score; equal scores keep the order of the labels."""
    pairs = [Label(name, float(score)) for name, score in zip(names, scores, strict=True)]
    return sorted(pairs, key=lambda label: -label.score)
