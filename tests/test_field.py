"""Sounds as real programs, recorders, pipes and power cuts leave them: heard to their end, and what is missing is
said."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, encoded, noise

from mats_model.audio import AudioSource, blocks, facts, source, windows
from mats_model.audio.decode import plain
from mats_model.errors import InputError

RATE, SECONDS = 16_000, 2


def heard(data: bytes | Path) -> tuple[float, AudioSource]:
    """Seconds, and the source with its notes."""
    item = source(data)
    return sum(len(block) for block in blocks(item, RATE)) / RATE, item


def wav() -> bytearray:
    return bytearray(encoded(noise(SECONDS, RATE), RATE, "WAV", "PCM_16"))


def sized(claim: int) -> bytes:
    """A WAV of 64,000 bytes of sound whose header says that there are `claim`."""
    data = wav()
    data[40:44] = struct.pack("<I", claim)
    return bytes(data)


def compressed(
    kind: str, subtype: str | None = None, sample_rate: int = RATE, seconds: float = SECONDS, seed: int = 0
) -> bytes:
    return encoded(noise(seconds, sample_rate, seed), sample_rate, kind, subtype)


def muxed(
    form: str,
    codec: str,
    sample_rate: int = RATE,
    layout: str = "mono",
    tracks: tuple[str, ...] = ("",),
    silent: int = -1,
) -> bytes:
    """A file of PyAV's: noise in each track but a silent one."""
    av = pytest.importorskip("av", reason="the extra `media` is not installed")
    sink = io.BytesIO()
    with av.open(sink, "w", format=form) as container:
        streams = [container.add_stream(codec, sample_rate=sample_rate, layout=layout) for _ in tracks]
        for stream, language in zip(streams, tracks, strict=True):
            if language:
                stream.metadata["language"] = language
        for number, stream in enumerate(streams):
            wave = noise(SECONDS, sample_rate, number)[None] * np.float32(number != silent)
            frame = av.AudioFrame.from_ndarray(
                np.repeat(wave, 2 if layout == "stereo" else 1, 0), format="fltp", layout=layout
            )
            frame.sample_rate = sample_rate
            fitted = av.AudioResampler(
                stream.format.name, layout, sample_rate, frame_size=stream.codec_context.frame_size or 1024
            )
            for piece in [*fitted.resample(frame), *fitted.resample(None), None]:
                for packet in stream.encode(piece):
                    container.mux(packet)
    return sink.getvalue()


# ---- what a header says, and what is there


@pytest.mark.parametrize(
    "claim", [0, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFDB, 0x80000000, 0xFFFFFFFF, 64_016, 64_044, 32_000 * 2 - 10_000]
)
def test_wav_with_a_wrong_size_is_heard_to_its_end(claim: int) -> None:
    seconds, item = heard(sized(claim))
    assert seconds == SECONDS and len(item.notes) == 1 and "is heard" in item.notes[0] and not item.missing


def test_chunks_behind_the_sound_are_no_sound() -> None:
    good = bytes(wav())
    for tail in (b"LIST\x04\x00\x00\x00INFO", b"ID3\x04" + bytes(200), b"TAG" + bytes(125), bytes(4000)):
        seconds, item = heard(good + tail)
        assert seconds == SECONDS and not item.notes
    with pytest.raises(InputError, match="no samples"):
        heard(sized(0)[:44] + b"LIST\x04\x00\x00\x00INFO")


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "CAF", "W64", "RF64", "FLAC", "OGG", "MP3", "NIST", "SVX"])
def test_cut_files_are_heard_as_far_as_they_go(kind: str) -> None:
    data = compressed(kind, None if kind in ("MP3", "OGG") else "PCM_16")
    seconds, item = heard(data[: len(data) * 2 // 3])
    assert 0.8 < seconds < 1.5 and item.missing and item.missing == item.notes, item.notes
    assert any(word in item.missing[0] for word in ("cut short", "promises")) and len(item.missing) == 1
    whole, item = heard(data)
    assert abs(whole - SECONDS) < 0.01 and not item.notes


def test_wav_beyond_4_gib(tmp_path: Path) -> None:
    """Sparse, and only opened: hearing it takes half a minute."""
    count = 4_600_000_000
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(
            b"RIFF"
            + struct.pack("<I", (count + 36) % 2**32)
            + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 1, 48_000, 96_000, 2, 16)
        )
        file.write(b"data" + struct.pack("<I", count % 2**32))
        file.truncate(count + 44)
    with plain(source(path)) as sound:
        assert sound.frames == count // 2 and sound.seek(count // 2 - 5) and len(sound.read(99)) == 5
    item = source(path)
    assert len(next(blocks(item, RATE))) and "longer than its header can say" in item.notes[0]


def test_broadcast_wav_and_a_bad_chunk_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    broadcast = bytearray(compressed("RF64", "PCM_16"))
    broadcast[:4] = b"BW64"
    assert heard(bytes(broadcast))[0] == SECONDS
    good = encoded(noise(SECONDS, RATE), RATE)
    at = good.find(b"PEAK")
    assert at > 0 and heard(good[: at + 8] + struct.pack("<I", 9) + good[at + 12 :])[0] == SECONDS


def test_flac_of_unknown_length() -> None:
    data = bytearray(compressed("FLAC", "PCM_16", seconds=4.7))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    seconds, item = heard(bytes(data))
    assert abs(seconds - 4.7) < 1e-3 and not item.missing


def test_damage_in_the_middle_is_passed_over() -> None:
    pytest.importorskip("av", reason="the extra `media` is not installed")
    for kind, subtype in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)):
        data = bytearray(compressed(kind, subtype, seconds=6))
        data[len(data) // 2 : len(data) // 2 + 900] = bytes(range(1, 226)) * 4
        seconds, item = heard(bytes(data))
        assert 4.0 < seconds <= 6.01 and len(item.missing) == 1 and " s" in item.missing[0], (kind, item.notes)


# ---- chains, and what stands in front


def test_chained_ogg_is_heard_to_its_end() -> None:
    vorbis, opus = compressed("OGG", "VORBIS", 22_050), compressed("OGG", "OPUS", 48_000)
    for chain in (vorbis + compressed("OGG", "VORBIS", seed=1), opus + opus, vorbis + opus):
        seconds, item = heard(chain)
        assert abs(seconds - 2 * SECONDS) < 0.05 and not item.notes


def test_joined_mp3_is_heard_to_its_end() -> None:
    first, second = compressed("MP3", sample_rate=44_100), compressed("MP3", sample_rate=22_050)
    tag = b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)
    for joined in (first + second, tag + first + b"TAG" + bytes(125) + tag + first):
        seconds, item = heard(joined)
        assert abs(seconds - 2 * SECONDS) < 0.1 and not item.notes


def test_mp3_whose_header_promises_more() -> None:
    data = bytearray(compressed("MP3"))
    at = max(data.find(b"Xing"), data.find(b"Info"))
    frames = struct.unpack(">I", data[at + 8 : at + 12])[0]
    data[at + 8 : at + 12] = struct.pack(">I", 10 * frames)
    seconds, item = heard(bytes(data))
    assert (
        abs(seconds - SECONDS) < 0.15
        and f"promises {10 * frames} frames" in item.missing[0]
        and "20." in item.missing[0]
    )


def test_mp3_of_varying_rate_without_a_header_is_heard_to_its_end() -> None:
    """libsndfile guesses the length from the first frame, here a long one of many short ones."""
    wave = np.concatenate([noise(1, RATE, level=0.5), noise(7, RATE, level=1e-4)])
    data = encoded(wave, RATE, "MP3", None)
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    seconds, item = heard(data[data.find(b"\xff\xf3", tag) :])
    assert tag > 0 and abs(seconds - 8) < 0.15 and not item.missing


@pytest.mark.parametrize(
    "front",
    [
        bytes(2000),
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n",
        b"ID3\x03\x00\x00\x00\x00\x07\x76" + bytes(1014 + 900),
        b"\x12\x99" * 200,
    ],
)
def test_mp3_behind_junk(front: bytes) -> None:
    data = compressed("MP3")
    seconds, item = heard(front + data)
    assert abs(seconds - SECONDS) < 0.01 and not item.missing
    seconds, item = heard(data[700:])  # from the middle of a frame
    assert abs(seconds - SECONDS) < 0.2 and not item.missing and "are no sound" in item.notes[0]


# ---- through the extra


@pytest.mark.parametrize(
    ("form", "codec", "sample_rate"),
    [
        ("ipod", "aac", RATE), ("mov", "pcm_s16be", RATE), ("matroska", "aac", RATE), ("webm", "libopus", 48_000),
        ("adts", "aac", RATE),
        ("ac3", "ac3", 48_000), ("eac3", "eac3", 48_000), ("wv", "wavpack", RATE), ("tta", "tta", RATE), ("avi",
        "mp2", RATE),
        ("mpegts", "aac", RATE), ("mpeg", "mp2", RATE), ("flv", "aac", 44_100), ("caf", "alac", RATE), ("wav", "ac3",
        48_000),
        ("amr", "libopencore_amrnb", 8_000), ("latm", "aac", RATE), ("w64", "pcm_s16le", RATE),
    ],
)  # fmt: skip
def test_other_formats(form: str, codec: str, sample_rate: int) -> None:
    try:
        data = muxed(form, codec, sample_rate)
    except ValueError:
        pytest.skip(f"this FFmpeg writes no {codec}")
    seconds, item = heard(data)
    assert abs(seconds - SECONDS) < 0.16 and not item.missing and item.about[0].sample_rate == sample_rate
    # behind a tag, as some programs write it
    if form == "adts":
        assert abs(heard(b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + data)[0] - SECONDS) < 0.16


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"mp4": muxed("mp4", "aac"), "a codec in wav": muxed("wav", "ac3", 48_000), "mpegts": muxed("mpegts", "aac")}
    monkeypatch.setitem(sys.modules, "av", None)
    for what, each in data.items():
        with pytest.raises(InputError, match=f"holds {what}, which needs the extra `media`: pip install"):
            heard(each)


def test_old_quicktime_without_ftyp() -> None:
    data = muxed("mov", "pcm_s16be")
    size = struct.unpack(">I", data[:4])[0]
    assert data[4:8] == b"ftyp"
    # the same bytes of another kind, so that no offset moves
    assert abs(heard(struct.pack(">I", size) + b"wide" + data[8:])[0] - SECONDS) < 0.1


def test_the_first_track_that_is_not_silent() -> None:
    seconds, item = heard(muxed("matroska", "aac", tracks=("eng", "deu", "fra"), silent=0))
    assert abs(seconds - SECONDS) < 0.1 and not item.missing
    assert item.notes == ["stdin: it has 3 audio tracks; track 2 (deu) is heard, and not track 1 (eng), track 3 (fra)."]


def test_one_bad_packet() -> None:
    data = bytearray(muxed("mp4", "aac"))
    at = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    data[at : at + 400] = b"\xff" * 400
    seconds, item = heard(bytes(data))
    assert (
        SECONDS - 0.5 < seconds < SECONDS + 0.1
        and len(item.missing) == 1
        and "cannot be decoded, the first at" in item.missing[0]
    )
    film = muxed("flv", "aac", 44_100)
    seconds, item = heard(film[: len(film) // 2])
    assert 0.5 < seconds < 1.5 and "it ends at" in item.missing[-1] and " of 2." in item.missing[-1]


def test_text_that_is_none_and_codecs_that_nobody_knows(capfd: pytest.CaptureFixture[str]) -> None:
    data = muxed("mp4", "aac")
    assert b"Lavf" in data and abs(heard(data.replace(b"Lavf", b"\xff\xfe\xe4\x80"))[0] - SECONDS) < 0.2
    odd = wav()
    odd[20:22] = struct.pack("<H", 0x1234)
    wide = wav()
    wide[34:36] = struct.pack("<H", 36)
    wide[32:34] = struct.pack("<H", 5)
    asf = (
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
        + struct.pack("<QIH", 2**62, 9, 0x201)
        + bytes(3000)
    )
    for each in (data.replace(b"mp4a", b"ac-4").replace(b"esds", b"free"), bytes(odd), bytes(wide), asf):
        assert facts(source(each)).sample_rate >= 0
        with pytest.raises(InputError) as error:
            heard(each)
        assert "\n" not in str(error.value) and "not expected" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "file:{}",
        "concat:{}",
    ],
)
def test_no_file_opens_another(text: str, tmp_path: Path) -> None:
    """Neither by its words, nor where its first bytes hide them from us."""
    pytest.importorskip("av", reason="the extra `media` is not installed")
    from mats_model.audio import ffmpeg
    from mats_model.audio.view import View

    other = tmp_path / "other.wav"
    other.write_bytes(wav())
    data = text.format(other).encode()
    with pytest.raises(InputError, match="its content is text"):
        heard(data)
    for kind in ("", "mp4"):
        with pytest.raises(InputError):
            list(ffmpeg.decode(source(data), View(io.BytesIO(data), [(0, len(data))]), kind, 0.0))


# ---- what is no sound, and what goes wrong on the way


class Failing(io.BytesIO):
    """A disk that fails in the middle of a file."""

    def __init__(self, data: bytes, limit: int) -> None:
        super().__init__(data)
        self.limit = limit

    def read(self, size: int | None = -1) -> bytes:
        self._check(len(self.getvalue()) if size is None or size < 0 else size)
        return super().read(size)

    def readinto(self, buffer: Any) -> int:
        self._check(len(buffer))
        return super().readinto(buffer)

    def _check(self, size: int) -> None:
        if self.tell() + size > self.limit:
            raise OSError(5, "Input/output error")


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "flv"])
def test_a_disk_that_fails_is_no_end(
    kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = (
        muxed("flv", "aac", 44_100)
        if kind == "flv"
        else compressed(kind, "PCM_16" if kind in ("WAV", "FLAC") else None)
    )
    monkeypatch.setattr(AudioSource, "open", lambda self: Failing(data, len(data) // 2))
    with pytest.raises(InputError, match=r"cannot be read .*Input/output error"):
        heard(b"x")
    assert capfd.readouterr() == ("", "")


def test_channels_that_cancel() -> None:
    wave = noise(SECONDS, RATE)
    seconds, item = heard(encoded(np.stack([wave, -wave], 1), RATE))
    assert seconds == SECONDS and "cancel" in item.notes[0] and "channel 1" in item.notes[0] and not item.missing
    np.testing.assert_array_equal(np.concatenate(list(blocks(item, RATE))), wave)
    assert not any(window.silent for window in windows(item, RATE, RATE))
    # half of it: the mean is heard where there is one
    half = wave * np.where(np.arange(len(wave)) < RATE, 1, -1).astype(np.float32)
    _, item = heard(encoded(np.stack([wave, half], 1), RATE))
    assert "from 1.0 s on" in item.notes[0]
    # 6 dB of a channel that is alone are no cancelling
    assert not heard(encoded(np.stack([wave, wave * 0], 1), RATE))[1].notes


def test_an_offset_is_no_sound() -> None:
    for sample_rate in (RATE, 44_100):
        flat = np.full((3 * sample_rate, 2), 0.01, np.float32)
        flat[::7] += 2e-5
        assert [window.silent for window in windows(source(encoded(flat, sample_rate)), RATE, RATE)] == [True] * 5
        loud = noise(3, sample_rate) + np.float32(0.01)
        assert not any(window.silent for window in windows(source(encoded(loud, sample_rate)), RATE, RATE))


def test_a_click_is_too_short_to_say() -> None:
    with pytest.raises(InputError, match="lasts 49 ms, which is too short to say what it is"):
        heard(encoded(noise(0.0499, RATE), RATE))
    assert heard(encoded(noise(0.05, RATE), RATE))[0] == 0.05
    # nor does a segment of 10 ms stand alone
    cut = list(windows(source(encoded(noise(2.01, RATE), RATE)), RATE, RATE, 1.0))
    assert (cut[-1].segment, cut[-1].end) == (1, 2.01)


def test_zeros_in_place_of_chunks_end_at_once() -> None:
    for head in (b"RIFF\xff\xff\xff\x07WAVE", b"FORM\x07\xff\xff\xffAIFF"):
        with pytest.raises(InputError, match="thousands of chunks"):
            heard(head + bytes(2_000_000))


def test_mutated_files_give_a_sound_or_a_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    good = [
        compressed(kind, subtype, seconds=0.5)
        for kind, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("CAF", "PCM_16"))
    ]
    good += [compressed("SDS", "PCM_16", seconds=0.5), compressed("WAV", "MS_ADPCM", seconds=0.5)]
    with contextlib.suppress(pytest.skip.Exception):
        good += [muxed("mp4", "aac"), muxed("mpegts", "aac")]
    draw = random.Random(0)
    for number in range(200):
        data = bytearray(draw.choice(good))
        for _ in range(draw.choice([1, 3, 9])):
            at = draw.randrange(min(len(data), draw.choice([300, 1 << 30])))
            data[at : at + draw.choice([1, 4, 200])] = draw.choice(
                [b"\xff\xff\xff\xff", b"\x00", draw.randbytes(3), b""]
            )
        try:
            heard(bytes(data))
        except InputError as error:
            assert "\n" not in str(error) and "not expected" not in str(error), number
    assert capfd.readouterr() == ("", "")


def test_what_is_missing_reaches_the_exit_code(mats: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    files = {
        "cut.wav": bytes(wav())[:40_000],
        "pipe.wav": sized(0),
        "good.wav": bytes(wav()),
        "notes.txt": b"words",
        "x.ts": b"let a = 1;\n",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    run = mats("classify", folder, "--labels", "noise,dog", "-o", "out.txt")
    said = run.stderr.decode().splitlines()
    assert run.returncode == 3 and (tmp_path / "out.txt").read_text().count("\n") == 3
    assert said[0] == "mats: 2 files were passed over, whose endings are of no known sound: 1 .txt, 1 .ts."
    assert (
        len(said) == 4
        and said[3] == "mats: 1 of 3 inputs were heard in part."
        and said[1].startswith(f"mats: {folder}/cut.wav: it is cut short: 24044 of 64000 bytes")
        and "pipe.wav: " in said[2]
    )
    # header alone: the same by file and by pipe, exit 0
    run = mats("classify", "-", "--labels", "noise,dog", stdin=files["pipe.wav"])
    assert run.returncode == 0 and b"is heard" in run.stderr
    lines = dict(line.split("\t", 1) for line in (tmp_path / "out.txt").read_text().splitlines())
    assert run.stdout.decode().rstrip("\n") == lines[f"{folder}/pipe.wav"]
    run = mats("index", "library", folder, "--index", tmp_path / "l.db")
    assert run.returncode == 3 and b"cut.wav: it is cut short" in run.stderr and run.stdout.startswith(b"3 new")


def test_a_folder_named_twice_is_looked_at_once(tmp_path: Path) -> None:
    from mats_model.audio.folders import find_sounds

    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "a.wav").write_bytes(encoded(noise(1)))
    found = find_sounds([str(tmp_path), str(tmp_path)])
    assert len(found.items) == 1 and found.skipped == 1


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_file_is_heard_as_its_bytes_are(kind: str, tmp_path: Path) -> None:
    data = compressed(kind, "PCM_16" if kind in ("WAV", "FLAC") else None, seconds=12.0)
    for name, part in (("whole", data), ("cut", data[: len(data) // 2])):
        (tmp_path / name).write_bytes(part)
        file, given = source(tmp_path / name, "x"), source(part, "x")
        samples, expected = (np.concatenate(list(blocks(item, RATE))) for item in (file, given))
        np.testing.assert_array_equal(samples, expected)
        assert file.notes == given.notes and file.missing == given.missing and bool(file.missing) == (name == "cut")


def test_a_disk_that_fails_under_a_file_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = compressed("FLAC", "PCM_16")
    (tmp_path / "x").write_bytes(data[: len(data) // 2])

    def fails(number: int, count: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("mats_model.audio.view.os.read", fails)
    with pytest.raises(InputError, match=r"cannot be read .*Input/output error"):
        heard(tmp_path / "x")
