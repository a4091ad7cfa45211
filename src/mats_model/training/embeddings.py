"""Text embeddings on disk, each computed once: the key is the encoder's id and the text, the vectors are memory-mapped.

A folder per encoder, in it blocks that are written whole and never changed, so that several runs may add to it at once:
n SHA-256 digests of 32 bytes, then n vectors (n, d) in float16.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from mats_model.files import write
from mats_model.vectors import unit

_BLOCK = 32_768
_DIGEST = 32


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class TextCache:
    """`fill(texts, embed)` computes what is missing; `vectors(index(texts))` reads (n, d) float32, unit length."""

    def __init__(self, folder: Path, encoder: str, width: int) -> None:
        self.folder, self.width = folder / f"{encoder}-{width}", width
        self.folder.mkdir(parents=True, exist_ok=True)
        self.row_of: dict[bytes, int] = {}
        self.starts: list[int] = []
        self.blocks: list[np.ndarray] = []
        self.count = 0
        for path in sorted(self.folder.glob("*.block")):
            self._open(path)

    def _open(self, path: Path) -> None:
        rows = path.stat().st_size // (_DIGEST + 2 * self.width)
        if not rows:
            return
        with path.open("rb") as handle:
            digests = handle.read(rows * _DIGEST)
        for row in range(rows):
            self.row_of.setdefault(digests[row * _DIGEST : (row + 1) * _DIGEST], self.count + row)
        self.starts.append(self.count)
        self.blocks.append(np.memmap(path, np.float16, "r", offset=rows * _DIGEST, shape=(rows, self.width)))
        self.count += rows

    def fill(self, texts: list[str], embed: Callable[[list[str]], np.ndarray]) -> Iterator[int]:
        """Makes sure that every text has a vector, a block at a time; yields how many have been looked at."""
        missing: dict[bytes, str] = {}
        for number, text in enumerate(texts, 1):
            key = _key(text)
            if key not in self.row_of:
                missing[key] = text
            if missing and (len(missing) == _BLOCK or number == len(texts)):
                vectors = np.concatenate([embed(part) for part in _parts(list(missing.values()), 1024)])
                data = b"".join(missing) + unit(vectors).astype(np.float16).tobytes()
                path = self.folder / f"{uuid.uuid4().hex}.block"
                write(path, data)
                self._open(path)
                missing = {}
                yield number

    def index(self, texts: list[str]) -> np.ndarray:
        """Rows (n,) of texts that have a vector."""
        return np.array([self.row_of[_key(text)] for text in texts], dtype=np.int64)

    def vectors(self, rows: np.ndarray) -> torch.Tensor:
        """(n,) -> (n, d) float32, unit length."""
        found = np.empty((len(rows), self.width), np.float16)
        owner = np.searchsorted(self.starts, rows, "right") - 1
        for block in np.unique(owner):
            mine = owner == block
            found[mine] = self.blocks[block][rows[mine] - self.starts[block]]
        return F.normalize(torch.from_numpy(found).float(), dim=-1)


def _parts(texts: list[str], size: int) -> Iterator[list[str]]:
    yield from (texts[at : at + size] for at in range(0, len(texts), size))
