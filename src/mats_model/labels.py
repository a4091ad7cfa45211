"""Labels and their scores: a cosine says how well one fits, `Scales` what that means as a share or a probability."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mats_model.vectors import sigmoid, softmax

# below this probability a label does not fit: were it there, so little would be heard of it in one sound of eight
LEAST = 0.2
_SHARP = 20.0  # of the soft maximum over the names that a model knows


@dataclass(frozen=True)
class Label:
    """A label and its score: its share among the labels, or on its own its probability.

    `probability` is that of its being there at all, whatever the other labels are; None where it was not asked for.
    """

    name: str
    score: float
    probability: float | None = None


@dataclass(frozen=True)
class Scales:
    """Cosine -> score, as the encoder was trained or measured."""

    label: float  # cosine -> logit of the softmax over labels
    multi: float  # cosine -> logit of one label's own probability
    bias: float
    background: float = 0.0  # how well a sound fits all names that are known -> what that takes off this logit

    def shares(self, cosines: np.ndarray) -> np.ndarray:
        """(..., labels) -> shares that sum to 1."""
        return softmax(cosines * self.label)

    def probabilities(self, cosines: np.ndarray, background: np.ndarray | float = 0.0) -> np.ndarray:
        """Of each label on its own; `background` is that of the sound, as of the function of this name."""
        return sigmoid(cosines * self.multi - background * self.background + self.bias)


def background(embeddings: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Sounds (..., d) and the names that a model knows (n, d) -> the soft maximum of their cosines (...).

    A sound that is near to much of what is known needs more than another before a label is believed.
    """
    cosines = _SHARP * (embeddings @ names.T)
    most = cosines.max(-1)
    return (most + np.log(np.exp(cosines - most[..., None]).sum(-1))) / _SHARP


def ranked(names: Sequence[str], scores: Iterable[float], probabilities: Iterable[float] | None = None) -> list[Label]:
    """Labels by falling score; equal scores keep the order of the labels."""
    alone = [None] * len(names) if probabilities is None else [float(each) for each in probabilities]
    labels = [Label(name, float(score), own) for name, score, own in zip(names, scores, alone, strict=True)]
    return sorted(labels, key=lambda label: -label.score)


def none_fits(labels: Iterable[Label]) -> bool:
    """Whether not one of them is likely to be there."""
    return all(label.probability is not None and label.probability < LEAST for label in labels)
