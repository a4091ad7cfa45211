"""The page: its data, its picture, and what a real browser does with it."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from conftest import EXAMPLES, Run, encoded, noise

from mats_cli.pages.page import Sound, page
from mats_cli.pages.sounds import excerpt, link, sound
from mats_cli.tracks import Mark
from mats_model.audio import AudioSource, blocks
from mats_model.audio.began import began, of_name
from mats_model.audio.picture import MELS, MOST, PER_SECOND, SAMPLE_RATE, Spectrogram, look

EVIL = "</script><script>document.title='bad'</script><img src=x onerror=alert(1)>\u2028{{script}}.wav"


def told(text: str) -> dict[str, Any]:
    """The data of a page."""
    made: dict[str, Any] = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    return made


# ---- the picture


def pixels(png: bytes) -> np.ndarray:
    """(rows, columns) of a PNG of 4 bits, each checksum checked."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, size = 8, b"", (0, 0)
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        size = struct.unpack(">II", body[:8]) if kind == b"IHDR" else size
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(size[1], -1)
    assert not lines[:, 0].any()
    return np.stack([lines[:, 1:] >> 4, lines[:, 1:] & 15], -1).reshape(size[1], -1)[:, : size[0]]


def test_picture_shows_a_tone_where_it_is() -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    wave = np.where(time < 1, np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 6000 * time)).astype(np.float32)
    spectrogram = Spectrogram()
    for part in np.split(wave, [7, 1000, 30_000]):
        spectrogram.feed(part)
    seen = pixels(spectrogram.png())
    assert seen.shape[0] == MELS and abs(seen.shape[1] - 2 * PER_SECOND) <= 2 and spectrogram.seconds == 2
    low, high = seen[:, 20].argmax(), seen[:, 80].argmax()
    # high tones are above; 300 Hz is 402 of 3267 mels, 6 kHz is 2546
    assert abs(low - (MELS - 1 - MELS * 402 // 3267)) <= 1 and abs(high - (MELS - 1 - MELS * 2546 // 3267)) <= 1


def test_picture_of_any_length_is_of_one_size() -> None:
    spectrogram = Spectrogram()
    block = noise(10, SAMPLE_RATE, level=0.01)
    for number in range(40):
        spectrogram.feed(block if number != 30 else block + (np.arange(len(block)) == 1000) * 0.9)
    seen = spectrogram.levels()
    assert MOST // 2 <= seen.shape[1] <= MOST
    # a click within 400 s is still seen
    assert seen[:, round(seen.shape[1] * 300.04 / 400) - 1 :][:, :3].max() == 15
    assert Spectrogram().levels().shape == (MELS, 1)


def test_look_reads_the_sound_once_for_both(dog: Path) -> None:
    seen = look(AudioSource("dog", path=dog), embed=True)
    assert seen.png == look(AudioSource("dog", path=dog)).png and seen.opus is not None
    again = np.concatenate(list(blocks(AudioSource("opus", data=seen.opus), SAMPLE_RATE)))
    assert abs(len(again) / SAMPLE_RATE - seen.seconds) < 0.1 and len(seen.opus) < 8000 * seen.seconds


# ---- when it began


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("20230105_063000.WAV", "2023-01-05T06:30:00"),
        ("S4A01234_20230105_063000.wav", "2023-01-05T06:30:00"),
        ("230105-063000.wav", "2023-01-05T06:30:00"),
        ("20230105 063000-1A2B.m4a", "2023-01-05T06:30:00"),
        ("talk 2023-01-05T06-30-00Z.flac", "2023-01-05T06:30:00+00:00"),
        ("20231305_063000.wav", None), ("123456789012345.wav", None), ("song.wav", None),
    ],
)  # fmt: skip
def test_names_say_when(name: str, when: str | None) -> None:
    found = of_name(name)
    assert (found.isoformat() if found else None) == when


def test_headers_say_when(tmp_path: Path) -> None:
    body = b"x" * 320 + b"2021-06-07" + b"08:09:10" + bytes(264)
    whole = encoded(noise(0.1), subtype="PCM_16")
    made = whole[:12] + b"bext" + struct.pack("<I", len(body)) + body + whole[12:]
    assert began(AudioSource("20230105_063000.wav", data=made)) == datetime(2021, 6, 7, 8, 9, 10)
    assert began(AudioSource("20230105_063000.wav", data=whole)) == datetime(2023, 1, 5, 6, 30)
    assert began(AudioSource("a.wav", data=made.replace(b"2021-06", b"2021-66"))) is None


# ---- the data


def test_page_counts_joins_and_tells_the_hours() -> None:
    marks = [Mark(0, 5, "dog", 0.5), Mark(5, 10, "dog", 0.9), Mark(10, 12, "rain", 0.7), Mark(20, 22, "dog", 0.6)]
    late = Sound("b.wav", [Mark(0, 120, "rain", 0.5)], 0, 120, began=datetime(2023, 1, 5, 22, 59, tzinfo=timezone.utc))
    data = told(page("t", [Sound("a.wav", marks, 0, 30), late], {"model": "m"}))
    assert data["texts"] == ["rain", "dog"] and data["totals"] == [[2, 122, 2], [2, 12, 1]]
    assert data["sounds"][0]["marks"] == [[0, 10, 1, 0.9], [10, 12, 0, 0.7], [20, 22, 1, 0.6]]
    assert [data["hours"][0][hour] for hour in (21, 22, 23)] == [0, 60, 60] and not any(data["hours"][1])
    assert told(page("t", [Sound("a.wav", marks, 0, 30)], {}))["hours"] == []


def test_nothing_that_was_heard_is_run() -> None:
    text = page(EVIL, [Sound(EVIL, [Mark(0, 1, EVIL, 0.5)], 0, 1, error=EVIL)], {"model": EVIL})
    assert text.count("<script") == 2 and "<img src=x" not in text and "http" not in text.replace("http-equiv", "")
    assert "bad" in told(text)["texts"][0]


def test_links_lie_beside_the_page(tmp_path: Path) -> None:
    where = tmp_path / "a b" / "100% #1?:.wav"
    assert link(where, tmp_path / "report.html") == "./a%20b/100%25%20%231%3F%3A.wav"
    assert link(where, tmp_path / "out" / "report.html") == "./../a%20b/100%25%20%231%3F%3A.wav"
    assert link(where, None) == where.as_uri()


def test_a_moment_has_the_seconds_around_it(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded(noise(30, 8000), 8000))
    made = excerpt("a.wav", Mark(10, 12, "x", 0.3), tmp_path / "a.wav", tmp_path / "r.html", embed=False)
    assert (made.begin, round(made.end, 2), made.score, made.link) == (5, 17, 0.3, "./a.wav") and made.picture
    gone = excerpt("b.wav", Mark(10, 12, "x", 0.3), tmp_path / "b.wav", None, embed=True)
    assert gone.picture is None and gone.audio is None and gone.marks


def test_program_makes_the_page(mats: Run, dog: Path, tmp_path: Path) -> None:
    data = dog.read_bytes()
    done = mats("classify", dog, "-", "missing.wav", "--labels", "dog,rain", "-o", "out/r.html", stdin=data)
    assert done.returncode == 3 and not done.stdout
    beside, piped, missing = told((tmp_path / "out" / "r.html").read_text())["sounds"]
    assert beside["link"].endswith("examples/dog.ogg") and "audio" not in beside and missing["error"]
    assert piped["picture"] == beside["picture"] and "link" not in piped
    inside = told(mats("caption", "-", "--format", "html", "--embed", stdin=data).stdout.decode())
    assert base64.b64decode(inside["sounds"][0]["audio"])[:4] == b"OggS" and set(inside["about"]) == {"model", "mats"}
    assert mats("caption", dog, "--embed").returncode == 2


# ---- in a browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sounds with lanes, captions and embedded audio, one that failed, and 500 more without pictures."""
    folder = tmp_path_factory.mktemp("report")
    out = folder / "r.html"
    wave = np.concatenate([noise(3, 16_000, level=0.1), noise(3, 16_000, level=0.01)])
    (folder / "20230105_063000 a#.wav").write_bytes(encoded(wave, 16_000, subtype="PCM_16"))
    source = AudioSource("tape", path=folder / "20230105_063000 a#.wav")
    lanes = [Mark(0, 3, "dog", 0.9), Mark(3, 6, "rain", 0.8), Mark(4, 5, "dog", 0.7)]
    captions = [Mark(0, 3, "A dog barks."), Mark(3, 6, "Rain falls.")]
    dog = AudioSource("dog", path=EXAMPLES / "dog.ogg")
    sounds = [
        sound("tape.wav", lanes, source, out, False),
        sound(EVIL, captions, source, out, True),
        sound("dog.ogg", [Mark(0, 5, "A small dog barks.")], dog, out, True),
        Sound("empty.wav", [], 0, 0, error="empty.wav is empty (0 bytes)."),
        *(Sound(f"{n:03d}.wav", [Mark(0, 1, f"thing {n % 30}", 0.5)], 0, 1) for n in range(500)),
    ]
    out.write_text(page("mats classify: many", sounds, {"model": "m"}), encoding="utf-8")
    return out


PLAYS = "!document.getElementById('audio').paused && document.getElementById('audio').currentTime >= {} "


def test_a_click_plays_from_there(shown: browser.Browser, report: Path) -> None:
    shown.open(report)
    shown.wait("document.querySelectorAll('#sounds .sight img').length >= 3")
    assert shown.run("document.querySelectorAll('#sounds article').length") == 504
    shown.click(".block[aria-label*='0:04-0:05']")
    shown.wait(PLAYS.format(4))
    assert "rain" in shown.run("document.getElementById('now').textContent")
    shown.click(".sight", 0.25)
    shown.wait("document.getElementById('audio').currentTime < 3.5 && " + PLAYS.format(1.4))
    # embedded
    shown.click("article:nth-of-type(2) .block:nth-of-type(2)")
    shown.wait("document.getElementById('audio').src.startsWith('blob:') && " + PLAYS.format(3))
    shown.click("#toggle")
    assert shown.run("document.getElementById('audio').paused")
    assert not shown.problems


def test_the_filter_filters(shown: browser.Browser, report: Path) -> None:
    shown.open(report)
    count = "[...document.querySelectorAll('#sounds article')].filter(a => !a.hidden).length"
    shown.run("document.getElementById('filter').focus()")
    for letter in "thing 7":
        shown.key(letter)
    shown.wait(f"{count} == 17")
    assert shown.run("document.getElementById('found').textContent") == "17 of 504 sounds"
    shown.key("Escape")
    shown.wait(f"{count} == 504")
    shown.click(".label span")  # the sound that was heard longest
    shown.wait(f"{count} < 504 && document.querySelector('.label').getAttribute('aria-pressed') == 'true'")
    shown.click(".label span")
    shown.wait(f"{count} == 504")
    assert not shown.problems


def test_the_keyboard_reaches_all(shown: browser.Browser, report: Path) -> None:
    shown.open(report)
    shown.wait("document.querySelector('.sight[role=slider]')")
    shown.run("document.querySelector('.sight').focus()")
    shown.key("Enter")
    shown.wait(PLAYS.format(0))
    shown.key("Tab")
    active = "document.activeElement.getAttribute('aria-label')"
    assert shown.run(active) == "Play 0:00-0:03  dog  0.90"
    shown.key("ArrowRight")
    assert shown.run(active) == "Play 0:04-0:05  dog  0.70"
    shown.key("ArrowDown")
    assert shown.run(active) == "Play 0:03-0:06  rain  0.80"
    shown.key("Enter")
    shown.wait(PLAYS.format(3))
    shown.key("Escape")
    shown.wait("document.getElementById('audio').paused")
    # one stop of the tab key for each row of blocks, not one a block
    assert shown.run("document.querySelectorAll('article:first-of-type .block[tabindex=\"0\"]').length") == 1


def test_it_opens_nothing_else_and_fits_a_phone(shown: browser.Browser, report: Path, tmp_path: Path) -> None:
    shown.addresses.clear()
    shown.open(report)
    shown.wait("document.querySelectorAll('#sounds .sight img').length >= 3")
    assert all(each.startswith(("file:", "data:", "blob:")) for each in shown.addresses), shown.addresses
    assert shown.run("document.title") == "mats classify: many"
    for width in (390, 320, 1100):
        shown.narrow(width)
        assert shown.run("document.documentElement.scrollWidth") <= width
    paper = "getComputedStyle(document.body).backgroundColor"
    shown.look(tmp_path / "light.png")
    light = shown.run(paper)
    shown.look(tmp_path / "dark.png", dark=True)
    assert shown.run(paper) != light and (tmp_path / "light.png").stat().st_size > 10_000
    assert not shown.problems


def test_a_diary_is_a_page_or_subtitles(mats: Run, tmp_path: Path) -> None:
    parts = [noise(3, 16_000, level=0.2), np.zeros(48_000, np.float32), np.sin(np.arange(64_000) / 5) * 0.3]
    raw = (np.concatenate(parts) * 32_767).astype("<i2").tobytes()
    pipe = ("--mic", "-", "--raw", "s16le,16000,1", "-q")
    assert mats("listen", *pipe, "-o", "d/r.html", stdin=raw).returncode == 0
    (heard,) = told((tmp_path / "d" / "r.html").read_text())["sounds"]
    assert heard["end"] == 10 and len(heard["marks"]) >= 3 and "link" not in heard
    assert pixels(base64.b64decode(heard["picture"])).shape[1] > 490
    srt = mats("listen", *pipe, "--format", "srt", stdin=raw).stdout.decode()
    assert srt.count(" --> ") == len(heard["marks"]) and "(silence)" in srt
    assert mats("listen", *pipe, "-o", "a.jsonl", stdin=raw).returncode == 0
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert {json.loads(line)["event"] for line in lines} == {"sound", "quiet"}
