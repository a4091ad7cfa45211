"""Where a live sound comes from: a microphone, or raw samples through a pipe. The one door to sounddevice and
PortAudio."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mats_model.errors import DeviceError, InputError, UsageError
from mats_model.live.stream import Stream

_NO_PORTAUDIO = (
    "the microphone needs PortAudio, which is not on this machine: `sudo apt install libportaudio2` (Debian, Ubuntu),"
    " `sudo dnf install portaudio` (Fedora), `brew install portaudio` (macOS)."
)
NO_DEVICE = (
    "there is no microphone here: plug one in, name a file, or pipe a sound in with --mic - --raw s16le,16000,1."
)
_FORMATS = {"s16le": ("<i2", 32768.0), "s32le": ("<i4", 2147483648.0), "f32le": ("<f4", 1.0), "u8": ("u1", 128.0)}
_ALLOW = "allow your terminal the microphone in System Settings > Privacy & Security."
# seconds without a block after which a device counts as gone
_GONE = 3.0


@dataclass(frozen=True)
class Device:
    """An input of this machine."""

    number: int
    name: str
    channels: int
    sample_rate: int
    chosen: bool  # by the system


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Sound systems write about plug-ins that they lack straight to the terminal; that is nobody's concern."""
    sys.stderr.flush()
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _sounddevice() -> Any:
    try:
        with _hushed():
            import sounddevice
    except ImportError:
        raise DeviceError(
            "the microphone needs sounddevice, which is not installed: pip install sounddevice."
        ) from None
    except OSError:
        raise DeviceError(_NO_PORTAUDIO) from None
    return sounddevice


def devices() -> list[Device]:
    """All inputs. Errors: DeviceError."""
    sounddevice = _sounddevice()
    try:
        found, chosen = sounddevice.query_devices(), sounddevice.default.device[0]
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the sound system does not answer ({_reason(error)}).") from None
    return [
        Device(
            number, str(each["name"]), each["max_input_channels"], round(each["default_samplerate"]), number == chosen
        )
        for number, each in enumerate(found)
        if each["max_input_channels"] > 0
    ]


def _choose(wanted: str | None) -> Device:
    """By number, or by a part of its name. Errors: UsageError, DeviceError."""
    known = devices()
    if not known:
        raise DeviceError(NO_DEVICE)
    if wanted is None:
        return next((each for each in known if each.chosen), known[0])
    if wanted.isdigit():
        fitting = [each for each in known if each.number == int(wanted)]
    else:
        fitting = [each for each in known if wanted.lower() in each.name.lower()]
        fitting = [each for each in fitting if each.name.lower() == wanted.lower()] or fitting
    if len(fitting) != 1:
        what = "is no input" if not fitting else f"fits {len(fitting)} inputs"
        raise UsageError(
            f"--mic {wanted} {what}; there are {', '.join(f'{each.number} ({each.name})' for each in known)}."
        )
    return fitting[0]


def _reason(error: BaseException) -> str:
    return " ".join(str(part) for part in error.args[:1]).strip(" .")


class Microphone(Stream):
    """Errors: DeviceError, UsageError."""

    def __init__(self, device: str | None = None, sample_rate: int | None = None, seconds: float = 60.0) -> None:
        from mats_model.live.ring import Ring

        sounddevice = _sounddevice()
        chosen = _choose(device)
        self.name = chosen.name
        self._last = time.monotonic()
        self._zeros = True
        channels = min(2, chosen.channels)
        for some in dict.fromkeys([sample_rate or chosen.sample_rate, chosen.sample_rate, 48_000, 44_100, 16_000]):
            self.ring = Ring(seconds, some, channels)
            try:
                with _hushed():
                    self._stream = sounddevice.InputStream(
                        device=chosen.number,
                        samplerate=some,
                        channels=channels,
                        dtype="float32",
                        callback=self._callback,
                        latency="high",
                    )
                    self._stream.start()
                break
            except sounddevice.PortAudioError as error:
                problem = _reason(error)
                if "rate" not in problem.lower():
                    raise DeviceError(_refused(chosen, problem)) from None
        else:
            raise DeviceError(_refused(chosen, problem))
        if sample_rate and sample_rate != self.ring.sample_rate:
            self.notes = (f"{chosen.name} does not take {sample_rate} Hz; it is heard at {self.ring.sample_rate} Hz.",)

    def _callback(self, block: Any, frames: int, clock: Any, status: Any) -> None:
        # the sound card waits for this: copy, count, and be gone
        self.ring.write(block)
        self._last = time.monotonic()
        self._zeros = self._zeros and not block.any()
        if status.input_overflow:
            self.ring.overruns += 1

    def ended(self) -> bool:
        return not self._stream.active or time.monotonic() - self._last > _GONE

    def problem(self) -> str | None:
        if self.ended():
            return f"{self.name} sends nothing any more: was it unplugged? `mats chat --devices` lists what is there."
        return None

    def warning(self) -> str | None:
        # a system that forbids the microphone gives zeros; no real one is that quiet
        if not self._zeros or self.ring.total < 2 * self.ring.sample_rate:
            return None
        return f"{self.name} sends only zeros: {_ALLOW if sys.platform == 'darwin' else 'is it muted?'}"

    def close(self) -> None:
        with _hushed():
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)


def _refused(device: Device, problem: str) -> str:
    hint = _ALLOW if sys.platform == "darwin" else "is another program using it, or may you not use it?"
    return f"{device.name} cannot be opened ({problem}): {hint}"


class RawPipe(Stream):
    """Samples without a header, from a file handle. With `patient` nothing is lost: the writer waits for the reader.

    Errors: UsageError.
    """

    live = False

    def __init__(self, spec: str, handle: Any, seconds: float = 60.0, patient: bool = False) -> None:
        from mats_model.live.ring import Ring

        matched = re.fullmatch(r"(\w+),(\d+),(\d+)", spec)
        if (
            not matched
            or matched[1] not in _FORMATS
            or not 1000 <= int(matched[2]) <= 768_000
            or not 1 <= int(matched[3]) <= 64
        ):
            raise UsageError(
                f"--raw {spec}: give format, rate and channels, as in s16le,16000,1; formats are {', '.join(_FORMATS)}."
            )
        self.name = "standard input"
        self._kind, self._scale = _FORMATS[matched[1]]
        self.ring = Ring(seconds, int(matched[2]), int(matched[3]))
        self._done, self._position, self._patient = threading.Event(), 0, patient
        self._error: str | None = None
        self._came, self._said = time.monotonic(), False
        self._room = threading.Condition()
        threading.Thread(target=self._read, args=(handle,), daemon=True).start()

    def _read(self, handle: Any) -> None:
        width = np.dtype(self._kind).itemsize * self.ring.channels
        rest = b""
        try:
            while data := handle.read1(width * 4096):
                data = rest + data
                whole = len(data) // width * width
                rest = data[whole:]
                if not whole:
                    continue
                samples = np.frombuffer(data[:whole], self._kind).astype(np.float32)
                samples = (samples - self._scale if self._kind == "u1" else samples) / np.float32(self._scale)
                if not np.isfinite(samples).all():
                    self._error = "standard input holds NaN or infinite samples: is the format of --raw right?"
                    break
                piece = max(1, self.ring.size // 4)
                blocks = samples.reshape(-1, self.ring.channels)
                for at in range(0, len(blocks), piece):
                    with self._room:
                        while self._patient and self.ring.total - self._position > self.ring.size // 2:
                            self._room.wait(1.0)
                    self.ring.write(blocks[at : at + piece])
                    self._came, self._said = time.monotonic(), False
        except (OSError, ValueError) as error:
            self._error = f"standard input cannot be read ({error})."
        if self.ring.total == 0 and not self._error:
            self._error = "standard input is empty: pipe raw samples in."
        self._done.set()

    def stalled(self) -> str | None:
        if self._said or self.ended() or time.monotonic() - self._came < _GONE:
            return None
        self._said = True
        return (
            f"{self.name} sends nothing ({self.ring.total / self.ring.sample_rate:.1f} s of sound came so far): "
            "it is waited for; Ctrl-C stops."
        )

    def heard_until(self, position: int) -> None:
        with self._room:
            self._position = position
            self._room.notify()

    def ended(self) -> bool:
        return self._done.is_set()

    def problem(self) -> str | None:
        return self._error


def open_input(
    mic: str | None, raw: str | None, sample_rate: int | None, seconds: float, patient: bool = False
) -> Microphone | RawPipe:
    """What --mic, --raw and --rate ask for. Errors: UsageError, DeviceError, InputError."""
    if mic != "-" and raw is None:
        return Microphone(mic, sample_rate, seconds)
    if mic != "-" or raw is None:
        raise UsageError("--mic - and --raw FORMAT,RATE,CHANNELS go together, as in --mic - --raw s16le,16000,1.")
    if sample_rate is not None:
        raise UsageError("--rate is for a microphone: the rate of --mic - stands in --raw.")
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input is closed: pipe raw samples in.")
    if sys.stdin.isatty():
        raise UsageError("--mic - reads raw samples from standard input, which is the keyboard: pipe them in.")
    return RawPipe(raw, sys.stdin.buffer, seconds, patient)


def play(samples: np.ndarray, sample_rate: int) -> None:
    """Through the loudspeaker, to its end or Ctrl-C. Errors: DeviceError."""
    sounddevice = _sounddevice()
    try:
        with _hushed():
            sounddevice.play(samples, sample_rate)
        sounddevice.wait()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the sound cannot be played ({_reason(error)}).") from None
    finally:
        sounddevice.stop()
