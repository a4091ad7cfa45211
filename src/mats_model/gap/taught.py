"""Words that a user taught by descriptions alone: how much likelier one of them is heard than what is known already."""

from __future__ import annotations

import numpy as np

from mats_model.vectors import unit

# of the memory's mean variance, added to each direction, so that directions in which it hardly varies count for little
_SHRINK = 0.1
# in cosines; both measured on recordings that are there to choose by, and on phrases of twenty words
_NEARER = 0.22


def words(texts: list[str], means: np.ndarray) -> dict[str, np.ndarray]:
    """The user's own words, and what a sound becomes in which one is heard (d,), unit length; `means` (w, d)."""
    return {word: unit(mean) for word, mean in zip(texts, means.astype(np.float32), strict=True)}


class Taught:
    """`means` (w, d) of the descriptions of each word, against the texts of a memory (m, d).

    Fisher's linear discriminant: each word and the memory have a mean, and all of them the memory's covariance.
    """

    def __init__(self, means: np.ndarray, memory: np.ndarray) -> None:
        self.means, self.memory = unit(means), memory
        texts = memory.astype(np.float64)
        mean, spread = texts.mean(0), np.cov(texts.T)
        spread += _SHRINK * np.trace(spread) / len(spread) * np.eye(len(spread))
        apart = means - mean
        weights = np.linalg.solve(spread, apart.T).T
        bias = -((mean + apart / 2) * weights).sum(1)
        self.weights, self.bias = weights.astype(np.float32), bias.astype(np.float32)

    def odds(self, heard: np.ndarray) -> np.ndarray:
        """A sound (d,) -> (w,): the logarithm of how much likelier each word is than the memory, were all as common."""
        odds: np.ndarray = self.weights @ heard + self.bias
        return odds

    def place(self, heard: np.ndarray, least: float) -> int:
        """Of the word that is heard in a sound (d,), -1 where the odds of none reach `least`, or a text of the memory
        is much nearer."""
        odds = self.odds(heard)
        best = int(odds.argmax())
        if odds[best] < least:
            return -1
        # odds are against the memory as a whole: a sound that one of its texts tells plainly is no new word
        nearer = float((self.memory @ heard).max() - self.means[best] @ heard)
        return best if nearer <= _NEARER else -1
