"""Long recordings: stretches that end where the sound changes, one sentence about them, and each with its times."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLES, Run, noise

from mats_model.audio import AudioSource
from mats_model.ears import Stretch
from mats_model.live.talk import Conversation
from mats_model.mats import Mats
from mats_model.stretches import LONG, Change, Heard, changes, listen_changes, longer
from mats_model.summary import Said, joined, sentence, sounds

RATE = 44_100
# name and seconds of each piece: those that follow each other differ
TAPE = [("rain", 4.3), ("dog", 2.1), ("clock", 4.9), ("rooster", 3.7), ("rain", 5.0), ("baby", 4.6), ("clock", 3.2)]
TAPE += [("rain", 4.0), ("baby", 3.9)]


def tape(pieces: list[tuple[str, float]]) -> np.ndarray:
    """Pieces of the examples after each other, mono at RATE."""
    waves = []
    for name, seconds in pieces:
        wave, sample_rate = soundfile.read(EXAMPLES / f"{name}.ogg", dtype="float32", always_2d=True)
        assert sample_rate == RATE
        waves.append(wave.mean(1)[: round(seconds * RATE)])
    return np.concatenate(waves)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tape as a file."""
    path = tmp_path_factory.mktemp("long") / "tape.wav"
    soundfile.write(path, tape(TAPE), RATE)
    return path


@pytest.fixture(scope="module")
def heard(nano: Mats, known: Path) -> list[Stretch]:
    """The tape's stretches."""
    return listen_changes(nano, known)


def test_stretches_end_where_the_sound_changes(heard: list[Stretch]) -> None:
    found = np.array([stretch.start for stretch in heard[1:]])
    meant = np.cumsum([seconds for _, seconds in TAPE])[:-1]
    hits = [np.abs(found - time).min() <= 1.0 for time in meant]
    assert np.mean(hits) >= 0.8 and len(found) <= 1.5 * len(meant)
    assert heard[0].start == 0.0 and heard[-1].end == pytest.approx(sum(seconds for _, seconds in TAPE), abs=0.01)
    assert all(a.end == b.start for a, b in pairwise(heard))


def test_a_short_sound_is_one_stretch_as_before(nano: Mats, dog: Path) -> None:
    (alone,) = listen_changes(nano, dog)
    assert np.array_equal(alone.embedding, nano.embed_audio(dog))
    at, over = (AudioSource("a", samples=np.zeros(round(s * 1000), np.float32), sample_rate=1000) for s in (20, 20.1))
    assert not longer(at, LONG, 1000) and longer(over, LONG, 1000)


def steps(*parts: tuple[int, float, int]) -> list[Heard]:
    """(steps, level, which of three sounds)."""
    return [Heard(level, np.eye(3, dtype=np.float32)[sound]) for count, level, sound in parts for _ in range(count)]


def test_level_and_novelty_have_hysteresis() -> None:
    assert list(changes(steps((9, -20.0, 0)))) == []
    assert [each.step for each in changes(steps((6, -20.0, 0), (6, -20.0, 1), (6, -20.0, 2)))] == [6, 12]
    # one quiet step, or one that is not quiet enough, ends nothing
    assert list(changes(steps((5, -20.0, 0), (1, -90.0, 0), (5, -20.0, 0)))) == []
    assert list(changes(steps((5, -20.0, 0), (4, -58.0, 0), (5, -20.0, 0)))) == []
    quiet = list(changes(steps((5, -20.0, 0), (4, -70.0, 0), (2, -58.0, 0), (5, -20.0, 0))))
    assert quiet == [Change(5, True), Change(11, False)]
    assert next(changes(steps((5, -90.0, 0), (5, -20.0, 0)))) == Change(0, True)


def test_changes_are_told_as_they_come_and_need_no_memory() -> None:
    given = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal given
        while True:
            for each in steps((6, -20.0, 0), (6, -20.0, 1)):
                given += 1
                yield each

    found = changes(endless())
    for wanted in (6, 12, 18):
        assert next(found).step == wanted and given <= wanted + 3


def test_a_pause_is_silent_and_is_no_sound(nano: Mats) -> None:
    wave = np.concatenate([tape([("dog", 5.0)]), np.zeros(8 * RATE, np.float32), tape([("rain", 5.0), ("rain", 5.0)])])
    found = listen_changes(nano, AudioSource("a", samples=wave + noise(23, RATE, level=1e-5), sample_rate=RATE))
    (pause,) = [stretch for stretch in found if stretch.embedding is None]
    assert pause.end == pytest.approx(13.0, abs=1.0) and pause.end - pause.start > 6.0
    assert len(sounds(found)) <= 3


def test_progress_rises_to_the_whole(nano: Mats, known: Path) -> None:
    told: list[float] = []
    listen_changes(nano, AudioSource("tape", path=known, progress=told.append))
    assert told == sorted(told) and told[-1] == pytest.approx(35.7, abs=0.1)


def test_the_sentence_names_the_longest_sounds_in_their_order(nano: Mats, heard: list[Stretch]) -> None:
    found = sounds(heard)
    assert found[0].seconds >= found[1].seconds >= found[2].seconds
    said = sentence(found, nano.answer(np.stack([each.embedding for each in found[:6]])), heard[-1].end)
    # rain 13.3 s, baby 8.5 s, clock 8.1 s
    for words in ("rain|water", "baby|cr(y|ies)", "clock|tick"):
        assert re.search(words, said.lower()), said
    assert re.search(r"\(\d sounds in 0:36\)$", said)
    axis = np.eye(3, dtype=np.float32)
    rows = [Stretch(0, 30, axis[0]), Stretch(30, 40, axis[1]), Stretch(40, 50, axis[0]), Stretch(50, 70, axis[2])]
    told = sentence(sounds(rows), ["A dog barks.", "Rain falls.", "A man speaks."], 598.2)
    assert told == "A dog barks, later rain falls, in between a man speaks (3 sounds in 9:58)"
    assert sentence(sounds(rows[:1]), ["A dog barks."], 30.0) == "A dog barks."


def test_neighbours_that_say_the_same_are_one() -> None:
    rows = [Said(0, 5, "Rain."), Said(5, 9, "Rain."), Said(9, 12, None), Said(12, 20, "Rain.")]
    assert joined(rows) == [Said(0, 9, "Rain."), *rows[2:]]


def test_caption_of_a_tape(mats: Run, known: Path) -> None:
    one = mats("caption", known).stdout.decode()
    assert one.count("\n") == 1 and one.endswith(" in 0:36)\n")
    table = json.loads(mats("caption", known, "--events", "--json").stdout)[0]["segments"]
    lines = mats("caption", known, "--events").stdout.decode().splitlines()
    assert len(table) == len(lines) >= 6 and table[-1]["end"] == pytest.approx(35.7, abs=0.01)
    assert all(a["caption"] != b["caption"] for a, b in pairwise(table))
    assert mats("caption", known, "--format", "srt").stdout.decode().count("-->") == len(table)
    assert mats("caption", known, "--events", "--every", "5").returncode == 2
    every = mats("caption", known, "--every", "1", "--json").stdout
    assert all(a["caption"] != b["caption"] for a, b in pairwise(json.loads(every)[0]["segments"]))


def test_a_diary_of_a_file_has_the_times_of_its_clock(mats: Run, tmp_path: Path) -> None:
    wave = np.concatenate([np.zeros(2 * RATE, np.float32), tape([("dog", 5.0)])]) + noise(7, RATE, level=1e-5)
    for name in ("20230105_235958.wav", "plain.wav"):
        soundfile.write(tmp_path / name, wave, RATE)
    done = mats("listen", "20230105_235958.wav", "--json")
    first = json.loads(done.stdout.splitlines()[0])
    assert first["time"] == "2023-01-06T00:00:00.000" and first["start"] == 2.0 and first["path"].startswith("2023")
    assert b"began at 2023-01-05 23:59:58 (by its recorder's clock; no time zone is written)" in done.stderr
    both = mats("listen", ".", "broken.wav", "--tags", "1", "--clips", "clips", "-o", "out.txt")
    assert (both.returncode, both.stdout) == (3, b"") and b"broken.wav is not there" in both.stderr
    lines = (tmp_path / "out.txt").read_text().splitlines()
    heard = [line.split("\t") for line in lines if "dog" in line.lower() and "clips" not in line]
    assert {(cells[0], cells[1]) for cells in heard} >= {
        ("20230105_235958.wav", "2023-01-06T00:00:00.000"),
        ("plain.wav", "0:02"),
    }
    assert len(list((tmp_path / "clips").iterdir())) == sum("clips" in line for line in lines) >= 2
    again = mats("listen", "plain.wav", "broken.wav", "--tags", "1", "-o", "out.txt", "-q")
    assert again.returncode == 3 and len((tmp_path / "out.txt").read_text().splitlines()) < len(lines)


def test_what_a_diary_of_files_refuses(mats: Run, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, noise(1, RATE), RATE)
    assert b"--format srt holds one diary" in mats("listen", "a.wav", "b.wav", "--format", "srt").stderr
    assert b"are for the microphone" in mats("listen", "a.wav", "--rate", "16000").stderr
    assert mats("listen", "gone.wav").returncode == 4
    page = mats("listen", "a.wav", "-o", "page.html", "-q")
    assert page.returncode == 0 and "a.wav" in (tmp_path / "page.html").read_text()


def test_shares_of_a_tape_are_those_of_its_time(mats: Run, known: Path) -> None:
    labels = "rain,dog barking,clock ticking,rooster crowing,crying baby"
    (row,) = json.loads(mats("classify", known, "--labels", labels, "--top-k", "5", "--json").stdout)[0]["segments"]
    shares = {each["label"]: each["score"] for each in row["labels"]}
    meant = {"rain": 13.3, "dog barking": 2.1, "clock ticking": 8.1, "rooster crowing": 3.7, "crying baby": 8.5}
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.001)
    for label, seconds in meant.items():
        assert shares[label] == pytest.approx(seconds / 35.7, abs=0.1), label
    assert (row["start"], row["end"]) == (0.0, pytest.approx(35.7, abs=0.01))


def test_multi_tells_when_without_being_asked(mats: Run, known: Path) -> None:
    done = mats("classify", known, "--labels", "rain,rooster crowing", "--multi", "--json")
    told = json.loads(done.stdout)[0]["segments"]
    when = {
        name: [(row["start"], row["end"]) for row in told if row["labels"][0]["label"] == name]
        for name in ("rain", "rooster crowing")
    }
    (crows,) = when["rooster crowing"]
    assert crows == (pytest.approx(11.3, abs=1.0), pytest.approx(15.0, abs=1.0))
    assert any(start < 1 and end == pytest.approx(4.3, abs=1.0) for start, end in when["rain"])


def test_questions_about_a_tape(nano: Mats, known: Path) -> None:
    talk = Conversation(nano)
    talk.hear(known)
    assert re.search("rain|water", talk.answer("what happens at 0:02?").text.lower())
    assert re.match(r"0:\d\d-0:\d\d [^;]*(rooster|crow)[^;]*\.$", talk.answer("What happens at 0:13?").text)
    first = talk.answer("what is in the first 10 seconds?").text
    assert first.startswith("0:00-0:0") and first.count(";") >= 1 and "rooster" not in first
    assert re.search(r"\(\d sounds in 0:36\)$", talk.answer("summarise").text)
    assert talk.answer("what do you hear?").text == talk.answer("summarise").text
    assert re.match(r"[^;]*(rain|water)", talk.answer("which sounds are there?").text.lower())
    once = talk.answer("how often does the rooster crow?")
    assert once.text.startswith("Once, at 0:") and once.kind == "often" and len(once.times) == 1
    assert talk.answer("how often does a piano play?").text.startswith("Never")
    assert talk.answer("what happens at 2:00?").text == "It ends at 0:36."


def test_a_chat_begins_with_what_the_file_is(mats: Run, known: Path) -> None:
    done = mats("chat", known, "--ask", "summarise")
    said = done.stdout.decode().strip()
    assert said.endswith("in 0:36)") and done.stderr.decode() == f"mats: {known}, 0:36: {said}\n"
    assert mats("chat", known, "--ask", "summarise", "-q").stderr == b""
