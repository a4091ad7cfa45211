"""LAION's CLAP: HTSAT on 10 s at 48 kHz, RoBERTa, and a projection of each into one space.

Its tensors come from LAION's own .pt files or from those of transformers' ClapModel, under other names. Sounds longer
than a window are heard whole, window by window; nothing is cropped at random. The fused variant's second branch is left
out by rule: a window is never longer than what the first one sees.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.clap.htsat import HTSAT, sizes
from mats_model.clap.huggingface import roberta
from mats_model.clap.logmel import LogMel
from mats_model.clap.published import PublishedClap, Texts, part

SECONDS = 10.0
# kept in the files, but used by no line of the original that embeds: heads for tags, tables that are computed, scales
# that are not
_UNUSED = (
    *(f"audio_branch.{name}." for name in ("tscam_conv", "head", "spectrogram_extractor", "logmel_extractor")),
    *(
        "audio_transform.",
        "text_transform.",
        "text_branch.embeddings.position_ids",
        "text_branch.embeddings.token_type_ids",
    ),
)
_ENDS = (".relative_position_index", ".attn_mask", ".num_batches_tracked")
# the fused variant's own parts
_FUSION = ("audio_branch.patch_embed.mel_conv2d.", "audio_branch.patch_embed.fusion_model.")


def _projection(state: dict[str, torch.Tensor], name: str) -> nn.Sequential:
    first, second = state[f"{name}.0.weight"], state[f"{name}.2.weight"]
    return nn.Sequential(
        nn.Linear(first.shape[1], first.shape[0]), nn.ReLU(), nn.Linear(second.shape[1], second.shape[0])
    )


class LaionClap(PublishedClap):
    """`state` has the names of LAION's files, `module.` taken off."""

    kind, fill, pad = "laion", "whole", 1

    def __init__(self, state: dict[str, torch.Tensor], tokenizer_json: str | None) -> None:
        super().__init__(tokenizer_json)
        # the wrong bank gives plausible vectors that compare with nothing: the fused checkpoints were taught with
        # another
        self.fused = any(key.startswith(_FUSION) for key in state)
        self.front = LogMel("laion-fused" if self.fused else "laion")
        self.sample_rate, self.window = self.front.spec.sample_rate, round(SECONDS * self.front.spec.sample_rate)
        self.audio_branch = HTSAT(*sizes(part(state, "audio_branch.")))
        self.text_branch = roberta(part(state, "text_branch."))
        self.audio_projection, self.text_projection = (
            _projection(state, "audio_projection"),
            _projection(state, "text_projection"),
        )
        self.logit_scale_a, self.logit_scale_t = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.dim = state["audio_projection.2.weight"].shape[0]
        self.fill_from(state, (*_UNUSED, *_FUSION), _ENDS)

    @property
    def label_scale(self) -> float:
        """cosine -> logit, as it was trained."""
        return float(self.logit_scale_a.exp())

    def embed_waves(self, waves: torch.Tensor) -> torch.Tensor:
        """waves (w, s) -> embedding (w, d), unit length, as the original gives it, so that each window counts alike."""
        return F.normalize(self.audio_projection(self.audio_branch(self.front(waves))), dim=-1)

    def embed_ids(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (n, t), padded with 1 -> (n, d), unit length."""
        pooled = self.text_branch(input_ids=ids, attention_mask=(ids != self.pad).long()).pooler_output
        return F.normalize(self.text_projection(pooled), dim=-1)

    def pieces(self, texts: Texts) -> list[list[int]]:
        """Word pieces of RoBERTa's tokenizer, with its marks at both ends."""
        return self.encode(texts)


def from_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of transformers' ClapModel -> those of LAION's files."""
    names = (
        ("audio_model.audio_encoder.", "audio_branch."),
        ("text_model.", "text_branch."),
        ("audio_branch.batch_norm.", "audio_branch.bn0."),
        (".attention.output.dense.", ".attn.proj."),
        (".attention.self.relative_position_bias_table", ".attn.relative_position_bias_table"),
        (".layernorm_before.", ".norm1."),
        (".layernorm_after.", ".norm2."),
        (".intermediate.dense.", ".mlp.fc1."),
        (".output.dense.", ".mlp.fc2."),
        ("_projection.linear1.", "_projection.0."),
        ("_projection.linear2.", "_projection.2."),
    )
    renamed: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        name = key
        for old, new in names:
            # RoBERTa's layers keep the names that both libraries share
            if not (name.startswith("text_branch.") and old.startswith(".")):
                name = name.replace(old, new)
        name = name.replace("audio_branch.audio_encoder.", "audio_branch.").replace(
            "audio_branch.encoder.layers.", "audio_branch.layers."
        )
        renamed[name] = value
    for key in [key for key in renamed if ".attention.self.query." in key and key.startswith("audio_branch.")]:
        parts = [renamed.pop(key.replace(".query.", f".{each}.")) for each in ("query", "key", "value")]
        renamed[key.replace(".attention.self.query.", ".attn.qkv.")] = torch.cat(parts)
    return {key: value for key, value in renamed.items() if not key.endswith("relative_position_index")}
