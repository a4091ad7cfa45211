"""A model that was trained on nano's old words, carried to new ones without training.

The old embeddings are a nearly linear function of the new ones: least squares over many captions gives the matrix R,
and since the first thing that a mapper does is to multiply by a matrix, R goes into that. The memory is embedded anew
from its texts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from mats_model.clap.nano import NanoClap
from mats_model.config import MatsConfig
from mats_model.errors import UsageError
from mats_model.labels import Scales
from mats_model.teach.calibrate import calibrated
from mats_model.weights.folder import MEMORY, RECIPE, Kept, write_folder

_FIRST = ("mapper.linear.weight", "mapper.fc1.weight")  # of the kinds of mapper
_RIDGE = 1e-3


def between(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """Embeddings (n, d) of the same texts by two tables -> R (d, d): new @ R is nearly old."""
    gram = new.T @ new + _RIDGE * len(new) / new.shape[1] * torch.eye(new.shape[1])
    return torch.linalg.solve(gram, new.T @ old)


def carry(
    kept: Kept,
    old: NanoClap,
    new: NanoClap,
    captions: list[str],
    scales: Scales,
    out: Path,
    folder: Path,
) -> MatsConfig:
    """Write the model of `folder` as read (`kept`) anew to `out`, for the encoder `new`. Errors: UsageError."""
    santa = kept.config.santa
    if len(kept.captions) != santa.size or santa.names or santa.taught or santa.clusters != 1:
        raise UsageError(
            f"{folder}: only a model whose memory has its texts, one cluster, no names and no words of a user can be "
            "carried."
        )
    matrix = between(*(torch.from_numpy(clap.embed_text(captions)) for clap in (new, old)))
    state = dict(kept.state)
    (first,) = (name for name in _FIRST if name in state)
    state[first] = (state[first].float() @ matrix.T).half()
    state["santa.memory"] = torch.from_numpy(new.embed_text(kept.captions)).half()
    state["santa.centres"] = state["santa.memory"].float().mean(0, keepdim=True).half()
    config = calibrated(replace(kept.config, space=new.space), scales)
    more = {MEMORY: "".join(f"{text}\n" for text in kept.captions).encode(), RECIPE: (folder / RECIPE).read_bytes()}
    return write_folder(config, state, out, more)
