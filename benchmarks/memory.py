"""Santa's memory at scale: how long `mats index memory` takes for millions of captions, what it holds, and how fast one
look-up is.

    python benchmarks/memory.py --data DATA [--captions 5000000]

The captions are pairs of AudioCaps captions, joined; all are different. The program is timed as a whole.
"""

from __future__ import annotations

import csv
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import arguments, machine

from mats_model import load
from mats_model.gap.memory import DiskMemory
from mats_model.gap.santa import blend, nearest


def write(data: Path, target: Path, count: int) -> None:
    with (data / "captions" / "audiocaps_v1_train.csv").open(newline="", encoding="utf-8") as handle:
        told = sorted({row["caption"] for row in csv.DictReader(handle)})
    with target.open("w", encoding="utf-8") as sink:
        for number in range(count):
            # neighbours of growing distance: no pair comes twice
            turn, place = divmod(number, len(told))
            sink.write(f"{told[place]} and {told[(place * 31 + 7 * turn + 1) % len(told)].lower()}\n")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--captions", type=int, default=5_000_000)
    options = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(options.data, folder / "captions.txt", options.captions)
        began = time.monotonic()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "mats_cli",
                "index",
                "memory",
                folder / "captions.txt",
                "-o",
                folder / "memory",
                "-q",
            ],
            check=True,
        )
        took = time.monotonic() - began
        held = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        mats = load()
        memory = DiskMemory(folder / "memory", mats.clap.space)
        size = sum(path.stat().st_size for path in (folder / "memory").iterdir()) / 1e6
        print(
            f"- built: {memory.card.captions} captions in {memory.card.clusters} clusters in {took / 60:.1f} minutes"
            f" ({memory.card.captions / took:.0f} a second), {size:.0f} MB on disk; the program held at most "
            f"{held:.0f} MB, mapped vectors included",
            flush=True,
        )
        torch.set_num_threads(1)
        asked = mats.clap.embed_text(
            [
                f"{sound} in the {place}"
                for sound in ("dog", "rain", "engine", "bell")
                for place in ("house", "street", "wood")
            ]
            * 20
        )
        settings = mats.config.santa
        took_each = []
        for vector in asked:
            began = time.perf_counter()
            blend(vector[None], memory, settings)
            took_each.append(1000 * (time.perf_counter() - began))
        took_each.sort()
        middle, late = statistics.median(took_each), took_each[int(0.95 * len(took_each))]
        print(f"- look-up of one vector, one thread: p50 {middle:.2f} ms, p95 {late:.2f} ms (asked: 2)")
        print(
            "- nearest to 'a dog barks': "
            + "; ".join(memory.texts(nearest(memory, mats.clap.embed_text(["a dog barks"])[0], 3)[2].tolist()))
        )


if __name__ == "__main__":
    main()
