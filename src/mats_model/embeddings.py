"""Text embeddings on disk, each computed once: the key is the encoder's id and the text, the vectors are memory-mapped.

vectors.f16   (rows, d) float16, appended to
keys.bin      32 bytes a row, the SHA-256 of the text; written after the vectors, so a killed run leaves whole rows only
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

_BLOCK = 4096


class TextCache:
    """`rows(texts)` computes what is missing; `vectors(rows)` reads (n, d) float32, unit length."""

    def __init__(self, folder: Path, encoder: str, width: int) -> None:
        self.folder, self.width = folder / f"{encoder}-{width}", width
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = self._file("keys.bin").read_bytes() if self._file("keys.bin").exists() else b""
        stored = self._file("vectors.f16").stat().st_size // (2 * width) if self._file("vectors.f16").exists() else 0
        whole = min(len(keys) // 32, stored)
        self.row_of = {keys[32 * row : 32 * row + 32]: row for row in range(whole)}
        self.count = whole
        self._open()

    def _file(self, name: str) -> Path:
        return self.folder / name

    def _open(self) -> None:
        self.stored = np.memmap(self._file("vectors.f16"), np.float16, "r", shape=(self.count, self.width)) if self.count else None

    def rows(self, texts: list[str], embed: Callable[[list[str]], torch.Tensor]) -> Iterator[int]:
        """Makes sure that every text has a row, a block at a time; yields how many have been looked at."""
        missing: dict[bytes, str] = {}
        for number, text in enumerate(texts, 1):
            key = hashlib.sha256(text.encode()).digest()
            if key not in self.row_of:
                missing[key] = text
            if missing and (len(missing) == _BLOCK or number == len(texts)):
                self._append(missing, embed)
                missing = {}
            if number % _BLOCK == 0 or number == len(texts):
                yield number
        self._open()

    def _append(self, missing: dict[bytes, str], embed: Callable[[list[str]], torch.Tensor]) -> None:
        vectors = F.normalize(embed(list(missing.values())).float(), dim=-1).cpu().numpy().astype(np.float16)
        for name, data, size in (("vectors.f16", vectors.tobytes(), 2 * self.width), ("keys.bin", b"".join(missing), 32)):
            with self._file(name).open("r+b" if self._file(name).exists() else "w+b") as handle:
                # a row that a killed run left half written is written over
                handle.seek(self.count * size)
                handle.write(data)
                handle.truncate()
                handle.flush()
                os.fsync(handle.fileno())
        for key in missing:
            self.row_of[key] = self.count
            self.count += 1

    def index(self, texts: list[str]) -> np.ndarray:
        """Rows (n,) of texts that have one."""
        return np.array([self.row_of[hashlib.sha256(text.encode()).digest()] for text in texts], dtype=np.int64)

    def vectors(self, rows: np.ndarray) -> torch.Tensor:
        """(n,) -> (n, d) float32, unit length."""
        assert self.stored is not None
        return F.normalize(torch.from_numpy(np.asarray(self.stored[rows])).float(), dim=-1)
