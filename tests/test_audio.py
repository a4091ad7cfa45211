"""Decoding and windows: every good sound in whole, every bad one in one sentence."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded, noise

from mats_model.audio import Facts, blocks, facts, source, windows
from mats_model.errors import InputError

RATE, SIZE = 32_000, 160_000


def whole(data: bytes | Path) -> np.ndarray:
    return np.concatenate(list(blocks(source(data), RATE)))


@pytest.mark.parametrize("seconds", [0.05, 1, 5, 5.01, 7.4, 12.6])
@pytest.mark.parametrize("every", [None, 2, 3.3, 7])
def test_windows_cover_all_and_block_size_changes_nothing(
    seconds: float, every: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = noise(seconds)
    seen = []
    for block in (1000, 65_536):
        monkeypatch.setattr("mats_model.audio.decode.BLOCK", block)
        cut = list(windows(source(encoded(wave)), RATE, SIZE, every))
        seen.append([(w.start, w.end, w.segment) for w in cut])
        covered = np.zeros(len(wave), bool)
        for window in cut:
            start, end = round(window.start * RATE), round(window.end * RATE)
            np.testing.assert_array_equal(window.samples[: end - start], wave[start:end])
            assert not window.samples[end - start :].any() and len(window.samples) == SIZE
            covered[start:end] = True
        assert covered.all()
    assert seen[0] == seen[1]


def test_last_window_is_right_aligned_and_segments_are_cut() -> None:
    cut = list(windows(source(encoded(noise(7.4))), RATE, SIZE, None))
    assert [(w.start, w.end) for w in cut] == [(0.0, 5.0), (2.4, 7.4)]
    cut = list(windows(source(encoded(noise(4.0))), RATE, SIZE, 2))
    assert [(w.start, w.end, w.segment) for w in cut] == [(0.0, 2.0, 0), (2.0, 4.0, 1)]


def test_stereo_is_the_mean_of_its_channels() -> None:
    left, right = noise(1, seed=1), noise(1, seed=2)
    np.testing.assert_array_equal(whole(encoded(np.stack([left, right], 1))), (left + right) / np.float32(2))


def test_resampling_keeps_state_between_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(noise(3, 44_100), 44_100)
    one = whole(data)
    monkeypatch.setattr("mats_model.audio.decode.BLOCK", 777)
    np.testing.assert_allclose(whole(data), one, atol=1e-6)
    assert abs(len(one) - 3 * RATE) <= 2


def test_flac_is_wav_and_loud_floats_are_not_clamped() -> None:
    wave = np.round(noise(1) * 32767) / 32768
    pcm = encoded(wave, kind="WAV", subtype="PCM_16")
    np.testing.assert_array_equal(whole(pcm), whole(encoded(wave, kind="FLAC", subtype="PCM_16")))
    assert np.abs(whole(encoded(noise(1, level=3.0)))).max() > 2


def bad(tmp_path: Path, kind: str) -> bytes | Path:
    good = encoded(noise(2), kind="WAV", subtype="PCM_16")
    holes = noise(1)
    holes[500] = np.nan
    loud = noise(1)
    loud[9] = np.inf
    slow = bytearray(good)
    slow[24:28] = struct.pack("<I", 1)
    made: dict[str, bytes] = {
        "empty": b"",
        "no samples": encoded(noise(0)),
        "text": b"these are words, not sounds\n" * 50,
        "bytes": bytes(range(256)) * 9,
        "nan": encoded(holes),
        "infinite": encoded(loud),
        "1 Hz": bytes(slow),
    }
    return made[kind]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "is empty (0 bytes)"),
        ("no samples", "has no samples"),
        ("text", "is not a sound: its content is text"),
        ("bytes", "is not a sound: its content is of no known audio format"),
        ("nan", "holds NaN or infinite samples (first at 0.02 s)"),
        ("infinite", "holds NaN or infinite samples (first at 0.00 s)"),
        ("1 Hz", "has a sample rate of 1 Hz"),
    ],
)
def test_bad_content_is_one_sentence(kind: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        whole(bad(tmp_path, kind))
    assert said in str(error.value) and str(error.value).startswith("stdin ") and "\n" not in str(error.value)


def test_bad_paths(tmp_path: Path) -> None:
    (tmp_path / "to nowhere.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "a.wav").symlink_to(tmp_path / "b.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    for name, said in [
        ("missing.wav", "is not there"),
        ("to nowhere.wav", "is a link"),
        ("a.wav", "link"),
        ("", "is a folder"),
    ]:
        with pytest.raises(InputError, match=said):
            whole(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded(noise(1)))
    path.chmod(0)
    with pytest.raises(InputError, match="may not be read"):
        whole(path)


def test_odd_but_audible() -> None:
    fast = source(encoded(noise(0.5, 768_000), 768_000))
    assert abs(sum(len(b) for b in blocks(fast, RATE)) - RATE // 2) <= 2 and "768000 Hz" in fast.notes[0]
    many = source(encoded(np.tile(noise(0.5)[:, None], (1, 64))))
    np.testing.assert_allclose(np.concatenate(list(blocks(many, RATE))), noise(0.5), atol=1e-6)
    assert "64 channels" in many.notes[0]
    streamed = bytearray(encoded(noise(1), kind="WAV", subtype="PCM_16"))
    streamed[4:8] = streamed[40:44] = b"\xff\xff\xff\xff"
    assert len(whole(bytes(streamed))) == RATE


def test_silence_is_marked() -> None:
    quiet = np.zeros(RATE, np.float32)
    quiet[::7] = 2e-5
    assert [w.silent for w in windows(source(encoded(quiet)), RATE, SIZE)] == [True]
    assert [w.silent for w in windows(source(encoded(noise(1, level=1e-3))), RATE, SIZE)] == [False]


def m4a(path: Path, wave: np.ndarray) -> Path:
    av = pytest.importorskip("av", reason="the extra `media` is not installed")
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", sample_rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def test_m4a_through_the_extra(tmp_path: Path) -> None:
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    heard = whole(m4a(tmp_path / "tone.m4a", tone))
    assert abs(len(heard) - len(tone)) < 4096
    # away from the ends, where AAC rings
    assert np.argmax(np.abs(np.fft.rfft(heard[RATE // 2 : RATE * 3 // 2]))) == 440
    assert 0.18 < float(np.sqrt(np.mean(heard[RATE // 2 : RATE] ** 2))) < 0.25


def test_m4a_without_the_extra_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = m4a(tmp_path / "tone.m4a", noise(1))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"holds mp4, which needs the extra `media`: pip install 'mats\[media\]'"):
        whole(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"hello there", b"RIFF\x24\x00\x00\x00WAVE", b"\x00\x00\x00\x20ftypM4A ", bytes(range(256)) * 8],
)
def test_facts_of_what_is_no_sound(tmp_path: Path, data: bytes) -> None:
    """Whatever a decoder thinks of it, nothing is known and nothing is raised."""
    (tmp_path / "x.ogg").write_bytes(data)
    assert facts(source(tmp_path / "x.ogg")) == Facts()
