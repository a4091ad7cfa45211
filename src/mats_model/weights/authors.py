"""The checkpoint of MATS' authors -> a model folder of ours: mapper, projection and LoRA, under our names, strictly.

Layout: audio_mapper.* and audio_llama_proj.* are the mapper; llama_model.base_model.model.* holds LoRA, alpha / r = 4.
Their settings come with it: the paper's prompt with task tags, 4 beams, penalties. No memory was published, so that
Santa does nothing until one is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from mats_model.config import LLMConfig, MapperConfig, MatsConfig, SantaSettings, SearchSettings
from mats_model.errors import ModelError
from mats_model.numpy_mapper import mapper_shapes
from mats_model.tensors import check
from mats_model.weights.folder import write_folder

BASE, CLAP = "lmsys/vicuna-7b-v1.5", "msclap-2023"
HEADS = 8  # of the mapper: no tensor tells
ALPHA_OVER_RANK = 4
LAST = 0.015 * 1024  # noise variance times d
NO_MEMORY = SantaSettings(size=0, clusters=1)
_MAPPER, _PROJECTION, _LLM = "audio_mapper.", "audio_llama_proj.", "llama_model."
# frozen parts that some of their files carry along, buffers, and a norm that no line uses
_UNUSED = ("ln_audio.", "audio_encoder.", "clap_text_encoder.", "clap.")
_SETTINGS = SearchSettings(
    beams=4,
    max_new_tokens=200,
    min_new_tokens=1,
    length_penalty=1.0,
    rerank=0.0,
    no_repeat_ngram_size=2,
    repetition_penalty=2.0,
)


def is_authors(keys: Iterable[str]) -> bool:
    """Whether tensors of these names are such a checkpoint's."""
    return any(key.startswith(_MAPPER) for key in keys)


def convert_authors(
    state: dict[str, torch.Tensor], out: Path, name: str, base: str = BASE, clap: str = CLAP
) -> MatsConfig:
    """Tensors by their names -> a model folder that keeps their precision.

    `base` and `clap` are the language model and the encoder it was trained beside: neither is needed here. Errors:
    ModelError, with the names of what is missing or left over.
    """
    given = {
        key: value
        for key, value in state.items()
        if not key.startswith(_UNUSED) and not key.endswith("rotary_emb.inv_freq")
    }
    mapper, d = mapper_of(given, _MAPPER)
    renamed = {_renamed(key): value for key, value in given.items()}
    project = renamed.get("mapper.project.weight")
    shapes = mapper_shapes(mapper, d, 1 if project is None else project.shape[0])
    wanted = {f"mapper.{key}": shape for key, shape in shapes.items()} | _paired(renamed)
    check(wanted, renamed, "the checkpoint", "MATS")
    adapters = {key.split(".")[-4]: value.shape[0] for key, value in renamed.items() if ".lora_A." in key}
    rank = next(iter(adapters.values()), 0)
    config = MatsConfig(
        name=name, width=d, noise_variance=LAST / d, label_scale=0.0, clap=clap, mapper=mapper, search=_SETTINGS,
        llm=LLMConfig(
            kind="transformers", base=base, prompt="paper", tuning="lora" if rank else "frozen", rank=rank or 8,
            alpha=ALPHA_OVER_RANK * (rank or 8),
            targets=sorted(adapters), quantize="auto",
        ),
        santa=NO_MEMORY,
    )  # fmt: skip
    return write_folder(config, renamed | no_memory(d), out)


def _renamed(key: str) -> str:
    """Our name of one of their tensors; what is none of MATS' keeps its own."""
    if key.startswith(_MAPPER):
        return "mapper." + key.removeprefix(_MAPPER)
    if key.startswith(_PROJECTION):
        return "mapper.project." + key.removeprefix(_PROJECTION)
    if ".lora_" not in key:
        return key
    kept = key.removeprefix(_LLM).removeprefix("base_model.model.")
    for side in ("lora_A", "lora_B"):
        # older files leave the adapter's name out
        kept = kept.replace(f".{side}.weight", f".{side}.default.weight")
    return "llm." + kept


def _paired(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """LoRA's tensors by name, each with the other of its pair, whose shape nothing tells if it is not there."""
    lora = {key for key in state if key.startswith("llm.") and ".lora_" in key}
    pairs = ((".lora_A.", ".lora_B."), (".lora_B.", ".lora_A."))
    wanted = lora | {key.replace(one, other) for key in lora for one, other in pairs}
    return {key: tuple(state[key].shape) if key in state else () for key in wanted}


def mapper_of(state: dict[str, torch.Tensor], prefix: str) -> tuple[MapperConfig, int]:
    """Sizes of the transformer mapper whose tensors have names that begin with `prefix`, and the width d it reads.
    Errors: ModelError."""
    constant, linear = need(state, f"{prefix}prefix_const"), need(state, f"{prefix}linear.weight")
    width, below = constant.shape[1], f"{prefix}transformer.layers."
    numbers = [key.removeprefix(below).split(".")[0] for key in state if key.startswith(below)]
    if linear.shape[0] % width or width % HEADS:
        raise ModelError(
            f"the checkpoint's mapper is {tuple(linear.shape)} beside a prefix {tuple(constant.shape)}: these do not "
            "fit together."
        )
    layers = 1 + max((int(number) for number in numbers if number.isdigit()), default=-1)
    return MapperConfig("transformer", width, linear.shape[0] // width, constant.shape[0], layers, HEADS), linear.shape[
        1
    ]


def need(state: dict[str, torch.Tensor], key: str) -> torch.Tensor:
    """A tensor without which there is no size to be known. Errors: ModelError."""
    if key not in state:
        raise ModelError(f"the checkpoint lacks {key}: it is not whole, or another's.")
    return state[key]


def no_memory(d: int) -> dict[str, torch.Tensor]:
    """Santa's tensors where nothing was published for it to look up."""
    return {
        "santa.memory": torch.zeros(0, d),
        "santa.centres": torch.zeros(1, d),
        "santa.assign": torch.zeros(0, dtype=torch.int32),
    }
