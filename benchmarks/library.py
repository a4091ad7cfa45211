"""The library: how fast it is built, brought up to date, added to and searched, beside faiss and LanceDB where they are
installed; mAP on ESC-10.

    python benchmarks/library.py --data DATA [--part build|update|search|add|map]

Everything is measured in one run on files made for it in a temporary folder; `build` and `update` time the whole
program.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import CLASSES, arguments, esc10, machine

from mats_model import load
from mats_model.library.records import Matrix, Sound, State
from mats_model.library.search import Query, Searcher, best_files, query
from mats_model.library.store import Library
from mats_model.vectors import largest

PARTS = ("build", "update", "search", "add", "map")
WIDTH = 256


def mats(*words: str | Path) -> float:
    """Seconds of the whole program."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "mats_cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def build(data: Path, folder: Path) -> None:
    """ESC-10 in 44.1 kHz stereo WAV, six clips (30 s) a file."""
    clips = esc10(data)
    seconds = 0.0
    for number in range(0, len(clips), 6):
        waves = [soundfile.read(clip.path, dtype="float32")[0] for clip in clips[number : number + 6]]
        wave = np.concatenate(waves)
        seconds += len(wave) / 44_100
        soundfile.write(folder / f"{number:03d}.wav", np.stack([wave, wave[::-1]], 1), 44_100)
    took = mats("index", "library", folder, "--index", folder / "l.db")
    print(
        f"- build: {seconds / 60:.0f} minutes of 44.1 kHz stereo WAV in {took:.1f} s: {seconds / took:.0f}x real "
        "time (asked: 150)",
        flush=True,
    )


def update(data: Path, folder: Path) -> None:
    """10 000 files of twenty contents, indexed once; then nothing has changed."""
    clips = esc10(data)[::20]
    for number in range(10_000):
        shutil.copyfile(clips[number % 20].path, folder / f"{number:05d}.ogg")
    first = mats("index", "library", folder, "--index", folder / "l.db")
    again = statistics.median(mats("index", "library", "--index", folder / "l.db") for _ in range(3))
    print(
        f"- update: 10 000 files, nothing changed: {again:.2f} s (asked: 3; for the first time, as copies of 20: "
        f"{first:.0f} s)",
        flush=True,
    )


def windows_like(real: torch.Tensor, count: int, seed: int) -> np.ndarray:
    """(count, d) float16: real windows of ESC-10, each moved at random, so that they lie as sounds lie."""
    rng = np.random.default_rng(seed)
    made = np.empty((count, WIDTH), np.float16)
    for at in range(0, count, 50_000):
        some = real.numpy()[rng.integers(0, len(real), min(50_000, count - at))]
        some = some + 0.05 * rng.standard_normal(some.shape)
        made[at : at + len(some)] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return made


def fill(store: Library, vectors: np.ndarray, first: int = 0) -> None:
    """A hundred windows a sound."""
    start = np.arange(100, dtype=np.float32) * 2.5
    times = np.stack([start, start + 5], 1)
    for at in range(0, len(vectors), 100):
        part = vectors[at : at + 100]
        number = first + at // 100
        sound = Sound(f"content {number}", 252.5, "wav", 44_100, 2, times, part, part[0])
        store.put(f"/sounds/{number}.wav", State(1, 1), sound)


def timed(search: Callable[[np.ndarray], object], queries: np.ndarray) -> tuple[float, float]:
    """p50 and p95 in milliseconds, after a first one."""
    search(queries[0])
    took = []
    for asked in queries:
        began = time.perf_counter()
        search(asked)
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took), sorted(took)[int(0.95 * len(took))]


def peak() -> float:
    """Megabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def search(data: Path, folder: Path, real: torch.Tensor, count: int, others: bool) -> None:
    """Ten best windows of `count`, for a hundred texts."""
    model = load()
    lines = (data / "captions" / "audiocaps_v1_test.csv").read_text(encoding="utf-8").splitlines()[1::40][:100]
    queries = model.clap.embed_text([line.split(",")[-1] for line in lines])
    vectors = windows_like(real, count, 1)
    began = time.monotonic()
    with Library(folder / f"{count}.db", "bench", WIDTH, create=True) as store:
        fill(store, vectors)
    made = time.monotonic() - began
    del vectors
    before = peak()
    with Library(folder / f"{count}.db") as store:
        began = time.monotonic()
        matrix = store.matrix()
        read = time.monotonic() - began
    searcher = Searcher(
        Matrix(matrix.vectors, matrix.times, np.arange(count))
    )  # each window its own sound, to compare with the others
    asked = np.zeros((0, WIDTH), np.float32)

    def mine(vector: np.ndarray) -> list[int]:
        return [moment.sound for moment in islice(searcher.best(Query(vector[None], asked)), 10)]

    p50, p95 = timed(mine, queries)
    held = peak()
    recalls = []
    for vector in queries:
        # float64, in blocks
        parts = [matrix.vectors[at : at + 100_000] for at in range(0, count, 100_000)]
        scores = np.concatenate([part.astype(float) @ vector.astype(float) for part in parts])
        recalls.append(len(set(largest(scores, 10).tolist()) & set(mine(vector))) / 10)
    recall = sum(recalls) / len(recalls)
    print(
        f"- search, {count} windows: p50 {p50:.1f} ms, p95 {p95:.1f} ms, recall@10 {recall:.3f}; read in {read:.2f} "
        f"s, written in {made:.0f} s;"
        f" peak {held:.0f} MB ({before:.0f} before it was read)",
        flush=True,
    )
    if others:
        beside(matrix.vectors, queries, folder)


def beside(vectors: np.ndarray, queries: np.ndarray, folder: Path) -> None:
    """The same vectors and queries in faiss and LanceDB."""
    try:
        import faiss

        flat = faiss.IndexFlatIP(WIDTH)
        flat.add(vectors.astype(np.float32))
        p50, p95 = timed(lambda q: flat.search(q[None], 10), queries)
        print(f"  - faiss {faiss.__version__} flat, float32: p50 {p50:.1f} ms, p95 {p95:.1f} ms", flush=True)
    except ImportError:
        print("  - faiss is not installed: pip install faiss-cpu")
    try:
        import lancedb
        import pyarrow as arrow

        kind = arrow.list_(arrow.float16(), WIDTH)
        column = arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.reshape(-1), arrow.float16()), WIDTH)
        table = lancedb.connect(str(folder / "lance")).create_table(
            "windows", arrow.table({"vector": column.cast(kind)})
        )
        p50, p95 = timed(lambda q: table.search(q).metric("cosine").limit(10).to_arrow(), queries[:30])
        print(f"  - LanceDB {lancedb.__version__}, without an index: p50 {p50:.1f} ms, p95 {p95:.1f} ms", flush=True)
    except ImportError:
        print("  - LanceDB is not installed: pip install lancedb")


def add(folder: Path, real: torch.Tensor) -> None:
    """A hundred sounds of a hundred windows each put into a store that holds few, and one that holds many."""
    for count in (10_000, 1_000_000):
        path = folder / f"add{count}.db"
        with Library(path, "bench", WIDTH, create=True) as store:
            fill(store, windows_like(real, count, 2))
            took = []
            for turn in range(5):
                more = windows_like(real, 10_000, 3 + turn)
                began = time.perf_counter()
                fill(store, more, count // 100 + turn * 100)
                took.append((time.perf_counter() - began) * 10)
        print(
            f"- add, with {count} windows there: {statistics.median(took):.2f} ms a sound of 100 windows "
            f"({min(took):.2f} to {max(took):.2f})",
            flush=True,
        )
        path.unlink()


def mean_average_precision(data: Path, folder: Path) -> None:
    """The ten class names as queries; all 400 sounds ranked by their best moment."""
    mats("index", "library", data / "esc10", "--index", folder / "esc.db", "-q")
    model = load()
    clips = {str(clip.path.resolve()): clip.target for clip in esc10(data)}
    each = []
    with Library(folder / "esc.db", model.clap.id, model.clap.dim) as store:
        searcher = Searcher(store.matrix())
        for target, name in enumerate(CLASSES):
            ranked = [moment.sound for moment in best_files(searcher.best(query(model, [name])))]
            rows = store.rows(ranked)
            right = np.array([clips[os.path.realpath(rows[number]["paths"][0])] == target for number in ranked])
            each.append(float((np.cumsum(right)[right] / (np.flatnonzero(right) + 1)).sum() / 40))
    shown = ", ".join(f"{name} {value:.2f}" for name, value in zip(CLASSES, each, strict=True))
    print(f"- ESC-10, text to sound, ten class names: mAP {sum(each) / 10:.3f} ({shown})", flush=True)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--part", action="append", choices=PARTS)
    options = parser.parse_args()
    parts = options.part or PARTS
    print(f"{machine()}\n", flush=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for part, work in (("build", build), ("update", update), ("map", mean_average_precision)):
            if part in parts:
                (folder / part).mkdir()
                work(options.data, folder / part)
        if {"search", "add"} & set(parts):
            mats("index", "library", options.data / "esc10", "--index", folder / "esc.db", "-q")
            with Library(folder / "esc.db") as store:
                real = torch.from_numpy(store.matrix().vectors.astype(np.float32))
            if "add" in parts:
                add(folder, real)
            if "search" in parts:
                for count in (100_000, 1_000_000):
                    search(options.data, folder, real, count, count == 1_000_000)


if __name__ == "__main__":
    main()
