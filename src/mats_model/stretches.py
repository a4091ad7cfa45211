"""A long recording in stretches that end where its sound changes, by level and by what is heard, never by the clock.

It is gone through twice: in short windows for where it changes, then in the encoder's own for what each stretch is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from mats_model.audio import AudioSource, blocks, source, windows
from mats_model.audio.level import GATE, level
from mats_model.audio.window import filled
from mats_model.ears import AudioInput, Ears, Stretch
from mats_model.vectors import unit

# seconds above which a recording is more than one sound
LONG = 20.0
# seconds of a window in which changes are looked for: long enough to be recognised; the next begins half of it later
SPAN = 2.0
# share of the work that finding the changes is
_SEARCH = 0.7


@dataclass(frozen=True)
class ChangeSettings:
    """When a sound is another sound; the pair of levels has a gap, so that nothing flickers."""

    other: float = 0.5  # cosine between what is heard before and after, under which it is another sound
    gate: float = GATE  # dB: louder than this is a sound
    close: float = -6.0  # dB below the gate under which it has ended, once it is that quiet for two steps


@dataclass(frozen=True)
class Heard:
    """A step of a recording: its level in dB, and the raw embedding (d,) of the window that begins there, or None."""

    level: float
    embedding: np.ndarray | None


@dataclass(frozen=True)
class Change:
    """A stretch begins at `step`; `quiet` where it holds no sound."""

    step: int
    quiet: bool


# beyond the end there is nothing to compare, and it is not quiet
_END = Heard(np.inf, None)


def changes(steps: Iterable[Heard], settings: ChangeSettings | None = None) -> Iterator[Change]:
    """Where a recording changes, told two steps later; memory is flat. Windows are two steps long.

    A change is the largest among its neighbours, since two sounds that meet are both heard in the windows between.
    """
    settings = settings or ChangeSettings()
    near: deque[Heard] = deque([_END] * 5, maxlen=5)  # of steps at-4 ... at
    unlike: deque[float] = deque([0.0] * 3, maxlen=3)  # of steps at-3 ... at-1
    quiet, last = False, 0
    for at, heard in enumerate(chain(steps, [_END] * 2)):
        near.append(heard)
        unlike.append(_unlike([near[0], near[1]], [near[3], near[4]]))
        step, levels = at - 2, [each.level for each in near][2:]
        if step < 0:
            continue
        falls = max(levels[:2]) < settings.gate + settings.close
        fades = max(levels[1:]) < settings.gate + settings.close
        if quiet:
            found = levels[0] >= settings.gate
        else:
            new = unlike[1] >= 1.0 - settings.other and unlike[1] == max(unlike) and step - last >= 2
            found = falls or (new and not fades)
        if found:
            quiet, last = falls, step
            yield Change(step, quiet)


def _unlike(before: list[Heard], after: list[Heard]) -> float:
    """1 - cosine of what two pairs of steps hold; 0 where one holds nothing."""
    sides = [[each.embedding for each in side if each.embedding is not None] for side in (before, after)]
    if not all(sides):
        return 0.0
    left, right = (unit(np.stack(side).sum(0)) for side in sides)
    return 1.0 - float(left @ right)


def hear_steps(ears: Ears, sound: AudioInput) -> Iterator[Heard]:
    """A recording step by step, each half a short window. Errors: InputError."""
    item, sample_rate = source(sound), ears.clap.sample_rate
    size = min(round(SPAN * sample_rate), ears.clap.window)
    half, last = size // 2, None
    short = (
        replace(window, samples=filled(window.samples, ears.clap.window, ears.clap.fill))
        for window in windows(item, sample_rate, size)
    )
    for step, (window, raw) in enumerate(ears.embedded(item.name, short)):
        if round(window.start * sample_rate) != step * half:
            break  # the last one, which is right-aligned and holds nothing but what the one before it does, nearly
        last = window
        yield Heard(level(window.samples[:half], sample_rate), raw)
    if last is not None:
        yield Heard(level(last.samples[half:size], sample_rate), None)


def listen_changes(ears: Ears, sound: AudioInput, settings: ChangeSettings | None = None) -> list[Stretch]:
    """A recording of more than LONG seconds in stretches that end where it changes; a shorter one as one stretch.

    Errors: InputError, when it cannot be decoded.
    """
    item = source(sound)
    if not longer(item, LONG, ears.clap.sample_rate):
        return list(ears.listen(item))
    reached = 0.0

    def searched(seconds: float) -> None:
        nonlocal reached
        reached = seconds
        if item.progress:
            item.progress(_SEARCH * seconds)

    def heard(seconds: float) -> None:
        if item.progress:
            item.progress(_SEARCH * reached + (1.0 - _SEARCH) * seconds)

    found = list(changes(hear_steps(ears, _aside(item, searched)), settings))
    half = min(round(SPAN * ears.clap.sample_rate), ears.clap.window) // 2 / ears.clap.sample_rate
    quiet = {round(change.step * half, 6) for change in found if change.quiet}
    ends = [change.step * half for change in found if change.step > 0]
    stretches = ears.listen(replace(item, progress=heard if item.progress else None), ends=ends)
    return [replace(each, embedding=None) if round(each.start, 6) in quiet else each for each in stretches]


def longer(sound: AudioInput, seconds: float, sample_rate: int) -> bool:
    """Whether a recording is longer than that; no more of it is decoded than that takes. Errors: InputError."""
    total = 0
    for block in blocks(_aside(source(sound)), sample_rate):
        total += len(block)
        if total > seconds * sample_rate:
            return True
    return False


def _aside(item: AudioSource, progress: Callable[[float], None] | None = None) -> AudioSource:
    """The same sound, of which nothing is said twice."""
    return replace(item, notes=[], missing=[], about=[], progress=progress)
