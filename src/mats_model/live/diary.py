"""What happens in a stream that never ends: an entry each time the sound changes, by its level and by what is heard,
not by a clock.

All state is bounded: a diary runs for days.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mats_model.audio.level import GATE
from mats_model.live.ring import Now
from mats_model.vectors import unit

# seconds between two looks
TICK = 0.25


@dataclass(frozen=True)
class DiarySettings:
    """When a sound is another sound. Each pair has a gap between its lines, so that nothing flickers."""

    gate: float = GATE  # dB: louder than this is a sound
    close: float = -6.0  # dB below the gate under which it has ended
    hold: float = 1.0  # seconds that it may be that quiet before it has ended
    listen: float = 3.0  # seconds of a sound that are heard before it is said what it is, unless it is over sooner
    settle: float = 1.0  # seconds that another sound must last
    other: float = 0.4  # cosine to the sound so far under which it is another one
    same: float = 0.5  # cosine above which it is the same after all
    rearm: float = 0.6  # share of its threshold under which a label may start its command again
    rest: float = 1.0  # seconds that it must stay there


@dataclass(frozen=True)
class Begun:
    """A sound has begun, at `start` seconds from the beginning; until `heard` enough of it came to say what it is."""

    start: float
    heard: float


@dataclass(frozen=True)
class Quiet:
    """There has been no sound since `start`."""

    start: float


@dataclass(frozen=True)
class Passed:
    """A label came over its threshold."""

    time: float
    label: str
    score: float


@dataclass(frozen=True)
class Ended:
    """The sound that began at `start` is over, or has become another one."""

    start: float
    end: float


Change = Begun | Quiet | Passed | Ended


@dataclass
class _Armed:
    """A label's threshold, and whether it may start anything."""

    threshold: float
    armed: bool = True
    low_since: float | None = None


@dataclass
class Diary:
    """`feed` it one look after the other; `thresholds` are the least probabilities of labels that are watched."""

    settings: DiarySettings = field(default_factory=DiarySettings)
    thresholds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._watched = {name: _Armed(threshold) for name, threshold in self.thresholds.items()}
        self._recent: deque[np.ndarray] = deque(maxlen=max(1, round(self.settings.settle / TICK)))
        self._start: float | None = None  # of the sound, if there is one
        self._like: np.ndarray | None = None  # (d,) running mean of it, once it was said
        self._low_since: float | None = None
        self._other_since: float | None = None

    def feed(self, time: float, now: Now, loud: float, scores: dict[str, float] | None = None) -> Iterator[Change]:
        """One look at `time` (seconds, its end): what was heard in the last two seconds, the level of the last tick
        alone, and the probabilities of the labels."""
        yield from self._labels(time, scores or {})
        low = loud < self.settings.gate + (self.settings.close if self._start is not None else 0.0)
        if self._start is None:
            if low:
                return
            self._start, self._like = time - TICK, None
            self._recent.clear()
        self._low_since = (self._low_since if self._low_since is not None else time - TICK) if low else None
        embedding = None if now.embedding is None else np.asarray(now.embedding, np.float32)
        if embedding is not None and not low:
            self._recent.append(embedding)
        if self._low_since is not None and time - self._low_since >= self.settings.hold:
            # it was short, and is over before it settled: it is said all the same
            yield from self._say(self._low_since)
            yield Ended(self._start, self._low_since)
            yield Quiet(self._low_since)
            self._start = self._like = self._other_since = self._low_since = None
        elif self._like is None:
            if time - self._start >= self.settings.listen:
                yield from self._say(time)
        elif embedding is not None and not low:
            yield from self._compare(time, embedding)

    def finish(self, time: float) -> Iterator[Change]:
        """The stream is over."""
        if self._start is not None:
            yield from self._say(time)
            yield Ended(self._start, time)
            self._start = None

    def _say(self, time: float) -> Iterator[Change]:
        if self._like is None and self._recent and self._start is not None:
            self._like = unit(np.stack(list(self._recent)).sum(0))
            yield Begun(self._start, time)

    def _compare(self, time: float, heard: np.ndarray) -> Iterator[Change]:
        assert self._like is not None and self._start is not None
        like = float(self._like @ heard)
        if like >= self.settings.same:
            self._other_since = None
            # slowly, so that a sound may wander without being another
            self._like = unit(0.95 * self._like + 0.05 * heard)
        elif like < self.settings.other and self._other_since is None:
            self._other_since = time - TICK
        if self._other_since is not None and time - self._other_since >= self.settings.settle:
            yield Ended(self._start, self._other_since)
            self._start, self._like, self._other_since = self._other_since, None, None

    def _labels(self, time: float, scores: dict[str, float]) -> Iterator[Change]:
        for name, score in scores.items():
            watched = self._watched[name]
            if watched.armed:
                if score >= watched.threshold:
                    watched.armed = False
                    yield Passed(time, name, score)
            elif score < watched.threshold * self.settings.rearm:
                watched.low_since = time if watched.low_since is None else watched.low_since
                if time - watched.low_since >= self.settings.rest:
                    watched.armed, watched.low_since = True, None
            else:
                watched.low_since = None
