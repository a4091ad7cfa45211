"""Captions -> Santa's memory on disk: embedded, their noise drawn once, clustered; whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mats_model.clap.protocol import Clap
from mats_model.errors import UsageError
from mats_model.files import whole_folder
from mats_model.gap.memory import FILES, FORMAT, MemoryCard
from mats_model.vectors import floats

_BLOCK = 8192
# vectors in a cluster, on average: what a look-up reads
_CLUSTER = 4096
_ROUNDS = 25


@dataclass(frozen=True)
class Progress:
    """Captions embedded so far, or vectors put into clusters."""

    what: str
    done: int


def check_replaceable(folder: Path) -> None:
    """That a new memory may take this place: nothing is there, or a memory and nothing beside it. Errors:
    UsageError."""
    try:
        os.lstat(folder)
    except FileNotFoundError:
        return
    held = list(folder.iterdir()) if folder.is_dir() else []
    if not (folder / "memory.json").is_file() or not all(each.name in FILES and each.is_file() for each in held):
        raise UsageError(f"{folder} is there and is no memory, or holds more than one: choose another folder.")


def cluster_count(captions: int) -> int:
    """One cluster as long as all can be looked at in a moment, else some 4096 in each."""
    return 1 if captions <= 4 * _CLUSTER else -(-captions // _CLUSTER)


def build(
    captions: Iterable[str], clap: Clap, folder: Path, files: list[str], variance: float = 0.0, clusters: int = 0,
    seed: int = 0,
    audio: np.ndarray | None = None,
) -> Iterator[Progress | MemoryCard]:  # fmt: skip
    """Write the folder; the same caption twice is kept once. `audio` (n, d) are embeddings of recordings. Yields the
    card last.

    What is held at once does not grow with the captions, but for 32 bytes each. Errors: UsageError, also where
    something else than a memory lies there.
    """
    check_replaceable(folder)
    try:
        with whole_folder(folder, instead=True) as work:
            count, mean = 0, np.zeros(clap.dim)
            for done, summed in _embed(captions, clap, work, variance, seed):
                count, mean = done, mean + summed
                yield Progress("captions embedded", done)
            if not count:
                raise UsageError(f"there are no captions in {', '.join(files)}.")
            many = min(clusters or cluster_count(count), count)
            yield from _cluster(work, count, clap.dim, many, seed)
            means = np.stack([mean / count, audio.mean(0) if audio is not None else np.zeros(clap.dim)])
            np.save(work / "means.npy", means.astype(np.float32))
            card = MemoryCard(
                FORMAT, clap.space, clap.dim, count, many, variance, seed, 0 if audio is None else len(audio), files
            )
            (work / "memory.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
            check_replaceable(folder)
    except OSError as error:
        raise UsageError(
            f"the memory {folder} cannot be written ({error.strerror}): make room, or choose another place."
        ) from None
    yield card


def _embed(
    captions: Iterable[str], clap: Clap, work: Path, variance: float, seed: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Unsorted vectors, texts and their offsets; yields how many there are, and the sum of the newest."""
    noise = _noise(variance, seed)
    seen = _Seen()
    offsets = array("q", [0])
    with (work / "texts.txt").open("wb") as texts, (work / "raw").open("wb") as raw:
        block: list[str] = []

        def flush() -> np.ndarray:
            vectors = noise(clap.embed_text(block))
            raw.write(vectors.astype(np.float16).tobytes())
            for text in block:
                texts.write(text.encode("utf-8", "replace") + b"\n")
                offsets.append(texts.tell())
            block.clear()
            return vectors.sum(0, dtype=np.float64)

        for some in _blocks(captions):
            block += seen.new(some)
            if block:
                summed = flush()
                yield len(offsets) - 1, summed
    np.save(work / "offsets.npy", np.array(offsets, np.int64))


def _noise(variance: float, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Embeddings (n, d) -> the same with noise, drawn one block after the other; without noise torch is not needed."""
    if not variance:
        return lambda vectors: vectors
    import torch

    from mats_model.gap.noise import noised

    generator = torch.Generator().manual_seed(seed)
    return lambda vectors: noised(vectors, variance, generator).numpy()


def _blocks(captions: Iterable[str]) -> Iterator[list[str]]:
    left = iter(captions)
    return iter(lambda: list(itertools.islice(left, _BLOCK)), [])


class _Seen:
    """Which texts have come already, at 8 bytes each: sorted runs of digests, joined when they are of like length."""

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []

    def new(self, texts: list[str]) -> list[str]:
        """Those that have not come before, each once; upper and lower case are the same."""
        digests = (hashlib.blake2b(text.lower().encode("utf-8", "replace"), digest_size=8).digest() for text in texts)
        keys = np.frombuffer(b"".join(digests), np.uint64)
        fresh = np.zeros(len(keys), bool)
        fresh[np.unique(keys, return_index=True)[1]] = True
        for run in self.runs:
            at = np.searchsorted(run, keys).clip(max=len(run) - 1)
            fresh &= run[at] != keys
        if fresh.any():
            self.runs.append(np.sort(keys[fresh]))
        while len(self.runs) > 1 and len(self.runs[-2]) < 2 * len(self.runs[-1]):
            self.runs.append(np.sort(np.concatenate([self.runs.pop(), self.runs.pop()])))
        return [text for text, wanted in zip(texts, fresh, strict=True) if wanted]


def _cluster(work: Path, count: int, width: int, clusters: int, seed: int) -> Iterator[Progress]:
    raw = np.memmap(work / "raw", np.float16, "c", shape=(count, width))
    if clusters == 1:
        centres = floats(raw[: min(count, 1 << 18)]).mean(0, dtype=np.float64, keepdims=True).astype(np.float32)
        assign = np.zeros(count, np.int32)
    else:
        from mats_model.gap.kmeans import kmeans

        rng = np.random.default_rng(seed)
        sample = np.sort(rng.permutation(count)[: max(64 * clusters, 65_536)])
        centres, _ = kmeans(floats(raw[sample]), clusters, _ROUNDS, seed)
        assign = np.empty(count, np.int32)
        for at in range(0, count, _BLOCK):
            block = floats(raw[at : at + _BLOCK])
            # nearest by L2: the vector's own length is the same for all centres
            assign[at : at + _BLOCK] = (block @ centres.T - 0.5 * np.square(centres).sum(-1)).argmax(-1)
            yield Progress("captions in clusters", min(count, at + _BLOCK))
    order = np.argsort(assign, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(assign, minlength=clusters))])
    vectors = np.lib.format.open_memmap(work / "vectors.npy", "w+", np.float16, (count, width))
    for at in range(0, count, _BLOCK):
        vectors[at : at + _BLOCK] = raw[order[at : at + _BLOCK]]
    vectors.flush()
    del raw, vectors
    np.save(work / "order.npy", order.astype(np.int64))
    np.save(work / "starts.npy", starts.astype(np.int64))
    np.save(work / "centres.npy", centres)
    (work / "raw").unlink()
