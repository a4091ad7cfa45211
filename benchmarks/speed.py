"""Speed and memory of the whole program, as processes of its own: folders of 10 s clips, a cold start, a long file.

python benchmarks/speed.py [--clips 200]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from common import ROOT, machine

RATE = 44_100


def write_clip(path: Path, seconds: float, seed: int) -> None:
    """Examples one after the other in another order, 44.1 kHz stereo 16-bit; in blocks, so that hours fit."""
    rng = np.random.default_rng(seed)
    sounds = [soundfile.read(file, dtype="float32")[0] for file in sorted((ROOT / "examples").glob("*.ogg"))]
    left = round(seconds * RATE)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as sink:
        while left > 0:
            wave = sounds[int(rng.integers(len(sounds)))][:left] * float(rng.uniform(0.3, 0.9))
            sink.write(np.stack([wave, wave], 1))
            left -= len(wave)


def run(*words: str) -> tuple[float, float]:
    """Seconds, and the process's largest memory in MB."""
    code = (
        "import os, resource, subprocess, sys, time\n"
        "began = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, *words], check=True, capture_output=True, text=True
    )
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--hours", type=float, default=3.0)
    options = parser.parse_args()
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clips"
        folder.mkdir()
        for number in range(options.clips):
            write_clip(folder / f"{number:04d}.wav", 10, number)
        one = str(folder / "0000.wav")
        # pairs, one after the other, five times: the machines are noisy
        pairs = [(run("-c", "import torch")[0], run("-m", "mats_cli", "caption", one)[0]) for _ in range(5)]
        torch_alone, caption = sorted(a for a, _ in pairs)[2], sorted(b for _, b in pairs)[2]
        print(
            f"cold start: import torch {torch_alone:.2f} s, caption of one 10 s file {caption:.2f} s, ratio "
            f"{sorted(b / a for a, b in pairs)[2]:.2f}"
        )
        seconds, _ = run("-m", "mats_cli", "classify", str(folder), "--labels", "dog bark,rain,clock")
        warm = seconds - torch_alone
        told = f"{options.clips} clips of 10 s in {seconds:.1f} s"
        print(
            f"classify: {told}: {options.clips * 10 / seconds:.0f}x real time, {options.clips * 10 / warm:.0f}x "
            "without the import of torch"
        )
        seconds, _ = run("-m", "mats_cli", "caption", str(folder))
        rate, warm_rate = options.clips / seconds, options.clips / (seconds - torch_alone)
        print(
            f"caption: {options.clips} clips in {seconds:.1f} s: {rate:.1f} clips/s, {warm_rate:.1f} without the "
            "import of torch"
        )
        long = Path(temporary) / "long.wav"
        write_clip(long, options.hours * 3600, 1)
        _, short_memory = run("-m", "mats_cli", "caption", one)
        seconds, long_memory = run("-m", "mats_cli", "caption", str(long))
        print(
            f"memory: {short_memory:.0f} MB for 10 s, {long_memory:.0f} MB for {options.hours:g} h: "
            f"{long_memory - short_memory:+.0f} MB"
            f" ({options.hours * 3600 / seconds:.0f}x real time on one file)"
        )


if __name__ == "__main__":
    main()
