"""LAION's CLAP as its own package `laion-clap` runs it: the reference, for those who want to compare. `--clap laion_clap:FILE`.

The package wants numpy below 2, and fetches three tokenizers when it is imported; it belongs into an environment of its own. Our windows and
averages stand around it: what it would do with a long sound is a random crop.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from mats_model.clap.base import Clap
from mats_model.errors import UsageError

PREFIX = "laion_clap:"
_ENDS = ("position_ids", "token_type_ids")


class OriginalClap(Clap):
    """`state` has the names of LAION's files, `module.` taken off."""

    rate, window, dim, fill = 48_000, 480_000, 512, "whole"

    def __init__(self, state: dict[str, torch.Tensor], file: Path) -> None:
        super().__init__()
        try:
            import laion_clap
        except ImportError as error:
            raise UsageError(
                f"--clap {PREFIX}FILE runs LAION's own package, which cannot be imported ({error}): pip install 'mats[laion]' into an environment"
                " of its own, since it wants numpy below 2; without the prefix mats reads the file itself."
            ) from None
        base = "audio_branch.layers.0.blocks.0.norm1.weight"
        fused = any(".fusion_model." in key for key in state)
        amodel = "HTSAT-base" if state[base].shape[0] == 128 else "HTSAT-tiny"
        self.model: Any = laion_clap.CLAP_Module(enable_fusion=fused, device="cpu", amodel=amodel)
        # what the versions of transformers compute or keep differs; all else is loaded strictly
        own = self.model.model.state_dict()
        given = {key: value for key, value in state.items() if not key.endswith(_ENDS)}
        self.model.model.load_state_dict(given | {key: value for key, value in own.items() if key.endswith(_ENDS)})
        self.model.eval()
        self.scale = float(state["logit_scale_a"].exp())
        self._id = hashlib.sha256(b"laion_clap" + hashlib.sha256(file.read_bytes()).digest()).hexdigest()[:12]

    @property
    def space(self) -> str:
        """As `Clap` has it."""
        return self._id

    @property
    def id(self) -> str:
        """As `Clap` has it."""
        return self._id

    def hear(self, waves: torch.Tensor) -> torch.Tensor:
        """As `Clap` has it."""
        return self.model.get_audio_embedding_from_data(x=waves, use_tensor=True)

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """As `Clap` has it. One text alone would lose its first dimension in some versions of the package."""
        made = self.model.get_text_embedding([*texts, *texts[-1:]], use_tensor=True)
        return torch.nn.functional.normalize(made[: len(texts)], dim=-1)
