"""A diary of a stream: four times a second it is looked at; what begins is put into words, labels are watched for.

for look in Diarist(mats, labels={"dog barking": 0.5}).follow(Recording("yard.wav")):
    for entry in look.entries:
        print(entry)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mats_model.audio import AudioSource
from mats_model.audio.level import level
from mats_model.errors import DeviceError, InputError
from mats_model.labels import Label
from mats_model.live.diary import TICK, Begun, Change, Diary, DiarySettings, Ended, Passed, Quiet
from mats_model.live.events import Tags, tag_names
from mats_model.live.ring import NOW, hear_now
from mats_model.live.stream import Stream
from mats_model.mats import Mats

# seconds that are waited for sound before that is told
_PATIENCE = 0.5
# seconds before now that a stream which can wait keeps, for clips
_KEPT = 15.0


@dataclass(frozen=True)
class Described:
    """A sound that began at `start` seconds, in words, from what was heard of it until `heard`; level in dB."""

    start: float
    heard: float
    level: float
    tags: tuple[Label, ...]
    caption: str


Entry = Described | Quiet | Passed | Ended


@dataclass(frozen=True)
class Look:
    """A moment of a stream, in seconds from its beginning, and what is to be written of it."""

    time: float
    entries: tuple[Entry, ...] = ()
    waiting: bool = False  # nothing comes at the moment
    missed: float = 0.0  # seconds that were not heard, since the machine is too slow


class Diarist:
    """Keeps diaries, one stream after the other; its memory does not grow."""

    def __init__(
        self,
        mats: Mats,
        labels: Mapping[str, float] | None = None,
        names: Sequence[str] | None = None,
        count: int = 3,
        settings: DiarySettings | None = None,
    ) -> None:
        """`labels` to watch for, with their least probabilities; up to `count` tags a sound, out of `names`, or of
        those that come with the model."""
        self.mats, self.count = mats, count
        self.settings = settings or DiarySettings()
        self.thresholds = dict(labels or {})
        self._watched = Tags(mats, list(self.thresholds)) if self.thresholds else None
        known = list(tag_names(mats) if names is None else names) if count else []
        self._tags = Tags(mats, known) if known else None

    def follow(self, stream: Stream, stop: float | None = None) -> Iterator[Look]:
        """A look for each quarter of a second, until the stream ends or `stop` seconds of it were heard.

        Errors: DeviceError, InputError: the stream's own problem.
        """
        ring, diary, tick = stream.ring, Diary(self.settings, self.thresholds), 0
        while True:
            tick += 1
            time, end = tick * TICK, round(tick * TICK * ring.sample_rate)
            while not stream.wait(end, _PATIENCE):
                if stream.ended() and ring.total < end:
                    if problem := stream.problem():
                        raise DeviceError(problem) if stream.live else InputError(problem)
                    yield self._last(diary, stream, ring.total / ring.sample_rate)
                    return
                yield Look(time, waiting=True)
            late = (ring.total - end) / ring.sample_rate
            if late > 0.5 * ring.size / ring.sample_rate:  # only a microphone does not wait
                yield Look(time, missed=late)
                tick = int(ring.total / ring.sample_rate / TICK)
                continue
            yield Look(time, tuple(self._look(diary, stream, time, end)))
            stream.heard_until(max(0, end - round(_KEPT * ring.sample_rate)))
            if stop is not None and time >= stop:
                yield self._last(diary, stream, time)
                return

    def _look(self, diary: Diary, stream: Stream, time: float, end: int) -> Iterator[Entry]:
        sample_rate = stream.ring.sample_rate
        samples = stream.ring.between(end - round(NOW * sample_rate), end)
        now = hear_now(self.mats, samples, sample_rate, self.settings.gate + self.settings.close)
        scores: dict[str, float] = {}
        if self._watched:
            scores = dict.fromkeys(self.thresholds, 0.0)
            if now.embedding is not None:
                found = self._watched.best(now.embedding, len(scores), 0.0)
                scores |= {label.name: label.score for label in found}
        loud = level(samples[-round(TICK * sample_rate) :], sample_rate)
        for entry in diary.feed(time, now, loud, scores):
            yield from self._described(stream, entry)

    def _last(self, diary: Diary, stream: Stream, time: float) -> Look:
        entries = [each for entry in diary.finish(time) for each in self._described(stream, entry)]
        return Look(time, tuple(entries))

    def _described(self, stream: Stream, entry: Change) -> Iterator[Entry]:
        """What begins in words; what is silent after all is left out."""
        if not isinstance(entry, Begun):
            yield entry
            return
        rate = stream.ring.sample_rate
        samples = stream.ring.between(round(entry.start * rate), round(entry.heard * rate))
        heard = next(self.mats.listen(AudioSource(stream.name, samples=samples, sample_rate=rate)))
        if heard.embedding is None:
            return
        tags = self._tags.best(heard.embedding, self.count) if self._tags else []
        caption = self.mats.answer(heard.embedding[None])[0]
        yield Described(entry.start, entry.heard, level(samples, rate), tuple(tags), caption)
