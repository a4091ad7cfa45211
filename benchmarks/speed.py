"""Speed and memory of the whole program, as processes of its own: cold starts, folders of 10 s clips, a library, a long
file, a microphone, and how near the encoder comes to what the machine can do.

    python benchmarks/speed.py
    python benchmarks/speed.py --part cold --part limit

Seconds are of the clock, in brackets those of the processor, which a busy machine changes less. What is compared is run
in turn, and the ratio is the median of the pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from common import ROOT, machine

from mats_model.clap.layers import SECTIONS, Block, Conv, Layer
from mats_model.clap.nano import NanoClap
from mats_model.library.records import Sound, State
from mats_model.library.store import Library
from mats_model.weights.loading import load_ears

RATE = 44_100
CLASSIFY = ("classify", "--labels", "dog bark,rain,clock,car,baby cry,wind,music,speech,engine,birds")
_CHILD = """
import json, os, subprocess, sys, time
began = time.perf_counter()
job = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(job.pid, 0)
print(json.dumps([status, time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


@dataclass(frozen=True)
class Took:
    """A whole process: seconds of the clock and of the processor, its largest memory in MB."""

    seconds: float
    processor: float
    memory: float


def run(*words: str | Path) -> Took:
    """A process; its exit code must be 0."""
    command = [sys.executable, "-c", _CHILD, sys.executable, *map(str, words)]
    status, *took = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if status:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {status}.")
    return Took(*took)


def mats(*words: str | Path) -> Took:
    return run("-m", "mats_cli", *words)


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


def write_library(path: Path, count: int) -> None:
    """`count` windows of noise in the space of nano, a hundred a sound."""
    rng, clap = np.random.default_rng(0), load_ears("nano").clap
    start = np.arange(100, dtype=np.float32) * 2.5
    with Library(path, clap.id, clap.dim, create=True) as store:
        for number in range(count // 100):
            vectors = rng.standard_normal((100, clap.dim))
            vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
            times = np.stack([start, start + 5], 1)
            sound = Sound(f"content {number}", 252.5, "wav", RATE, 2, times, vectors, vectors[0])
            store.put(f"/sounds/{number}.wav", State(1, 1), sound)


# ---- parts


def cold(folder: Path, rounds: int = 5) -> None:
    """One answer each, beside the import of torch."""
    one, index = folder / "one.wav", folder / "l.db"
    write_clip(one, 10, 0)
    write_library(index, 10_000)
    asked = {
        "caption of a 10 s file": ("caption", one),
        "classify with ten labels": (*CLASSIFY, one),
        "search in 10 000 windows": ("search", "a dog barks", "--index", index),
    }
    for what, words in asked.items():
        pairs = [(run("-c", "import torch"), mats(*words)) for _ in range(rounds)]
        clock = statistics.median(ours.seconds / torch.seconds for torch, ours in pairs)
        used = statistics.median(ours.processor / torch.processor for torch, ours in pairs)
        torch, ours = pairs[rounds // 2]
        print(
            f"- cold {what}: {clock:.2f} of import torch ({used:.2f}); {ours.seconds:.2f} s ({ours.processor:.2f}) and "
            f"{torch.seconds:.2f} s ({torch.processor:.2f}), {ours.memory:.0f} MB",
            flush=True,
        )


def folders(folder: Path, clips: int) -> None:
    """Many clips, the start of the program and decoding included."""
    (folder / "clips").mkdir()
    for number in range(clips):
        write_clip(folder / "clips" / f"{number:04d}.wav", 10, number)
    for words in ((*CLASSIFY,), ("caption",), ("index", "library", "--index", folder / "clips.db")):
        took = mats(*words, folder / "clips")
        print(
            f"- {words[0]}{' library' * (words[0] == 'index')}: {clips} clips of 10 s in {took.seconds:.2f} s "
            f"({took.processor:.2f}): {clips * 10 / took.seconds:.0f}x real time, {clips / took.seconds:.1f} a second, "
            f"{took.memory:.0f} MB",
            flush=True,
        )


def long(folder: Path, hours: float) -> None:
    """Memory does not grow with the length of a file."""
    write_clip(folder / "short.wav", 10, 0)
    write_clip(folder / "long.wav", hours * 3600, 1)
    short, whole = mats("caption", folder / "short.wav"), mats("caption", folder / "long.wav")
    print(
        f"- memory: {short.memory:.0f} MB for 10 s, {whole.memory:.0f} MB for {hours:g} h: "
        f"{whole.memory - short.memory:+.0f} MB ({hours * 3600 / whole.seconds:.0f}x real time on one file)",
        flush=True,
    )


def listen(minutes: float) -> None:
    """`mats listen`, four updates a second, with sounds as fast as they would be played; `listen.py` tells more."""
    said = subprocess.run(
        [sys.executable, Path(__file__).with_name("listen.py"), "--minutes", str(minutes)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for line in said.splitlines()[-2:]:
        print(f"- listen: {line}", flush=True)


def beside_transformers(clips: int = 16, rounds: int = 3) -> None:
    """Embeddings of 10 s clips at the encoders' own rates, by nano and by ClapModel with random weights, the features
    of both included."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    model = transformers.ClapModel(transformers.ClapConfig()).eval()
    extractor = transformers.ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")
    rng, clap = np.random.default_rng(0), load_ears("nano").clap
    theirs = [(0.1 * rng.standard_normal(480_000)).astype(np.float32) for _ in range(clips)]
    ours = [(0.1 * rng.standard_normal(320_000)).astype(np.float32) for _ in range(clips)]
    clap.embed_windows(ours[0][None, : clap.window])
    rates: list[tuple[float, float]] = []
    for _ in range(rounds):
        began = time.perf_counter()
        for wave in ours:
            clap.embed_windows(np.stack([wave[at : at + clap.window] for at in (0, 80_000, 160_000)]))
        middle = time.perf_counter()
        with torch.inference_mode():
            for at in range(0, clips, 4):
                model.get_audio_features(**extractor(theirs[at : at + 4], sampling_rate=48_000, return_tensors="pt"))
        rates.append((clips / (middle - began), clips / (time.perf_counter() - middle)))
    mine, other = (statistics.median(each) for each in zip(*rates, strict=True))
    print(f"- clips of 10 s a second: nano {mine:.1f}, transformers' ClapModel {other:.2f}: {mine / other:.0f} times")


def multiply_adds() -> int:
    """Of the convolutions of nano's tower, for one window."""
    high, wide, total = 128, 500, 0

    def convolve(conv: Conv) -> None:
        nonlocal high, wide, total
        high, wide = -(-high // conv.stride), -(-wide // conv.stride)
        total += high * wide * conv.out * (conv.inp // conv.groups) * conv.kernel**2

    def parts(layer: Layer) -> list[Conv]:
        if isinstance(layer, Block):
            inner = [part for part in layer.widening() if isinstance(part, Conv)]
            return [*inner, Conv(layer.wide, layer.out)]
        return [layer] if isinstance(layer, Conv) else []

    for layers in SECTIONS.values():
        for layer in layers:
            for conv in parts(layer):
                convolve(conv)
    return total


def limit(rounds: int = 50) -> None:
    """What one core multiplies in a window of nano, and in a large product of matrices; the best of many."""
    from mats_model.onnx import Graph

    clap, rng = load_ears("nano").clap, np.random.default_rng(0)
    assert isinstance(clap, NanoClap)
    wave, matrix = (rng.standard_normal(size).astype(np.float32) for size in (clap.window, (1024, 1024)))
    graph = Graph()
    graph.output(graph.node("MatMul", graph.input("x", [1024, 1024]), graph.weight("w", matrix)), [1024, 1024])
    product = graph.session()
    window = peak = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        clap.embed_alone(wave)
        middle = time.perf_counter()
        product(x=matrix)
        window, peak = min(window, middle - began), min(peak, time.perf_counter() - middle)
    work = multiply_adds()
    mine, most = work / window / 1e9, 1024**3 / peak / 1e9
    print(
        f"- limit: a window takes {1000 * window:.2f} ms of one core, log-mel included, for {work / 1e6:.0f} million "
        f"multiply-adds of the tower: {mine:.0f} thousand million a second, {mine / most:.0%} of what a product of "
        f"large matrices reaches ({most:.0f})"
    )


def main() -> None:
    parts = ("cold", "folders", "long", "listen", "transformers", "limit")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--part", action="append", choices=parts)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    print(f"{machine()}\n")
    for part in options.part or parts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if part == "cold":
                cold(folder)
            elif part == "folders":
                folders(folder, options.clips)
            elif part == "long":
                long(folder, options.hours)
            elif part == "listen":
                listen(options.minutes)
            elif part == "transformers":
                beside_transformers()
            else:
                limit()


if __name__ == "__main__":
    main()
