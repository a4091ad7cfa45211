"""What the teacher makes of the examples, in parts that are made while the tower learns from the earlier ones.

A part is a folder with one array a file, written whole or not at all:
mels (n, 500, 128) 8-bit log-mel; early, middle, late: the teacher's maps at three depths; local (n, 384, 16) its last
map, averaged over frequency; logits (n, 527); clips (n, 3) and levels (n, 3) as `examples.make` has them.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch

from mats_model.files import whole_folder
from mats_model.gap.kmeans import kmeans
from mats_model.teach.clips import Clips
from mats_model.teach.examples import SAMPLES, make
from mats_model.teach.teacher import Teacher

_CHUNK = 32
# the teacher's maps that the tower is taught to make: name -> layers of the teacher before it
DEPTHS = {"early": 7, "middle": 13, "late": 16}
LOW, STEP = -1.5, 0.02  # the 8-bit log-mel: value = LOW + STEP * code


def decibels(codes: np.ndarray) -> torch.Tensor:
    """8-bit log-mel (n, frames, mels) -> decibels, as nano's front end gives them."""
    return ((torch.from_numpy(codes).float() * STEP + LOW) * 5.0 - 4.5) * (10.0 / np.log(10.0))


@torch.inference_mode()
def heard(teacher: Teacher, waves: torch.Tensor) -> dict[str, np.ndarray]:
    """What a part keeps of waves (n, s), but for which clips they hold."""
    mels = teacher.log_mel(waves)
    codes = ((mels[:, 0].transpose(1, 2) - LOW) / STEP).round().clamp(0, 255).to(torch.uint8)
    kept: dict[str, np.ndarray] = {"mels": codes.numpy()}
    at = {depth: name for name, depth in DEPTHS.items()}
    x = mels.contiguous(memory_format=torch.channels_last)
    for number, layer in enumerate(teacher.features, 1):
        x = layer(x)
        if number in at:
            kept[at[number]] = x.half().numpy()
    kept["local"] = x.mean(2).half().numpy()
    kept["logits"] = teacher.classifier(x.mean((2, 3))).half().numpy()
    return kept


def openings(clips: Clips, rows: list[int]) -> torch.Tensor:
    """The first 5 s of some clips as they are, zeros after them (n, s)."""
    cuts = [clips[row][:SAMPLES] for row in rows]
    return torch.from_numpy(np.stack([np.pad(cut, (0, SAMPLES - len(cut))) for cut in cuts]))


def plain(clips: Clips, teacher: Teacher, rows: list[int]) -> dict[str, np.ndarray]:
    """The openings of some clips, heard by the teacher."""
    parts = []
    for start in range(0, len(rows), _CHUNK):
        parts.append(heard(teacher, openings(clips, rows[start : start + _CHUNK])))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def even_odds(clips: Clips, feature: np.ndarray, clusters: int = 300, power: float = 0.6) -> np.ndarray:
    """How often each clip is drawn (clips,): seldom where many sound alike to the teacher (clips, 384); never what is
    held."""
    x = torch.from_numpy(feature.astype(np.float32))
    x = (x - x.mean(0)) / (x.std(0) + 1e-3)
    known = np.array([number for number, row in enumerate(clips.rows) if row.split != "held"])
    vectors = torch.nn.functional.normalize(x[torch.from_numpy(known)], dim=-1)
    _, assign = kmeans(vectors.numpy(), min(clusters, len(known)), 25, 0)
    sizes = np.bincount(assign)[assign].astype(float)
    odds = np.zeros(len(clips))
    spoken = np.array([0.5 if clips.rows[row].label.startswith("speech") else 1.0 for row in known])
    odds[known] = sizes**-power * spoken
    return odds / odds.sum()


def _place(folder: Path, number: int) -> Path:
    return folder / f"part-{number:04d}"


def produce(clips: Path, weights: Path, folder: Path, odds: np.ndarray, seed: int, count: int, size: int) -> None:
    """Parts 0 to `count` of `size` examples each, on one thread; those that are there are left as they are."""
    torch.set_num_threads(1)
    recordings, teacher = Clips(clips), Teacher.load(weights)
    for number in range(count):
        if _place(folder, number).exists():
            continue
        rows: list[dict[str, np.ndarray]] = []
        for start in range(number * size, (number + 1) * size, _CHUNK):
            examples = [
                make(recordings, odds, seed, index) for index in range(start, min(start + _CHUNK, (number + 1) * size))
            ]
            row = heard(teacher, torch.from_numpy(np.stack([wave for wave, _, _ in examples])))
            row["clips"] = np.array([ids for _, ids, _ in examples], np.int32)
            row["levels"] = np.array([levels for _, _, levels in examples], np.float16)
            rows.append(row)
        with whole_folder(_place(folder, number)) as made:
            for name in rows[0]:
                np.save(made / f"{name}.npy", np.concatenate([row[name] for row in rows]))


class Parts:
    """Parts of a folder, made by another process while they are read. Use as a context."""

    def __init__(
        self, clips: Path, weights: Path, folder: Path, odds: np.ndarray, seed: int, count: int, size: int
    ) -> None:
        self.folder, self.count, self.size = folder, count, size
        self._job = (clips, weights, folder, odds, seed, count, size)
        self._maker: BaseProcess | None = None

    def __enter__(self) -> Parts:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not all(_place(self.folder, number).exists() for number in range(self.count)):
            self._maker = multiprocessing.get_context("spawn").Process(target=produce, args=self._job, daemon=True)
            self._maker.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._maker is not None:
            self._maker.terminate()
            self._maker.join()

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        """One part, memory-mapped; waits until it is made. Errors: RuntimeError when it never will be."""
        place = _place(self.folder, number)
        while not place.exists():
            if self._maker is None or (not self._maker.is_alive() and not place.exists()):
                raise RuntimeError(f"{place} is not there, and nobody makes it any more.")
            time.sleep(0.2)
        return {file.stem: np.load(file, mmap_mode="r") for file in sorted(place.glob("*.npy"))}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[number] for number in range(self.count))
