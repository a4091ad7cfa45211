"""The text towers of the published encoders: RoBERTa and GPT-2. The one door of the encoders to transformers."""

from __future__ import annotations

from typing import Any

import torch

from mats_model.extras import need

# pieces of a text that are read
LONGEST = 77


def _transformers() -> Any:
    return need("transformers", "this encoder")


def _prefixed(state: dict[str, torch.Tensor], kind: str) -> int:
    """How many layers the tensors have."""
    return 1 + max(
        int(key.split(".")[2 if kind == "roberta" else 1]) for key in state if key.startswith(("encoder.layer.", "h."))
    )


def roberta(state: dict[str, torch.Tensor]) -> Any:
    """A RoBERTa of the sizes of its tensors, not yet filled."""
    words, positions = state["embeddings.word_embeddings.weight"], state["embeddings.position_embeddings.weight"]
    config = _transformers().RobertaConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        num_hidden_layers=_prefixed(state, "roberta"),
        num_attention_heads=max(1, words.shape[1] // 64),
        intermediate_size=state["encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=positions.shape[0],
        type_vocab_size=state["embeddings.token_type_embeddings.weight"].shape[0],
        pad_token_id=1,
        layer_norm_eps=1e-5,
    )
    return _transformers().RobertaModel(config)


def gpt2(state: dict[str, torch.Tensor]) -> Any:
    """A GPT-2 of the sizes of its tensors, not yet filled."""
    words, positions = state["wte.weight"], state["wpe.weight"]
    config = _transformers().GPT2Config(
        vocab_size=words.shape[0],
        n_positions=positions.shape[0],
        n_embd=words.shape[1],
        n_layer=_prefixed(state, "gpt2"),
        n_head=max(1, words.shape[1] // 64),
    )
    return _transformers().GPT2Model(config)
