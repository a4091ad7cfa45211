"""Microsoft CLAP 2023: HTSAT on 7 s at 44.1 kHz, GPT-2, and a projection of each into 1024 dimensions. The encoder of
the published MATS."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.clap.htsat import HTSAT, sizes
from mats_model.clap.huggingface import LONGEST, gpt2
from mats_model.clap.logmel import LogMel
from mats_model.clap.published import PublishedClap, Texts, part

SECONDS = 7.0
_HTSAT = "audio_encoder.base.htsat."
# tensors of the file that no computation uses, by their beginning or their end
UNUSED = tuple(_HTSAT + name for name in ("tscam_conv.", "head.", "spectrogram_extractor.", "logmel_extractor."))
ENDS = (".relative_position_index", ".attn_mask", ".num_batches_tracked", ".attn.masked_bias")
_END_OF_TEXT = " <|endoftext|>"


class Projection(nn.Module):
    """e1 = W1 x; e2 = W2 gelu(e1); LayerNorm(e1 + e2)."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(given, width, bias=False), nn.Linear(width, width, bias=False)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.linear1(x)
        return self.layer_norm(first + self.linear2(F.gelu(first)))


class Tower(nn.Module):
    """A tower under the name it has in the file, and its projection."""

    def __init__(self, base: nn.Module, given: int, width: int) -> None:
        super().__init__()
        self.base, self.projection = base, Projection(given, width)


def audio_tower(state: dict[str, torch.Tensor]) -> Tower:
    """The tower of the tensors audio_encoder.* by their sizes, not yet filled. Errors: ModelError when there are none;
    KeyError when sizes lack."""
    htsat = HTSAT(*sizes(part(state, _HTSAT)))
    return Tower(
        nn.ModuleDict({"htsat": htsat}), htsat.width, state["audio_encoder.projection.linear1.weight"].shape[0]
    )


class MsClap(PublishedClap):
    """`state` has the names of the published file."""

    kind, fill, pad = "msclap", "repeat", 0

    def __init__(self, state: dict[str, torch.Tensor], tokenizer_json: str | None) -> None:
        super().__init__(tokenizer_json)
        self.front = LogMel("msclap")
        self.sample_rate, self.window = self.front.spec.sample_rate, round(SECONDS * self.front.spec.sample_rate)
        text = gpt2(part(state, "caption_encoder.base."))
        self.audio_encoder = audio_tower(state)
        self.dim = state["audio_encoder.projection.linear1.weight"].shape[0]
        self.caption_encoder = Tower(text, state["caption_encoder.projection.linear1.weight"].shape[1], self.dim)
        self.logit_scale = nn.Parameter(torch.zeros(()))
        # GPT-2's masks are buffers of older versions; the bias of c_attn ends alike and is no mask
        masks = {key for key, value in state.items() if key.endswith(".attn.bias") and value.ndim == 4}
        self.fill_from({key: value for key, value in state.items() if key not in masks}, UNUSED, ENDS)

    @property
    def label_scale(self) -> float:
        """cosine -> logit, as it was trained."""
        return float(self.logit_scale.exp())

    def embed_waves(self, waves: torch.Tensor) -> torch.Tensor:
        """waves (w, s) -> raw embedding (w, d), about 32 long."""
        return self.audio_encoder.projection(self.audio_encoder.base["htsat"](self.front(waves)))  # type: ignore[index]

    def embed_ids(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (n, t), padded with 0 -> (n, d); the state of the last token that is not 0 is taken."""
        mask = (ids != self.pad).long()
        states = self.caption_encoder.base(input_ids=ids, attention_mask=mask).last_hidden_state  # type: ignore[operator]
        last = mask.sum(-1).clamp(min=1) - 1
        return self.caption_encoder.projection(states[torch.arange(len(ids)), last])

    def pieces(self, texts: Texts) -> list[list[int]]:
        """GPT-2's, with its end of text; a long text is cut before it. An exclamation mark is id 0, which is also the
        padding: left out."""
        end = self.encode([_END_OF_TEXT.strip()])[0][-1:]
        rows = self.encode([text + _END_OF_TEXT for text in texts])
        return [[piece for piece in row if piece != self.pad and piece not in end][: LONGEST - 1] + end for row in rows]
