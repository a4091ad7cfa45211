"""The checkpoint of MATS' authors -> a model folder of ours: mapper, projection and LoRA, under our names, strictly.

Layout: audio_mapper.* and audio_llama_proj.* are the mapper; llama_model.base_model.model.* holds LoRA, alpha / r = 4. Their settings come with
it: the paper's prompt with task tags, 4 beams, penalties. No memory was published, so that Santa does nothing until one is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from mats_model.checkpoint import CONFIG, WEIGHTS, identified
from mats_model.config import LLMConfig, MapperConfig, MatsConfig, SantaSettings, SearchSettings, to_dict
from mats_model.errors import ModelError
from mats_model.places import write

BASE, CLAP = "lmsys/vicuna-7b-v1.5", "msclap-2023"
HEADS = 8  # of the mapper: no tensor tells
ALPHA_OVER_RANK = 4
LAST = 0.015 * 1024  # noise variance times d
_MAPPER, _PROJECTION, _LLM = "audio_mapper.", "audio_llama_proj.", "llama_model."
# frozen parts that some of their files carry along, buffers, and a norm that no line uses
_UNUSED = ("ln_audio.", "audio_encoder.", "clap_text_encoder.", "clap.")
_SETTINGS = SearchSettings(beams=4, longest=200, shortest=1, length_power=1.0, rerank=0.0, no_repeat=2, repetition=2.0)


def is_authors(keys: Iterable[str]) -> bool:
    """Whether tensors of these names are such a checkpoint's."""
    return any(key.startswith(_MAPPER) for key in keys)


def convert_authors(state: dict[str, torch.Tensor], out: Path, name: str, base: str = BASE, clap: str = CLAP) -> MatsConfig:
    """Tensors by their names -> a model folder that keeps their precision.

    `base` and `clap` are the language model and the encoder it was trained beside: neither is needed here. Errors: ModelError, with the names of
    what is missing or left over.
    """
    from safetensors.torch import save

    given = {key: value for key, value in state.items() if not key.startswith(_UNUSED) and not key.endswith("rotary_emb.inv_freq")}
    constant, linear = _need(given, "audio_mapper.prefix_const"), _need(given, "audio_mapper.linear.weight")
    width, layers = constant.shape[1], 1 + max((_layer(key) for key in given if key.startswith("audio_mapper.transformer.layers.")), default=-1)
    if linear.shape[0] % width or width % HEADS:
        raise ModelError(f"the checkpoint's mapper is {tuple(linear.shape)} beside a prefix {tuple(constant.shape)}: these do not fit together.")
    mapper = MapperConfig("transformer", width, linear.shape[0] // width, constant.shape[0], layers, HEADS)
    renamed: dict[str, torch.Tensor] = {}
    for key, value in given.items():
        if key.startswith(_MAPPER):
            renamed["mapper." + key.removeprefix(_MAPPER)] = value
        elif key.startswith(_PROJECTION):
            renamed["mapper.project." + key.removeprefix(_PROJECTION)] = value
        elif ".lora_" in key:
            kept = key.removeprefix(_LLM).removeprefix("base_model.model.")
            for side in ("lora_A", "lora_B"):
                # older files leave the adapter's name out
                kept = kept.replace(f".{side}.weight", f".{side}.default.weight")
            renamed["llm." + kept] = value
        else:
            renamed[key] = value
    _check(renamed, mapper, linear.shape[1])
    adapters = {key.split(".")[-4]: value.shape[0] for key, value in renamed.items() if ".lora_A." in key}
    rank = next(iter(adapters.values()), 0)
    d = linear.shape[1]
    config = MatsConfig(
        name=name, width=d, noise_variance=LAST / d, label_scale=0.0, clap=clap, mapper=mapper, search=_SETTINGS,
        llm=LLMConfig(
            kind="transformers", base=base, prompt="paper", tuning="lora" if rank else "frozen", rank=rank or 8, alpha=ALPHA_OVER_RANK * (rank or 8),
            targets=sorted(adapters), quantise="auto",
        ),
        santa=SantaSettings(size=0, clusters=1),
    )  # fmt: skip
    renamed |= {"santa.memory": torch.zeros(0, d), "santa.centres": torch.zeros(1, d), "santa.assign": torch.zeros(0, dtype=torch.int32)}
    weights = save({key: value.contiguous().clone() for key, value in renamed.items()})
    config = replace(config, id=identified(config, weights))
    out.mkdir(parents=True, exist_ok=True)
    write(out / WEIGHTS, weights)
    write(out / CONFIG, (json.dumps(to_dict(config), indent=2) + "\n").encode())
    return config


def _layer(key: str) -> int:
    number = key.split(".")[3]
    return int(number) if number.isdigit() else -1


def _need(state: dict[str, torch.Tensor], key: str) -> torch.Tensor:
    if key not in state:
        raise ModelError(f"the checkpoint lacks {key}: it is no checkpoint of MATS' authors.")
    return state[key]


def _check(state: dict[str, torch.Tensor], config: MapperConfig, d: int) -> None:
    """Every tensor of a mapper of these sizes, LoRA in pairs, and nothing else."""
    from mats_model.mapper import make_mapper

    project = state.get("mapper.project.weight")
    with torch.device("meta"):
        mapper = make_mapper(config, d, project.shape[0] if project is not None else 1)
    wanted = {f"mapper.{key}": tuple(value.shape) for key, value in mapper.state_dict().items()}
    lora = {key for key in state if key.startswith("llm.") and ".lora_" in key}
    paired = {key.replace(".lora_A.", ".lora_B.") for key in lora} | {key.replace(".lora_B.", ".lora_A.") for key in lora}
    missing = sorted((wanted.keys() - state.keys()) | (paired - lora))
    extra = sorted(state.keys() - wanted.keys() - lora)
    if missing or extra:
        said = [f"lacks {', '.join(missing[:3])}" if missing else "", f"holds {', '.join(extra[:3])}, which no part of MATS has" if extra else ""]
        raise ModelError(f"the checkpoint {' and '.join(filter(None, said))} ({len(missing)} missing, {len(extra)} left over).")
    for key, shape in wanted.items():
        if tuple(state[key].shape) != shape:
            raise ModelError(f"the checkpoint's {key} is {tuple(state[key].shape)} where {shape} is expected.")
