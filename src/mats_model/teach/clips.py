"""Recordings for the audio tower: tar shards of clips, decoded once to 16-bit samples at 32 kHz, then read by slice."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE = 32_000


@dataclass(frozen=True)
class Clip:
    """One row of the manifest: where its samples lie and what its file was called."""

    name: str
    source: str
    family: str
    label: str
    split: str  # "train", or "held": never trained on
    start: int
    length: int


class Clips:
    """All clips behind one memory map; `clips[i]` gives float32 samples (s,) at 32 kHz."""

    def __init__(self, folder: Path) -> None:
        rows = json.loads((folder / "clips.json").read_text())
        self.rows = [Clip(**row) for row in rows]
        self.samples = np.memmap(folder / "clips.i16", dtype=np.int16, mode="r")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        row = self.rows[index]
        return self.samples[row.start : row.start + row.length].astype(np.float32) / 32768.0


def _decode_shard(path: Path, rows: list[dict[str, str]], out: Path) -> list[dict[str, object]]:
    import soundfile
    import soxr

    wanted = {row["clip"]: row for row in rows}
    done: list[dict[str, object]] = []
    start = 0
    with tarfile.open(path) as shard, out.open("wb") as sink:
        for member in shard:
            row = wanted.get(Path(member.name).name)
            handle = shard.extractfile(member) if row and member.isfile() else None
            if row is None or handle is None:
                continue
            wave, sample_rate = soundfile.read(io.BytesIO(handle.read()), dtype="float32", always_2d=True)
            mono = soxr.resample(wave.mean(1), sample_rate, RATE)
            peak = float(np.abs(mono).max()) if len(mono) else 0.0
            if peak == 0.0:
                continue
            pcm = np.round(mono / max(1.0, peak) * 32767).astype(np.int16)
            sink.write(pcm.tobytes())
            entry = {**{key: row[key] for key in ("source", "family", "label")}, "split": row.get("split", "train")}
            done.append({"name": row["clip"], **entry, "start": start, "length": len(pcm)})
            start += len(pcm)
    return done


def prepare(audio: Path, folder: Path) -> Clips:
    """Decode every shard of `audio` (manifest.csv, shard-N.tar) into `folder`, once; later calls only open it."""
    if (folder / "clips.json").exists():
        return Clips(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (audio / "manifest.csv").open(newline="", encoding="utf-8") as handle:
        manifest = list(csv.DictReader(handle))
    shards = sorted({row["shard"] for row in manifest}, key=int)
    parts = [folder / f"part-{shard}" for shard in shards]
    jobs = [
        (audio / f"shard-{shard}.tar", [row for row in manifest if row["shard"] == shard], part)
        for shard, part in zip(shards, parts, strict=True)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        tables = list(pool.map(_decode_shard, *zip(*jobs, strict=True)))
    rows: list[dict[str, object]] = []
    offset = 0
    with (folder / "clips.i16").open("wb") as sink:
        for table, part in zip(tables, parts, strict=True):
            rows += [{**row, "start": int(str(row["start"])) + offset} for row in table]
            data = part.read_bytes()
            sink.write(data)
            offset += len(data) // 2
            part.unlink()
    (folder / "clips.json").write_text(json.dumps(rows))
    return Clips(folder)
