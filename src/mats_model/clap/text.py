"""The text tower of nano: a table of word-piece vectors, averaged. Any label or sentence, no fixed list.

The table is MiniLM's own embedding of each piece alone, centred, reduced to d by PCA and weighted so that common
words count little (w = a / (a + 1/rank)); 8 bits an element with one scale a row.
"""

from __future__ import annotations

import numpy as np

from mats_model.errors import UsageError
from mats_model.tokens import read_tokenizer
from mats_model.vectors import unit

PIECES = 30_522
WIDTH = 256
# longer texts are read to here: a page of prose is no description of a sound
MAX_PIECES = 512


class TextTower:
    """texts -> embedding (n, d), unit length; `codes` (pieces, d) int8 and `scales` (pieces, 1) float16 are the
    table."""

    def __init__(self, tokenizer_json: str, width: int = WIDTH) -> None:
        self.tokenizer_json = tokenizer_json
        self.tokenizer = read_tokenizer(tokenizer_json, PIECES)
        self.codes = np.zeros((PIECES, width), np.int8)
        self.scales = np.ones((PIECES, 1), np.float16)

    def kept(self) -> dict[str, np.ndarray]:
        """The arrays that belong in a model folder, by name."""
        return {"codes": self.codes, "scales": self.scales}

    def table(self) -> np.ndarray:
        """Float rows (pieces, d), as they are stored."""
        return self.codes.astype(np.float32) * self.scales.astype(np.float32)

    def set_table(self, table: np.ndarray) -> None:
        """Store float rows (pieces, d) as int8 with one scale a row."""
        largest = np.maximum(np.abs(table).max(1, keepdims=True), np.float32(1e-12))
        # the scale of the smallest rows must survive float16
        common = np.float32(1e4 / float(largest.max()))
        self.scales[:] = np.maximum((largest * common / np.float32(127.0)).astype(np.float16), np.float16(1e-6))
        rounded = np.round(table * common / self.scales.astype(np.float32))
        self.codes[:] = np.clip(rounded, -127, 127)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Errors: UsageError for a text in which there is nothing to read."""
        ids = [encoding.ids[:MAX_PIECES] for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=False)]
        for text, pieces in zip(texts, ids, strict=True):
            if not pieces:
                raise UsageError(f"{text!r} has no words in it; give a label or a sentence.")
        if not ids:
            return np.zeros((0, self.codes.shape[1]), np.float32)
        flat = np.array([piece for pieces in ids for piece in pieces])
        starts = np.cumsum([0, *(len(pieces) for pieces in ids[:-1])])
        rows = self.codes[flat].astype(np.float32) * self.scales[flat].astype(np.float32)
        return unit(np.add.reduceat(rows, starts))
