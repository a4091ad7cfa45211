"""A diary from Python, the clips of it, and events: on recordings, without the program."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLES, noise

from mats_model.audio import AudioSource
from mats_model.ears import Stretch
from mats_model.errors import DeviceError, InputError
from mats_model.live.clips import Clips
from mats_model.live.diarist import Described, Diarist, Look
from mats_model.live.diary import Ended, Passed, Quiet
from mats_model.live.events import Event, events
from mats_model.live.excerpt import Excerpts
from mats_model.live.ring import Ring
from mats_model.live.stream import Recording, Stream
from mats_model.mats import Mats

RATE = 32_000


def scene(*parts: str | float) -> AudioSource:
    """Recordings by name and pauses in seconds."""
    waves = [
        soundfile.read(EXAMPLES / f"{part}.ogg", dtype="float32", always_2d=True)[0].mean(1)
        if isinstance(part, str)
        else np.zeros(round(part * 44_100), np.float32)
        for part in parts
    ]
    wave = np.concatenate(waves)
    return AudioSource("scene", samples=wave + noise(len(wave) / 44_100, 44_100, level=1e-4), sample_rate=44_100)


def test_a_diary_of_a_recording(nano: Mats, tmp_path: Path) -> None:
    assert soundfile.info(EXAMPLES / "dog.ogg").samplerate == 44_100
    stream = Recording(scene(2.0, "dog", 3.0))
    diarist, kept = Diarist(nano, {"dog barking": 0.3, "piano": 0.5}), []
    clips = Clips(tmp_path / "clips", stream)
    entries = []
    for look in diarist.follow(stream):
        for entry in look.entries:
            entries.append(entry)
            kept += clips.entry(entry)
        kept += clips.look(look)
    kept += clips.close(look.time)
    described = [entry for entry in entries if isinstance(entry, Described)]
    assert "dog" in described[0].caption.lower() and described[0].tags[0].name in ("Bark", "Dog")
    assert described[0].start == 2.0 and -20 < described[0].level < 0
    assert {entry.label for entry in entries if isinstance(entry, Passed)} == {"dog barking"}
    assert isinstance(entries[-1], Quiet) and any(isinstance(entry, Ended) for entry in entries)
    assert len(kept) == len(described) and kept[0].start == 2.0 and kept[0].problem is None
    samples, sample_rate = soundfile.read(kept[0].path)
    assert sample_rate == stream.ring.sample_rate and 6.5 < len(samples) / sample_rate < 8.0
    # the same diarist, the same sound, the same diary; and no more of it than was asked for
    again = [entry for look in diarist.follow(Recording(scene(2.0, "dog", 3.0))) for entry in look.entries]
    assert again == entries
    assert [look.time for look in diarist.follow(Recording(scene(2.0)), stop=0.5)] == [0.25, 0.5, 0.5]


class Fed(Stream):
    """Blocks that are written when they are waited for, then its end."""

    def __init__(self, blocks: list[float], problem: str | None = None, live: bool = True) -> None:
        self.name, self.ring, self.live = "fed", Ring(4.0, RATE), live
        self.blocks, self.why = list(blocks), problem

    def wait(self, position: int, seconds: float) -> bool:
        if self.ring.total < position and self.blocks and (seconds := self.blocks.pop(0)):
            self.ring.write(np.zeros(round(seconds * RATE), np.float32))
        return self.ring.total >= position

    def ended(self) -> bool:
        return not self.blocks

    def problem(self) -> str | None:
        return self.why


def test_what_is_waited_for_and_what_is_missed(nano: Mats) -> None:
    diarist = Diarist(nano, count=0)
    looks = list(diarist.follow(Fed([0.25, 0.0, 3.0, 0.25])))
    assert looks[:4] == [Look(0.25), Look(0.5, waiting=True), Look(0.5, missed=2.75), Look(3.5)]
    assert looks[-1] == Look(3.5)
    with pytest.raises(DeviceError, match="was it unplugged"):
        list(diarist.follow(Fed([], "it is gone: was it unplugged?")))
    with pytest.raises(InputError, match="is empty"):
        list(diarist.follow(Fed([], "it is empty", live=False)))


def test_clips_that_cannot_be_written_are_said(nano: Mats, tmp_path: Path) -> None:
    stream = Fed([1.0])
    stream.wait(RATE, 0)
    clips = Clips(tmp_path / "clips", stream, watched=True, stamp="{:.1f}".format)
    assert list(clips.entry(Described(0.0, 1.0, -3.0, (), "No clip of this."))) == list(clips.close(1.0)) == []
    (tmp_path / "clips" / "0.5-a_dog.wav").mkdir()
    assert list(clips.entry(Passed(0.5, "A dog!", 0.9))) == [] and list(clips.look(Look(10.0))) == []
    (clip,) = clips.look(Look(28.5))
    assert clip.path.name == "0.5-a_dog.wav" and str(clip.problem).endswith(": this clip is lost.")
    assert list(clips.close(30.0)) == []


def test_the_last_seconds_of_a_stream() -> None:
    stream = Fed([0.2, 3.0, 0.5, 2.0])
    excerpts = Excerpts(stream, 2.0)
    stream.wait(1, 0)
    with pytest.raises(InputError, match=r"fed was heard for 0\.2 s only: wait a moment"):
        excerpts.latest()
    lengths = []
    for _ in range(2):
        stream.wait(10**9, 0)
        source, same = excerpts.latest() or pytest.fail("nothing came")
        assert source.samples is not None
        lengths.append((len(source.samples) / RATE, same))
    assert lengths == [(2.0, False), (2.0, True)] and excerpts.latest() is None
    stream.wait(10**9, 0)
    with pytest.raises(DeviceError, match="fed has ended"):
        excerpts.latest()


def test_events_are_joined_where_they_touch() -> None:
    def at(*seconds: float) -> list[Stretch]:
        return [Stretch(start, end, None) for start, end in pairwise(seconds)]

    scores = [[0.9, 0.1], [0.6, 0.7], None, [0.8, 0.7], [0.1, 0.9]]
    assert events(at(0, 1, 2, 3, 4, 5), scores, ["a", "b"], 0.5) == [
        Event(0, 2, "a", 0.9),
        Event(1, 2, "b", 0.7),
        Event(3, 5, "b", 0.9),
        Event(3, 4, "a", 0.8),
    ]
    # windows that overlap, and two that touch over one that does not fit
    windows = [Stretch(0, 5, None), Stretch(2.5, 7.5, None), Stretch(5, 10, None), Stretch(12, 17, None)]
    assert events(windows, [[0.5], [0.1], [0.6], [0.5]], ["a"], 0.5) == [
        Event(0, 10, "a", 0.6),
        Event(12, 17, "a", 0.5),
    ]
    assert events([], [], ["a"], 0.5) == []
