"""One self-describing folder: config.json, model.safetensors, the two tokenizers. Loaded strictly; written atomically."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import torch

from mats_model.clap.nano import NanoClap
from mats_model.config import MatsConfig, from_dict, to_dict
from mats_model.errors import ModelError
from mats_model.llm import Decoder, Words
from mats_model.mapper import Mapper
from mats_model.mats import Mats
from mats_model.santa import Santa

FILES = ("config.json", "model.safetensors", "tokenizer.json", "clap_tokenizer.json")


def build(config: MatsConfig, tokenizer_json: str, clap_tokenizer_json: str) -> Mats:
    """A model of the config's sizes, its weights not yet set."""
    m, h = config.mapper, config.decoder.width
    mapper = Mapper(config.width, m.width, m.clip_length, m.prefix_length, m.layers, m.heads, h)
    return Mats(config, NanoClap(clap_tokenizer_json), Santa(config.width, config.santa), mapper, Decoder(config.decoder), Words(tokenizer_json))


def save(mats: Mats, folder: Path) -> MatsConfig:
    """Write the folder, floats as float16, each file whole or not at all; returns the config with its new id."""
    from safetensors.torch import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for key, value in mats.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    weights = to_bytes(state)
    config = replace(mats.config, id="")
    digest = hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode() + weights).hexdigest()[:12]
    config = replace(config, id=digest)
    contents = {
        "model.safetensors": weights,
        "tokenizer.json": mats.words.tokenizer_json.encode(),
        "clap_tokenizer.json": mats.clap.text.tokenizer_json.encode(),
        "config.json": (json.dumps(to_dict(config), indent=2) + "\n").encode(),
    }
    for name, data in contents.items():
        temporary = folder / f".{name}.tmp"
        temporary.write_bytes(data)
        os.replace(temporary, folder / name)
    return config


def load(folder: Path) -> Mats:
    """Read a model folder. Errors: ModelError, which names the file and what is missing or left over in it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in FILES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is no model folder: {name} is missing.")
    try:
        config = from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")), str(folder / "config.json"))
        tokenizers = [(folder / name).read_text(encoding="utf-8") for name in FILES[2:]]
        state = load_file(folder / "model.safetensors")
    except (ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be read ({error}); fetch or train the model again.") from None
    mats = build(config, *tokenizers)
    wanted = {key: value for key, value in mats.state_dict().items() if not key.endswith("num_batches_tracked")}
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        part = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which no part of the model has"
        raise ModelError(f"{folder / 'model.safetensors'} {part} ({len(missing)} missing, {len(extra)} left over).")
    for key, value in wanted.items():
        if state[key].shape != value.shape:
            shapes = f"{tuple(state[key].shape)} where {tuple(value.shape)} is expected"
            raise ModelError(f"{folder / 'model.safetensors'}: {key} is {shapes}.")
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(state[key])
    return mats.eval().requires_grad_(False)
