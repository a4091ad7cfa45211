"""How loud a sound is, in dB below full scale."""

from __future__ import annotations

import numpy as np

# loudest 50 ms, in dB below full scale, under which nothing is said of a sound
GATE = -55.0
FLOOR = -120.0


def level(samples: np.ndarray, sample_rate: int) -> float:
    """The loudest 50 ms of (s, channels), in dB below full scale (a sine that fills it: -3); FLOOR for none.

    Of the loudest channel, since their mean may cancel; a constant offset is no sound.
    """
    step = max(1, round(0.05 * sample_rate))
    if not len(samples):
        return FLOOR
    channels = samples.reshape(len(samples), -1)
    channels = channels - channels.mean(0, dtype=np.float64)
    whole = len(channels) // step * step
    powers = (
        np.square(channels[:whole].reshape(-1, step, channels.shape[1])).mean(1)
        if whole
        else np.square(channels).mean(0)
    )
    return max(FLOOR, 10 * float(np.log10(max(powers.max(), 1e-12))))
