"""Santa's memory as a folder, of any size: captions -> embeddings with their noise drawn once -> seeded k-means ->
clusters on disk.

memory.json     what it was made of, and by which encoder
vectors.npy     (m, d) float16, unit length, cluster after cluster; read where it lies
starts.npy      (K + 1,) first place of each cluster
centres.npy     (K, d) float32
order.npy       (m,) line of texts.txt that each place holds
texts.txt       the captions, one a line; offsets.npy (m + 1,) where each begins
means.npy       (2, d) of the memory, and of recordings where some were given
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from mats_model.clap.protocol import Clap
from mats_model.errors import MismatchError, ModelError, UsageError
from mats_model.files import read_json, whole_folder
from mats_model.settings import May, fill
from mats_model.vectors import finite_halves, floats, unit

FORMAT = 1
_FILES = {
    "memory.json", "vectors.npy", "starts.npy", "centres.npy", "order.npy", "texts.txt", "offsets.npy", "means.npy",
}  # fmt: skip
_BLOCK = 8192
# vectors in a cluster, on average: what a look-up reads
_CLUSTER = 4096
_ROUNDS = 25
_LONGEST = 1 << 20  # bytes of a text


@dataclass(frozen=True)
class MemoryCard:
    """memory.json."""

    MAY: ClassVar[Mapping[str, May]] = {
        "width": (1, 16_384), "captions": (1, 10**12), "clusters": (1, 10**9), "variance": (0, 1e3),
        "recordings": (0, 10**12),
    }  # fmt: skip

    format: int = FORMAT
    space: str = ""  # id of the encoder's text side
    width: int = 0  # d
    captions: int = 0  # m
    clusters: int = 0  # K
    variance: float = 0.0  # of the noise, per dimension
    seed: int = 0
    recordings: int = 0  # whose mean is kept, for way=shift
    files: list[str] = field(default_factory=list)


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
    if not (folder / "memory.json").is_file() or not all(each.name in _FILES and each.is_file() for each in held):
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


class DiskMemory:
    """A memory folder; what is looked up is read where it lies. Errors: ModelError when it is none or incomplete;
    MismatchError when another encoder made it."""

    def __init__(self, folder: Path, space: str) -> None:
        self.folder = folder
        self.card = read_card(folder)
        if self.card.space != space:
            raise MismatchError(
                f"the memory {folder} was made with another encoder ({self.card.space}, this one is {space}): make it "
                "again with `mats index memory`."
            )
        m, d, clusters = self.card.captions, self.card.width, self.card.clusters
        self.vectors, self.order = self._open("vectors", np.float16, (m, d)), self._open("order", np.int64, (m,))
        self.offsets, self.starts = (
            self._open("offsets", np.int64, (m + 1,)),
            self._open("starts", np.int64, (clusters + 1,)),
        )
        centres, means = self._open("centres", np.float32, (clusters, d)), self._open("means", np.float32, (2, d))
        if self.starts[0] != 0 or self.starts[-1] != m or (np.diff(self.starts) < 0).any():
            raise self._wrong("its clusters do not follow each other")
        if not np.isfinite(centres).all() or not np.isfinite(means).all():
            raise self._wrong("its centres hold numbers that are none")
        self.centres = np.array(centres)
        self.text_mean = np.array(means[0])
        self.audio_mean = np.array(means[1]) if self.card.recordings else None

    def _wrong(self, why: str) -> ModelError:
        return ModelError(
            f"the memory {self.folder} is not whole, or not what its memory.json says ({why}): make it again with "
            "`mats index memory`."
        )

    def _open(self, name: str, kind: type, shape: tuple[int, ...]) -> np.ndarray:
        """Read where it lies, of the kind and shape that the card asks for. Errors: ModelError."""
        path = self.folder / f"{name}.npy"
        try:
            if not path.is_file():
                raise ValueError("it is not there")
            held = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # whatever a damaged header makes numpy say
            raise self._wrong(
                f"{path.name}: {str(error).splitlines()[0][:120] if str(error) else type(error).__name__}"
            ) from None
        if not isinstance(held, np.ndarray) or held.dtype != kind or held.shape != shape:
            raise self._wrong(f"{path.name} is not {np.dtype(kind)} in {shape}")
        return np.asarray(held)

    def members(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (c, d) and places (c,) of a cluster."""
        first, last = int(self.starts[cluster]), int(self.starts[cluster + 1])
        return self._finite(first, last), np.arange(first, last)

    def _finite(self, first: int, last: int) -> np.ndarray:
        held = np.array(self.vectors[first:last])
        if not finite_halves(held):
            raise self._wrong("its vectors hold numbers that are none")
        return floats(held)

    def texts(self, places: list[int]) -> list[str]:
        """Captions by their places."""
        said = []
        with (self.folder / "texts.txt").open("rb") as handle:
            for place in places:
                line = int(self.order[place])
                if (
                    not 0 <= line < len(self.order)
                    or not 0 <= self.offsets[line] <= self.offsets[line + 1] <= self.offsets[line] + _LONGEST
                ):
                    raise self._wrong("its texts are not where they should be")
                handle.seek(int(self.offsets[line]))
                said.append(
                    handle.read(int(self.offsets[line + 1] - self.offsets[line]))
                    .decode("utf-8", "replace")
                    .rstrip("\n")
                )
        return said

    def every(self) -> np.ndarray:
        """All embeddings (m, d), for a memory that moves into a model folder."""
        return unit(self._finite(0, len(self.vectors)))


def read_card(folder: Path) -> MemoryCard:
    """Errors: ModelError."""
    if not (folder / "memory.json").exists():
        raise ModelError(f"{folder} is no memory: `mats index memory CAPTIONS -o {folder}` makes one.")
    try:
        values = read_json(folder / "memory.json")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder / 'memory.json'} cannot be read ({getattr(error, 'strerror', None) or error}): make the memory "
            "again."
        ) from None
    if values.get("format") != FORMAT:
        raise ModelError(
            f"{folder / 'memory.json'} is of another version of mats: make the memory again with `mats index memory`."
        )
    card = fill(MemoryCard(), values, str(folder / "memory.json"), ModelError)
    if lacking := [name for name in ("space", "width", "captions", "clusters") if name not in values]:
        raise ModelError(
            f"{folder / 'memory.json'} lacks {lacking[0]}: make the memory again with `mats index memory`."
        )
    return card
