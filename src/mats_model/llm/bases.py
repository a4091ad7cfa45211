"""Base language models: loaded in the precision asked for, in 4 bits on CUDA; converted from GGUF; told apart;
counted."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch

from mats_model.config import LLMConfig
from mats_model.device import Placement, within_memory
from mats_model.errors import MatsError, ModelError, UsageError
from mats_model.extras import hush, need
from mats_model.files import read_json
from mats_model.llm.huggingface import TUNINGS, HubLLM
from mats_model.tensors import every_row


def fingerprints(base: Any, source: str | Path) -> list[str]:
    """Which base this is, by its kind, sizes and a sample of its embedding as it lies in its files, so that the
    precision of loading changes nothing. The first is its own; a base loaded as float16 once had the second."""
    embedding = base.get_input_embeddings().weight
    shape, step = list(embedding.shape), max(1, embedding.shape[0] // 64)
    name = next((name for name, weight in base.named_parameters() if weight is embedding), "")
    held = every_row(Path(source), name, step) if name and Path(source).is_dir() else None
    if held is None or list(held.shape[1:]) != shape[1:]:
        held = embedding[::step].detach().cpu()
    facts = json.dumps([base.config.model_type, shape, getattr(base.config, "num_hidden_layers", 0)]).encode()
    ways = (held.to(torch.bfloat16), held.to(torch.float16).to(torch.bfloat16))
    return [hashlib.sha256(facts + rows.float().numpy().tobytes()).hexdigest()[:12] for rows in ways]


def load_base(source: str | Path, config: LLMConfig, placement: Placement, offline: bool = True) -> HubLLM:
    """`source` is a folder, or a hub id where the network may be asked. Errors: ModelError, UsageError, DeviceError."""
    if config.tuning not in TUNINGS:
        raise UsageError(f"llm.tuning {config.tuning!r}: choose one of {', '.join(TUNINGS)}.")
    transformers = need("transformers")
    hush()
    more = _in_precision(transformers, placement.dtype)
    if placement.quantize == "nf4":
        need("bitsandbytes")
        more["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=placement.dtype,
        )
        more["device_map"] = {"": placement.device}
    _in_reason(source, config.base)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source), local_files_only=offline)
        with within_memory(config.base, placement.device, "set llm.quantize to nf4 or take a smaller base"):
            base = transformers.AutoModelForCausalLM.from_pretrained(
                str(source), local_files_only=offline, use_safetensors=True, **more
            )
            if placement.quantize != "nf4":
                base = base.to(placement.device)
    except (MatsError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged folder makes the library say
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"the language model {config.base} cannot be loaded ({first}).") from None
    found = fingerprints(base, source)
    if config.fingerprint and config.fingerprint not in found:
        raise ModelError(
            f"{config.base} is not the base this model was trained on (fingerprint {found[0]}, wanted "
            f"{config.fingerprint})."
        )
    llm = HubLLM(base, tokenizer, config)
    llm.fingerprint = found[0]
    llm.int8 = placement.quantize == "int8"
    return llm


def _in_precision(transformers: Any, dtype: torch.dtype) -> dict[str, Any]:
    """How `from_pretrained` is told the precision: its word for it changed with 4.56."""
    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (4, 56) else "torch_dtype": dtype}


def _in_reason(source: str | Path, name: str) -> None:
    """That the sizes of a base are those of one, before any of them is made. Errors: ModelError."""
    if not Path(source).is_dir():
        return
    try:
        values = read_json(Path(source) / "config.json")
    except (ValueError, OSError) as error:
        raise ModelError(f"the language model {name} cannot be loaded (config.json: {error}).") from None
    for key, value in values.items():
        most = 1000 if "layer" in key else 10**8
        if (
            isinstance(value, int | float)
            and not abs(value) <= most
            and ("layer" in key or "size" in key or "head" in key or "dim" in key)
        ):
            raise ModelError(f"the language model {name} cannot be loaded (config.json: {key[:80]} is above {most}).")


def convert_gguf(file: Path, folder: Path) -> None:
    """A GGUF file -> a folder of safetensors in bfloat16 and a tokenizer, so that no later load needs gguf."""
    transformers = need("transformers")
    need("gguf")
    hush()
    with contextlib.redirect_stderr(io.StringIO()):  # a bar that cannot be turned off otherwise
        read = transformers.AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, local_files_only=True, **_in_precision(transformers, torch.float32)
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(file.parent), gguf_file=file.name, local_files_only=True
        )
    # what was read counts as quantized and refuses to be saved; its weights are plain, so they go into a plain model
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    base = transformers.AutoModelForCausalLM.from_config(type(read.config)(**settings))
    base.load_state_dict(read.state_dict())
    base.to(torch.bfloat16).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def empty_base(folder: Path) -> Any:
    """A base of the right sizes without weights, to count. Errors: ModelError."""
    transformers = need("transformers")
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True)
        with torch.device("meta"):
            return transformers.AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder} is no language model that transformers knows ({str(error).strip().splitlines()[0][:200]})."
        ) from None
