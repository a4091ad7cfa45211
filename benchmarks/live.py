"""How soon a live sound is named, and whether any of it is lost while an answer is made.

    python benchmarks/live.py                            time to the first tag and to the first word, through a pipe
    python benchmarks/live.py --model mini --lost 60     blocks lost in a minute of answers; needs a microphone, a
    virtual one will do

The pipe is 48 kHz stereo, written as fast as it would be played: a second of quiet, the first second of a recording,
quiet. A tag is on the status line when the watcher has it; the line is drawn four times a second, so up to 0.25 s may
be added. A first word is counted from the Enter at which the sound ends.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from mats_cli.chat.session import Session, Settings
from mats_cli.chat.status import Watcher
from mats_cli.microphone import Microphone, RawPipe

EXAMPLES = Path(__file__).parent.parent / "examples"
RATE, BLOCK = 48_000, 1_200
KNOWN = {
    "baby": {"Baby cry, infant cry", "Crying, sobbing", "Child speech, kid speaking", "Baby laughter", "Whimper"},
    "dog": {"Bark", "Dog", "Bow-wow", "Yip"},
    "rooster": {"Crowing, cock-a-doodle-doo", "Chicken, rooster", "Fowl"},
    "sneeze": {"Sneeze", "Cough", "Throat clearing"},
}


def scene(name: str) -> np.ndarray:
    """Quiet, a second of a recording, quiet: (s, 2) int16."""
    samples, sample_rate = soundfile.read(EXAMPLES / f"{name}.ogg", dtype="float32", always_2d=True)
    sound = soxr.resample(samples.mean(1), sample_rate, RATE)
    first = int(np.argmax(np.abs(sound) > 0.1 * np.abs(sound).max()))
    wave = np.concatenate([np.zeros(RATE), sound[first : first + RATE], np.zeros(4 * RATE)])
    wave = wave + np.random.default_rng(0).standard_normal(len(wave)) * 2e-4
    return np.repeat((np.clip(wave, -1, 1) * 32767).astype("<i2")[:, None], 2, 1)


def once(session: Session, name: str) -> tuple[float, float]:
    """Seconds from the end of the sound to the first tag that fits (below 0: before its end), and to the first word of
    an answer."""
    read, write = os.pipe()
    samples = scene(name)
    ends = 2 * RATE
    over = threading.Event()
    clock: dict[str, float] = {}

    def play() -> None:
        began = time.perf_counter()
        with os.fdopen(write, "wb", buffering=0) as sink:
            for at in range(0, len(samples), BLOCK):
                sink.write(samples[at : at + BLOCK].tobytes())
                time.sleep(max(0.0, began + (at + BLOCK) / RATE - time.perf_counter()))
                if at + BLOCK >= ends and not over.is_set():
                    clock["end"] = time.perf_counter()
                    over.set()

    session.source = source = RawPipe(f"s16le,{RATE},2", os.fdopen(read, "rb"))
    session.follow()
    watcher = Watcher(source, session.mats, session.tags, -55.0)
    watcher.start()
    player = threading.Thread(target=play)
    player.start()
    word = 0.0
    tag = 0.0
    while player.is_alive():
        if not tag and any(label.name in KNOWN[name] for label in watcher.heard):
            tag = time.perf_counter()
        if over.is_set() and not word:
            session.catch_up()
            pieces = session.conversation.ask("What do you hear?")
            next(pieces)
            word = time.perf_counter()
            for _ in pieces:
                pass
        time.sleep(0.005)
    watcher.stop()
    watcher.join()
    return (tag or float("inf")) - clock["end"], word - clock["end"]


def lost(session: Session, seconds: float, device: str | None) -> None:
    """A microphone is heard while one question after the other is answered."""
    microphone = Microphone(device, 48_000)
    session.source = microphone
    session.follow()
    session.settings.gate = -200.0  # whatever it hears, even nothing, is asked about
    watcher = Watcher(microphone, session.mats, session.tags, -200.0)
    watcher.start()
    time.sleep(2.0)
    began, first, answers = time.perf_counter(), microphone.ring.total, 0
    while time.perf_counter() - began < seconds:
        session.catch_up()
        if session.conversation.hearing is None:
            raise SystemExit("the microphone gives nothing at all: let something sound meanwhile.")
        for _ in session.conversation.ask(("What do you hear?", "Is there a dog?", "What happens then?")[answers % 3]):
            pass
        answers += 1
    elapsed, heard = time.perf_counter() - began, microphone.ring.total - first
    watcher.stop()
    watcher.join()
    microphone.close()
    missing = elapsed - heard / microphone.ring.sample_rate
    print(
        f"{microphone.name} at {microphone.ring.sample_rate} Hz: {answers} answers in {elapsed:.0f} s, "
        f"{microphone.ring.overruns} blocks lost,"
        f" {heard / microphone.ring.sample_rate:.2f} s heard ({missing:+.2f} s missing)"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="nano")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--lost", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--device")
    wanted = parser.parse_args()
    torch.set_num_threads(1)

    def no_input() -> RawPipe:
        raise RuntimeError

    session = Session(Settings(model=wanted.model, quiet=True), no_input)
    if wanted.lost:
        lost(session, wanted.lost, wanted.device)
        return
    once(session, "dog")  # warm
    tags, words = zip(*(once(session, name) for _ in range(wanted.repeat) for name in KNOWN), strict=True)
    print(f"{len(tags)} sounds of 1 s, {wanted.model}, {os.cpu_count()} cores; seconds from the end of the sound")
    print(f"first fitting tag: median {statistics.median(tags):+.2f}, latest {max(tags):+.2f}")
    print(f"first word of the answer: median {statistics.median(words):.2f}, latest {max(words):.2f}")


if __name__ == "__main__":
    main()
