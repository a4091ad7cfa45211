"""An hour of `mats listen`: what it costs, and whether it grows.

    python benchmarks/listen.py                  one hour, in real time
    python benchmarks/listen.py --minutes 10

Recordings and pauses go through a pipe at 48 kHz stereo, as fast as they would be played. Memory is the process's
resident set, from the fifth minute on; processor time is that of one core.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).parent.parent
RATE, BLOCK = 48_000, 4_800


def programme() -> np.ndarray:
    """A minute or so of sounds and pauses, (s, 2) int16."""
    rng = np.random.default_rng(0)
    parts = []
    for path in sorted((ROOT / "examples").glob("*.ogg")):
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
        parts += [soxr.resample(samples.mean(1), sample_rate, RATE)[: 8 * RATE], np.zeros(4 * RATE, np.float32)]
    mono = np.concatenate(parts)
    mono = mono + rng.standard_normal(len(mono)).astype(np.float32) * 2e-4
    return np.repeat((np.clip(mono, -1, 1) * 32767).astype("<i2")[:, None], 2, 1)


def used(process: int) -> tuple[float, float]:
    """Resident megabytes, processor seconds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--model", default="nano")
    wanted = parser.parse_args()
    sound = programme()
    command = [
        sys.executable,
        "-m",
        "mats_cli",
        "listen",
        "--mic",
        "-",
        "--raw",
        f"s16le,{RATE},2",
        "--json",
        "--on",
        "dog barking",
        "--model",
    ]
    job = subprocess.Popen([*command, wanted.model], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert job.stdin and job.stdout
    os.set_blocking(job.stdout.fileno(), False)
    began, sent, lines, said = time.monotonic(), 0, 0, 0.0
    memory: list[float] = []
    while sent < wanted.minutes * 60 * RATE:
        at = sent % (len(sound) - BLOCK)
        job.stdin.write(sound[at : at + BLOCK].tobytes())
        sent += BLOCK
        time.sleep(max(0.0, began + sent / RATE - time.monotonic()))
        lines += (job.stdout.read() or b"").count(b"\n")
        if time.monotonic() - said >= 60:
            said = time.monotonic()
            megabytes, seconds = used(job.pid)
            memory.append(megabytes)
            print(
                f"{(said - began) / 60:5.1f} min: {megabytes:7.1f} MB, {seconds / (said - began):.1%} of a core, "
                f"{lines} lines",
                flush=True,
            )
            if len(memory) == 2:
                first = seconds, said
    megabytes, seconds = used(job.pid)
    late = [*memory[min(5, len(memory) - 1) :], megabytes]
    share = (
        (seconds - first[0]) / (time.monotonic() - first[1])
        if len(memory) > 1
        else seconds / (time.monotonic() - began)
    )
    job.stdin.close()
    job.wait()
    print(f"{wanted.minutes:g} minutes: {lines} lines; {share:.1%} of one core")
    print(
        f"memory: {memory[min(4, len(memory) - 1)]:.1f} MB after five minutes, {megabytes:.1f} MB at the end;", end=" "
    )
    print(f"median {statistics.median(late):.1f}, most {max(late):.1f} (while a caption is searched)")


if __name__ == "__main__":
    main()
