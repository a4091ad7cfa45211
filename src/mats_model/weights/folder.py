"""One self-describing folder: config.json, model.safetensors, tokenizers, and the recipe as run. Loaded strictly;
written atomically.

A folder holds what was trained. An encoder or a base language model of its own name lies elsewhere, and is checked by
its id; where a checkpoint came with the audio side of its encoder, the folder holds that, too, and it is what hears.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mats_model.clap.nano import NanoClap
from mats_model.config import LLMConfig, MatsConfig, SearchSettings, from_dict, to_dict
from mats_model.errors import ModelError
from mats_model.files import read_json, sha256_of, write
from mats_model.mats import Mats
from mats_model.tensors import Held, Stored, halves, load_arrays, shared, to_bytes
from mats_model.weights.catalogue import INSIDE
from mats_model.weights.encoders import text_of

if TYPE_CHECKING:
    import torch

    from mats_model.clap.published import PublishedClap

CONFIG, WEIGHTS, TOKENIZER, CLAP_TOKENIZER, RECIPE = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "clap_tokenizer.json",
    "recipe.yaml",
)
# the texts of the memory's embeddings, of the class names, and of the words that a user taught
MEMORY, NAMES, TAUGHT = "memory.txt", "names.txt", "taught.txt"
_LATER = ("temperature", "top_p", "seed", "claims")  # of the search


def tensors_of(mats: Mats) -> dict[str, Held]:
    """What a folder of this model holds, by name."""
    parts: dict[str, Mapping[str, Held]] = {
        "santa": mats.santa.kept(),
        "mapper": mats.mapper.kept(),
        "llm": mats.llm.kept(),
    }
    if mats.config.clap == "inside":
        assert isinstance(mats.clap, NanoClap)
        parts["clap"] = mats.clap.kept()
    elif mats.config.audio:
        parts["clap"] = cast("PublishedClap", mats.clap).audio_side()
    return {
        f"{part}.{key}": value
        for part, state in parts.items()
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


def identified(config: MatsConfig, weights: bytes | Path) -> str:
    """The id of a folder with this config and these weights; settings that came later and are at their defaults change
    no id."""
    values = to_dict(replace(config, id=""))
    for name in _LATER:
        if values["search"][name] == getattr(SearchSettings(), name):
            del values["search"][name]
    for name in ("audio", "audio_hidden", "background"):
        if not values[name]:
            del values[name]
    if not values["santa"]["taught"]:
        del values["santa"]["taught"], values["santa"]["taught_odds"]
    # a setting that was given another name changes no id either
    for group, kind in (("llm", LLMConfig), ("search", SearchSettings)):
        for then, now in kind.FORMER.items():
            if now in values[group]:
                values[group][then] = values[group].pop(now)
    with io.BytesIO(weights) if isinstance(weights, bytes) else weights.open("rb") as file:
        return sha256_of(file, before=json.dumps(values, sort_keys=True).encode())[:12]


def write_folder(
    config: MatsConfig, state: Mapping[str, Held], folder: Path, more: dict[str, bytes] | None = None
) -> MatsConfig:
    """Write these tensors as they are and `more`, each file whole or not at all; returns the config with its new id."""
    weights = to_bytes(state)
    config = replace(config, id=identified(config, weights))
    folder.mkdir(parents=True, exist_ok=True)
    # the config last: a folder without it is no model
    for name, data in {
        WEIGHTS: weights,
        **(more or {}),
        CONFIG: (json.dumps(to_dict(config), indent=2) + "\n").encode(),
    }.items():
        write(folder / name, data)
    return config


def save(mats: Mats, folder: Path, recipe: str | None = None) -> MatsConfig:
    """Write the folder, floats as float16, each file whole or not at all; returns the config with its new id."""
    config, contents = mats.config, dict[str, bytes]()
    if config.llm.kind == "decoder":
        contents[TOKENIZER] = mats.llm.words.tokenizer_json.encode()
    if config.clap == "inside":
        assert isinstance(mats.clap, NanoClap)
        contents[CLAP_TOKENIZER] = mats.clap.text.tokenizer_json.encode()
    santa = mats.santa
    for name, texts in ((MEMORY, santa.captions), (NAMES, santa.name_texts), (TAUGHT, santa.taught_texts)):
        if texts:
            contents[name] = "".join(" ".join(text.split()) + "\n" for text in texts).encode()
    if recipe is not None:
        contents[RECIPE] = recipe.encode()
    return write_folder(
        config,
        halves(tensors_of(mats)),
        folder,
        contents,
    )


def _present(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise ModelError(f"{folder} is no model folder: {name} is missing.")


def _text(folder: Path, name: str) -> str:
    _present(folder, name)
    return text_of(folder / name)


def read_config(folder: Path) -> MatsConfig:
    """Errors: ModelError."""
    _present(folder, CONFIG)
    try:
        return from_dict(read_json(folder / CONFIG), str(folder / CONFIG))
    except (ValueError, OSError) as error:
        raise ModelError(f"{folder / CONFIG} cannot be read ({error}); fetch or train the model again.") from None


@dataclass(frozen=True)
class Kept:
    """What lies in a model folder: its settings, its tensors by name, its texts."""

    config: MatsConfig
    arrays: Stored
    captions: list[str]  # of the memory
    name_texts: list[str]
    taught_texts: list[str]
    tokenizer: str  # of the small decoder, "" beside a base
    clap_tokenizer: str  # of an encoder that lies in the folder, "" where it is borrowed

    @cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """`arrays` in torch, in the same memory."""
        return shared(dict(self.arrays))


def read(folder: Path) -> Kept:
    """A model folder as it lies there; neither its base nor the encoder that it borrows is needed. Errors:
    ModelError."""
    config = read_config(folder)
    _present(folder, WEIGHTS)
    state = load_arrays(folder / WEIGHTS)
    _in_proportion(config, state, folder)
    return Kept(
        config,
        state,
        _lines(folder, MEMORY, config.santa.size),
        _lines(folder, NAMES, config.santa.names),
        _lines(folder, TAUGHT, config.santa.taught),
        _text(folder, TOKENIZER) if config.llm.kind == "decoder" else "",
        _text(folder, CLAP_TOKENIZER) if config.clap == "inside" else "",
    )


def _in_proportion(config: MatsConfig, state: Stored, folder: Path) -> None:
    """That the weights are as many as the sizes in the config ask for, before anything of those sizes is made. Errors:
    ModelError."""
    d, santa, mapper, decoder = config.width, config.santa, config.mapper, config.decoder
    needed = d * (santa.size + santa.clusters + santa.names + santa.taught)
    if mapper.kind == "transformer":
        needed += (
            d * mapper.clip_length * mapper.width
            + mapper.prefix_length * mapper.width
            + 8 * mapper.layers * mapper.width**2
        )
    else:
        needed += d * mapper.prefix_length * (mapper.width if mapper.kind == "mlp" else 1)
    if config.llm.kind == "decoder":
        needed += decoder.vocabulary * decoder.width + decoder.layers * (
            4 * decoder.width**2 + 3 * decoder.width * decoder.hidden
        )
    held = sum(math.prod(state.shape(name)) for name in state)
    if needed > held:
        raise ModelError(
            f"{folder / CONFIG} asks for {needed} numbers at least, {WEIGHTS} holds {held}; fetch or train the model "
            "again."
        )
    sizes = {
        "memory": (santa.size, d),
        "centres": (santa.clusters, d),
        "assign": (santa.size,),
        **({"names": (santa.names, d)} if santa.names else {}),
        **({"taught": (santa.taught, d)} if santa.taught else {}),
    }
    for key, shape in sizes.items():
        if f"santa.{key}" not in state or state.shape(f"santa.{key}") != shape:
            raise ModelError(
                f"{folder / WEIGHTS} has no santa.{key} of {shape}, as its config says; fetch or train the model again."
            )


def _lines(folder: Path, name: str, count: int) -> list[str]:
    """One text for each embedding, or none at all where they were not kept. Errors: ModelError."""
    if not (folder / name).is_file():
        return []
    lines = text_of(folder / name).split("\n")[:-1]
    if len(lines) != count:
        raise ModelError(
            f"{folder / name} has {len(lines)} lines where the memory has {count} embeddings: fetch or train the "
            "model again."
        )
    return lines


def check_id(config: MatsConfig, folder: Path) -> None:
    """That these weights are those the config was written beside; what lies inside mats was looked at when it was put
    there. Errors: ModelError."""
    if folder in INSIDE.values():
        return
    if (found := identified(config, folder / WEIGHTS)) != config.id:
        raise ModelError(
            f"{folder}: {CONFIG} and {WEIGHTS} are not the two that belong together (their id is {found}, {CONFIG} "
            f"says {config.id[:12]!r});"
            " fetch or train the model again."
        )
