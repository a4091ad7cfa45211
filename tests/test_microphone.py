"""Microphones: a sound system made on the spot, and everything that may be wrong with a real one. Pipes of raw
samples."""

from __future__ import annotations

import io
import re
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mats_cli import microphone
from mats_cli.chat.status import Watcher
from mats_cli.microphone import Microphone, RawPipe, devices, open_input
from mats_model.errors import DeviceError, InputError, UsageError
from mats_model.live.events import Tags
from mats_model.mats import Mats


class PortAudioError(Exception):
    pass


class Sounds:
    """A stand-in for sounddevice with two inputs and an output; `block` is what its callback is given."""

    def __init__(self) -> None:
        self.PortAudioError = PortAudioError
        self.default = SimpleNamespace(device=[1, 2])
        self.found: list[dict[str, Any]] = [
            {"name": "Loudspeaker", "max_input_channels": 0, "default_samplerate": 48000.0},
            {"name": "Built-in Mic", "max_input_channels": 2, "default_samplerate": 48000.0},
            {"name": "USB Mic", "max_input_channels": 1, "default_samplerate": 44100.0},
        ]
        self.rates, self.problem, self.streams = {44_100, 48_000}, "", list[Any]()

    def query_devices(self) -> list[dict[str, Any]]:
        return self.found

    def InputStream(self, device: int, samplerate: int, channels: int, dtype: str, callback: Any, latency: str) -> Any:
        if self.problem:
            raise PortAudioError(self.problem, -9999)
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate", -9997)

        def send(block: np.ndarray, overflow: bool = False) -> None:
            callback(block, len(block), None, SimpleNamespace(input_overflow=overflow))

        stream = SimpleNamespace(
            active=True, send=send, start=lambda: None, device=device, sample_rate=samplerate, channels=channels
        )
        stream.abort = stream.close = lambda ignore_errors: setattr(stream, "active", False)
        self.streams.append(stream)
        return stream


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> Sounds:
    made = Sounds()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_inputs_are_listed(sounds: Sounds) -> None:
    assert [(each.number, each.name, each.sample_rate, each.chosen) for each in devices()] == [
        (1, "Built-in Mic", 48_000, True),
        (2, "USB Mic", 44_100, False),
    ]


def test_a_microphone_is_heard(sounds: Sounds) -> None:
    mic = Microphone(seconds=1.0)
    assert (mic.name, mic.ring.sample_rate, mic.ring.channels, mic.notes) == ("Built-in Mic", 48_000, 2, ())
    sounds.streams[0].send(np.ones((480, 2), np.float32))
    sounds.streams[0].send(np.ones((480, 2), np.float32), overflow=True)
    assert mic.ring.total == 960 and mic.ring.overruns == 1 and not mic.ended() and mic.problem() is None
    mic.close()
    assert not sounds.streams[0].active


def test_choosing_one(sounds: Sounds) -> None:
    assert Microphone("2").name == Microphone("usb").name == Microphone("USB Mic").name == "USB Mic"
    for wanted, said in (("7", "is no input"), ("0", "is no input"), ("mic", "fits 2 inputs"), ("x", "is no input")):
        with pytest.raises(UsageError, match=rf"--mic {wanted} {said}; there are 1 \(Built-in Mic\), 2 \(USB Mic\)\."):
            Microphone(wanted)


def test_a_rate_it_does_not_have(sounds: Sounds) -> None:
    mic = Microphone(sample_rate=8000)
    assert mic.ring.sample_rate == 48_000 and mic.notes == (
        "Built-in Mic does not take 8000 Hz; it is heard at 48000 Hz.",
    )
    sounds.rates = {16_000}
    assert Microphone().ring.sample_rate == 16_000
    sounds.rates = set()
    with pytest.raises(DeviceError, match=r"Built-in Mic cannot be opened \(Invalid sample rate\): "):
        Microphone()


def test_no_portaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DeviceError, match="pip install sounddevice"):
        devices()
    monkeypatch.delitem(sys.modules, "sounddevice")
    real = __import__

    def missing(name: str, *more: Any) -> Any:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *more)

    monkeypatch.setattr("builtins.__import__", missing)
    with pytest.raises(
        DeviceError, match=r"`sudo apt install libportaudio2` .*`sudo dnf install portaudio` .*`brew install portaudio`"
    ):
        devices()


def test_no_device_and_no_leave(sounds: Sounds, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds.problem = "Internal PortAudio error"
    with pytest.raises(
        DeviceError, match=r"Built-in Mic cannot be opened \(Internal PortAudio error\): is another program using it"
    ):
        Microphone()
    monkeypatch.setattr(microphone.sys, "platform", "darwin")
    with pytest.raises(DeviceError, match="allow your terminal the microphone in System Settings"):
        Microphone()
    sounds.found = sounds.found[:1]
    with pytest.raises(DeviceError, match="there is no microphone here"):
        Microphone()


def test_only_zeros(sounds: Sounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """What macOS gives to a program that may not listen."""
    mic = Microphone()
    zeros = np.zeros((48_000, 2), np.float32)
    sounds.streams[0].send(zeros)
    assert mic.warning() is None
    sounds.streams[0].send(zeros)
    sounds.streams[0].send(zeros)
    assert mic.warning() == "Built-in Mic sends only zeros: is it muted?"
    monkeypatch.setattr(microphone.sys, "platform", "darwin")
    assert "System Settings" in (mic.warning() or "")
    sounds.streams[0].send(zeros + 1e-4)
    assert mic.warning() is None
    for _ in range(3):
        sounds.streams[0].send(zeros)
    assert mic.warning() is None  # it has been heard: now it is only quiet


def test_unplugged(sounds: Sounds, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Built-in Mic sends nothing any more: was it unplugged?"
    mic = Microphone()
    sounds.streams[0].active = False
    assert mic.ended() and (mic.problem() or "").startswith(said)
    # some systems only fall silent
    mic = Microphone()
    sounds.streams[1].send(np.ones((480, 2), np.float32))
    assert not mic.ended()
    now = time.monotonic()
    monkeypatch.setattr(microphone.time, "monotonic", lambda: now + 10)
    assert mic.ended() and (mic.problem() or "").startswith(said)


def test_status_line(sounds: Sounds, nano: Mats) -> None:
    import soundfile
    from conftest import EXAMPLES

    mic = Microphone("usb")
    watcher = Watcher(mic, nano, Tags(nano, nano.santa.name_texts), -55.0)
    assert watcher.line(80) == "listening"
    samples, sample_rate = soundfile.read(EXAMPLES / "dog.ogg", dtype="float32", always_2d=True)
    assert sample_rate == 44_100
    sounds.streams[0].send(samples[: 2 * sample_rate])
    watcher.look()
    line = watcher.line(100)
    assert re.match(r"\[#########\.\] -9 dB  (Bark|Dog) 0\.", line) and "Dog 0." in line and "Bark 0." in line
    for columns in (100, 60, 59, 40, 20, 5, 1):
        assert len(watcher.line(columns)) <= columns
    # no tag is cut in two, and no meter takes their place
    assert re.match("-9 dB  (Bark|Dog) ", watcher.line(40)) and watcher.line(40)[-5:-2].strip()[-2:] in ("0.", "1.")
    sounds.streams[0].send(np.zeros((sample_rate * 3, 1), np.float32))
    watcher.look()
    assert watcher.line(80) == "[..........] -120 dB  (silence)"
    sounds.streams[0].active = False
    watcher.look()
    assert watcher.line(200).startswith("USB Mic sends nothing any more")


# ---- pipes


def drained(pipe: RawPipe) -> np.ndarray:
    while not pipe.ended():
        time.sleep(0.005)
    return pipe.ring.last(10.0)


class Drip(io.BytesIO):
    """Bytes come a few at a time, and not in whole samples."""

    def read1(self, size: int | None = -1) -> bytes:
        return super().read(7)


@pytest.mark.parametrize("kind", ["s16le", "s32le", "f32le", "u8"])
def test_raw_formats(kind: str) -> None:
    wave = np.linspace(-1, 0.99, 600).reshape(-1, 2).astype(np.float32)
    data = {
        "s16le": (wave * 32768).astype("<i2"),
        "s32le": (wave.astype(np.float64) * 2147483648).astype("<i4"),
        "f32le": wave.astype("<f4"),
        "u8": np.round(wave * 128 + 128).clip(0, 255).astype("u1"),
    }[kind].tobytes()
    pipe = RawPipe(f"{kind},8000,2", Drip(data + b"\x01"))
    heard = drained(pipe)
    assert heard.shape == (300, 2) and pipe.problem() is None
    np.testing.assert_allclose(heard, wave, atol=0.01 if kind == "u8" else 1e-4)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "s16le",
        "s16le,16000",
        "mp3,16000,1",
        "s16le,0,1",
        "s16le,16000,0",
        "s16le,16000,99",
        "s16le;16000;1",
        "s16le,-1,1",
    ],
)
def test_bad_specs(spec: str) -> None:
    with pytest.raises(UsageError, match="give format, rate and channels, as in s16le,16000,1"):
        RawPipe(spec, io.BytesIO())


def test_empty_and_broken_pipes() -> None:
    pipe = RawPipe("s16le,8000,1", io.BytesIO())
    drained(pipe)
    assert pipe.problem() == "standard input is empty: pipe raw samples in."
    pipe = RawPipe("f32le,8000,1", io.BytesIO(np.array([0.0, np.nan], "<f4").tobytes()))
    drained(pipe)
    assert "NaN or infinite samples" in (pipe.problem() or "")


def test_a_patient_pipe_loses_nothing() -> None:
    """The writer is ten times as fast as the reader, and the ring a tenth of the whole."""
    wave = np.arange(8000, dtype="<f4") / 8000
    pipe = RawPipe("f32le,1000,1", io.BytesIO(wave.tobytes()), seconds=0.8, patient=True)
    got: list[np.ndarray] = []
    position = 0
    while position < 8000:
        assert pipe.ring.wait(position + 100, 5.0)
        got.append(pipe.ring.between(position, position + 100))
        position += 100
        pipe.heard_until(position)
    np.testing.assert_array_equal(np.concatenate(got)[:, 0], wave)


def test_options_that_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in (("-", None, None), (None, "s16le,8000,1", None), ("2", "s16le,8000,1", None)):
        with pytest.raises(UsageError, match="go together"):
            open_input(*given, 60.0)
    with pytest.raises(UsageError, match="is for a microphone"):
        open_input("-", "s16le,8000,1", 8000, 60.0)
    monkeypatch.setattr(microphone.sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        open_input("-", "s16le,8000,1", None, 60.0)
