"""Santa's memory as a folder, of any size, read where it lies; `build` makes it.

memory.json     what it was made of, and by which encoder
vectors.npy     (m, d) float16, unit length, cluster after cluster; read where it lies
starts.npy      (K + 1,) first place of each cluster
centres.npy     (K, d) float32
order.npy       (m,) line of texts.txt that each place holds
texts.txt       the captions, one a line; offsets.npy (m + 1,) where each begins
means.npy       (2, d) of the memory, and of recordings where some were given
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from mats_model.errors import MismatchError, ModelError
from mats_model.files import read_json
from mats_model.settings import May, fill
from mats_model.vectors import finite_halves, floats, unit

FORMAT = 1
FILES = {
    "memory.json", "vectors.npy", "starts.npy", "centres.npy", "order.npy", "texts.txt", "offsets.npy", "means.npy",
}  # fmt: skip
LONGEST = 1 << 20  # bytes of a text


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
                    or not 0 <= self.offsets[line] <= self.offsets[line + 1] <= self.offsets[line] + LONGEST
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
