"""A folder classified as a whole: labels learn how they sound from all its recordings (text-anchored expectation
maximisation).

Each label begins at its words and moves to the mean of the recordings that it is given; what the words say of a
recording stays in every round, so that no label drifts away. Shares of labels are not balanced: folders are uneven. A
recording's answer depends on its neighbours, which is why this is never done unasked.
"""

from __future__ import annotations

import numpy as np

from mats_model.vectors import softmax

ROUNDS = 10
_SHARP = 20.0  # cosine -> logit of the first shares
_TEMPER = 10.0  # numbers of an embedding that count as one: they do not vary on their own
_LEAST = 1e-9


def together(heard: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Recordings (n, d) and labels (l, d), unit length -> shares (n, l) that sum to 1 for each recording."""
    heard = heard.astype(np.float64)
    words = np.log(softmax(_SHARP * (heard @ labels.T.astype(np.float64))) + _LEAST**3)
    shares = np.exp(words)
    count, width = heard.shape
    for _ in range(ROUNDS):
        means = (shares.T @ heard) / (shares.sum(0)[:, None] + _LEAST)
        apart = np.square(heard).sum(1)[:, None] - 2 * heard @ means.T + np.square(means).sum(1)
        variance = float((shares * apart).sum()) / (count * width)
        shares = softmax(words - apart / (2 * _TEMPER * max(variance, _LEAST)))
    return shares
