"""clapcap, Microsoft's captioner on CLAP 2023 -> a model folder of ours, strictly.

Layout: clap.* is the audio side of its encoder, clap_project.* a mapper as the authors' with no projection after it,
gpt.* the whole GPT-2. It was taught captions of sounds alone, without a prompt: a prefix goes in, a caption comes out.
The folder keeps the audio side, since a training in which an encoder is frozen may still move its running means; texts
are read by the encoder that is borrowed. No memory was published.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from mats_model.clap.huggingface import gpt2
from mats_model.clap.msclap import ENDS, UNUSED, audio_tower
from mats_model.clap.published import part
from mats_model.config import LLMConfig, MatsConfig, SearchSettings
from mats_model.errors import ModelError
from mats_model.numpy_mapper import mapper_shapes
from mats_model.tensors import check
from mats_model.weights.authors import NO_MEMORY, mapper_of, need, no_memory
from mats_model.weights.folder import write_folder

BASE, CLAP = "openai-community/gpt2", "msclap-2023"
_MAPPER, _HEAD = "clap_project.", "gpt.lm_head.weight"
_OURS = {_MAPPER: "mapper.", "gpt.": "llm.", "clap.": "clap.audio_encoder."}
_GPT, _AUDIO = "llm.transformer.", "clap.audio_encoder."
_SIZES = ("wte.weight", "wpe.weight", "h.0.ln_1.weight")
_SETTINGS = SearchSettings(
    beams=5,
    max_new_tokens=67,
    min_new_tokens=1,
    length_penalty=1.0,
    rerank=0.0,
    no_repeat_ngram_size=0,
    repetition_penalty=1.0,
)


def is_clapcap(keys: Iterable[str]) -> bool:
    """Whether tensors of these names are such a checkpoint's."""
    return any(key.startswith(_MAPPER) for key in keys)


def convert_clapcap(
    state: dict[str, torch.Tensor], out: Path, name: str, base: str = BASE, clap: str = CLAP
) -> MatsConfig:
    """Tensors by their names -> a model folder that keeps their precision.

    `base` tells the sizes of GPT-2 and has its tokenizer, `clap` reads texts: neither is needed here. Errors:
    ModelError, with the names of what is missing or left over; UsageError without transformers.
    """
    renamed = {}
    for key, value in state.items():
        first = next((first for first in _OURS if key.startswith(first)), "")
        ours = _OURS.get(first, "") + key.removeprefix(first)
        # buffers of older versions, and parts of the audio file that no computation uses
        if (
            key != _HEAD
            and not ours.endswith((*ENDS, ".attn.bias"))
            and not ours.removeprefix("clap.").startswith(UNUSED)
        ):
            renamed[ours] = value
    words = need(renamed, f"{_GPT}wte.weight")
    if _HEAD in state and not torch.equal(state[_HEAD], words):
        raise ModelError(f"the checkpoint's {_HEAD} is not its gpt.transformer.wte.weight: in GPT-2 these two are one.")
    mapper, d = mapper_of({key: value for key, value in state.items() if key.startswith(_MAPPER)}, _MAPPER)
    if mapper.width != words.shape[1]:
        raise ModelError(
            f"the checkpoint's mapper speaks {mapper.width} numbers a token, its GPT-2 reads {words.shape[1]}: these "
            "do not fit together."
        )
    # what the mapper says is what GPT-2 reads: a projection that changes nothing
    renamed |= {"mapper.project.weight": torch.eye(mapper.width), "mapper.project.bias": torch.zeros(mapper.width)}
    mapper_wanted = {f"mapper.{key}": shape for key, shape in mapper_shapes(mapper, d, mapper.width).items()}
    check(mapper_wanted | _shapes(renamed), renamed, "the checkpoint", "MATS")
    config = MatsConfig(
        name=name, width=d, noise_variance=0.0, label_scale=0.0, clap=clap, audio="msclap", mapper=mapper,
        search=_SETTINGS,
        llm=LLMConfig(kind="transformers", base=base, prompt="none", tuning="full"), santa=NO_MEMORY,
    )  # fmt: skip
    return write_folder(config, renamed | no_memory(d), out)


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The tensors of a GPT-2 and an audio side of the sizes of these. Errors: ModelError."""
    for key in _SIZES:
        need(state, _GPT + key)
    try:
        with torch.device("meta"):
            parts = {_GPT: gpt2(part(state, _GPT)), _AUDIO: audio_tower(part(state, "clap."))}
    except KeyError as error:
        raise ModelError(f"the checkpoint lacks {error.args[0]} in clap.*: it is not whole.") from None
    return {
        first + key: tuple(value.shape)
        for first, module in parts.items()
        for key, value in module.state_dict().items()
        if not key.endswith(ENDS)
    }
