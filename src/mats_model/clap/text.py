"""The text tower of nano: a table of word-piece vectors, averaged. Any label or sentence, no fixed list.

The table is MiniLM's own embedding of each piece alone, centred, reduced to d by PCA and weighted so that common
words count little (w = a / (a + 1/rank)); 8 bits an element with one scale a row.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.errors import UsageError
from mats_model.tokens import read_tokenizer

PIECES = 30_522
WIDTH = 256
# longer texts are read to here: a page of prose is no description of a sound
MAX_PIECES = 512


class TextTower(nn.Module):
    """texts -> embedding (n, d), unit length."""

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, tokenizer_json: str, width: int = WIDTH) -> None:
        super().__init__()
        self.tokenizer_json = tokenizer_json
        self.tokenizer = read_tokenizer(tokenizer_json, PIECES)
        self.register_buffer("codes", torch.zeros(PIECES, width, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(PIECES, 1, dtype=torch.float16))

    def set_table(self, table: torch.Tensor) -> None:
        """Store float rows (pieces, d) as int8 with one scale a row."""
        largest = table.abs().amax(1, keepdim=True).clamp(min=1e-12)
        # the scale of the smallest rows must survive float16
        common = 1e4 / float(largest.max())
        scales = (largest * common / 127.0).half().clamp(min=1e-6)
        self.scales.copy_(scales)
        self.codes.copy_((table * common / scales.float()).round().clamp(-127, 127).to(torch.int8))

    def forward(self, texts: list[str]) -> torch.Tensor:
        """Errors: UsageError for a text in which there is nothing to read."""
        ids = [encoding.ids[:MAX_PIECES] for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=False)]
        for text, pieces in zip(texts, ids, strict=True):
            if not pieces:
                raise UsageError(f"{text!r} has no words in it; give a label or a sentence.")
        flat = torch.tensor([piece for pieces in ids for piece in pieces])
        lengths = torch.tensor([len(pieces) for pieces in ids])
        rows = self.codes[flat].float() * self.scales[flat].float()
        owner = torch.repeat_interleave(torch.arange(len(ids)), lengths)
        summed = torch.zeros(len(ids), rows.shape[1]).index_add_(0, owner, rows)
        return F.normalize(summed, dim=-1)


def distil_table(
    pieces: torch.Tensor, width: int = WIDTH, first_word: int = 1995, smooth: float = 1e-3
) -> torch.Tensor:
    """MiniLM's vectors of single pieces (30522, 384) -> weighted table (30522, width).

    Pieces are listed by falling frequency from `first_word` on, so the place in the list stands for the rank.
    """
    centred = pieces - pieces[first_word + 1 :].mean(0)
    axes = torch.linalg.svd(centred[first_word + 1 :], full_matrices=False).Vh[:width]
    # a singular vector's sign is arbitrary: make its largest element positive, for the same table everywhere
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    rank = (torch.arange(len(pieces)) - first_word).clamp(min=1).float()
    return (centred @ (axes * signs).T) * (smooth / (smooth + 1.0 / rank))[:, None]
