"""Weights as int8, beside the layers they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mats_model.llm import int8
from mats_model.llm.int8 import Int8Linear, to_int8


@pytest.mark.parametrize(("rows", "given", "made"), [(1, 64, 48), (4, 100, 7), (24, 576, 576), (60, 33, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_near_the_layer(rows: int, given: int, made: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(given, made)
    kept = Int8Linear(linear.weight, linear.bias)
    # no weight is further off than half a step of its row, and what bfloat16 makes of the step
    step = linear.weight.abs().amax(1, keepdim=True) / 127
    assert bool(
        (
            (kept.whole.float() * kept.scale.float()[:, None] - linear.weight).abs() <= step * 0.51 + 127 * step / 256
        ).all()
    )
    x = torch.randn(rows, 3, given)[:, 0].to(dtype)
    told, wanted = kept(x), linear(x.float())
    assert told.dtype == dtype and told.shape == (rows, made)
    assert float(((told.float() - wanted).norm() / wanted.norm()).detach()) < 0.02
    # whatever the shape around it, and without the operator of newer builds
    assert torch.equal(kept(x.view(rows, 1, given))[:, 0], told)


def test_without_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32)
    kept, x = Int8Linear(linear.weight, None), torch.randn(2, 64)
    fast = kept(x)
    monkeypatch.setattr(int8, "_packed", lambda: False)
    assert torch.allclose(kept(x), fast, atol=0.03)


def test_weights_the_other_way_round() -> None:
    """As GPT-2 keeps them."""
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 32), torch.randn(2, 64)
    turned = linear.weight.T.contiguous().T
    assert torch.equal(Int8Linear(turned, linear.bias)(x), Int8Linear(linear.weight, linear.bias)(x))


def test_a_whole_model() -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'mats[llm]'")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=200,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    ids = torch.randint(0, 200, (4, 12))
    with torch.inference_mode():
        before = model(ids).logits
        assert to_int8(model) == 15  # seven a layer, and the head
        after = model(ids).logits
    assert float((before - after).norm() / before.norm()) < 0.05
    assert float((before.argmax(-1) == after.argmax(-1)).float().mean()) > 0.9
    assert (
        isinstance(model.model.embed_tokens, nn.Embedding)
        and model.get_input_embeddings().weight.dtype == torch.float32
    )
    gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=200, n_embd=64, n_layer=2, n_head=4)).eval()
    with torch.inference_mode():
        before = gpt2(ids).logits
        assert to_int8(gpt2) == 9
        assert float((before - gpt2(ids).logits).norm() / before.norm()) < 0.05
