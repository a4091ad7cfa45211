"""LoRA beside the weights of a base: put in, merged into them, taken out. The one door to peft."""

from __future__ import annotations

from typing import Any

from mats_model.config import LLMConfig
from mats_model.errors import UsageError
from mats_model.extras import need

# layers of queries and values, as families of models call them
_USUAL = (["q_proj", "v_proj"], ["c_attn"], ["query_key_value"], ["qkv_proj"])


def add(base: Any, config: LLMConfig) -> None:
    """Two small matrices, float32, beside each of `config.targets`; only they are trained. Errors: UsageError."""
    peft = need("peft")
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=_targets(base, config),
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in base.modules()),
    )
    peft.inject_adapter_in_model(settings, base)
    for name, weight in base.named_parameters():
        weight.requires_grad_("lora_" in name)
        if "lora_" in name:
            weight.data = weight.data.float()


def _targets(base: Any, config: LLMConfig) -> list[str]:
    """The layers it is put beside: those asked for, or those of queries and values. Errors: UsageError."""
    names = {
        name.rpartition(".")[2] for name, module in base.named_modules() if getattr(module, "weight", None) is not None
    }
    targets = config.targets or next((some for some in _USUAL if some[0] in names), [])
    if not targets or not names.issuperset(targets):
        linear = sorted(name for name in names if name.endswith(("proj", "attn", "fc")))
        raise UsageError(f"llm.targets {targets}: {config.base} has no such layers; it has {', '.join(linear)}.")
    return list(targets)


def _layers(base: Any) -> list[tuple[str, Any]]:
    """Where it stands beside a layer, by name."""
    tuner = need("peft.tuners.tuners_utils").BaseTunerLayer
    return [(name, module) for name, module in base.named_modules() if isinstance(module, tuner)]


def merge(base: Any) -> None:
    """Add LoRA's product to the weights it stands beside: W += alpha / r * B A."""
    for _, module in _layers(base):
        module.merge()


def unmerge(base: Any) -> None:
    """Take it out of the weights again."""
    for _, module in _layers(base):
        module.unmerge()


def take_out(base: Any) -> None:
    """The layers as they were before `add`, with what was merged into them."""
    for name, module in _layers(base):
        parent, _, last = name.rpartition(".")
        setattr(base.get_submodule(parent), last, module.get_base_layer())
