"""One self-describing folder: config.json, model.safetensors, tokenizers, and the recipe as run. Loaded strictly;
written atomically.

A folder holds what was trained. An encoder or a base language model of its own name lies elsewhere, and is checked by
its id; where a checkpoint came with the audio side of its encoder, the folder holds that, too, and it is what hears.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mats_model.clap.nano import NanoClap
from mats_model.clap.protocol import Clap
from mats_model.clap.published import PublishedClap
from mats_model.config import FORMER, LLMConfig, MatsConfig, SearchSettings, from_dict, to_dict
from mats_model.device import place
from mats_model.errors import MismatchError, ModelError
from mats_model.files import read_json, write
from mats_model.gap.santa import Santa
from mats_model.llm.decoder import Decoder
from mats_model.llm.protocol import LanguageModel
from mats_model.llm.small import SmallLLM
from mats_model.llm.words import Words
from mats_model.mapper import make_mapper
from mats_model.mats import Mats
from mats_model.tensors import copy as copy_tensors
from mats_model.tensors import load as load_tensors
from mats_model.tensors import shared
from mats_model.weights.catalogue import INSIDE
from mats_model.weights.encoders import is_encoder, load_encoder, scales, text_of

CONFIG, WEIGHTS, TOKENIZER, CLAP_TOKENIZER, RECIPE = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "clap_tokenizer.json",
    "recipe.yaml",
)
MEMORY, NAMES = "memory.txt", "names.txt"  # the texts of the memory's embeddings, and of the class names
_LATER = ("temperature", "top_p", "seed", "claims")  # of the search
# name, and encoder or base -> where it lies
Find = Callable[[str, str], Path]


def build(config: MatsConfig, clap: Clap, llm: LanguageModel) -> Mats:
    """A model of the config's sizes; mapper and memory are not yet set."""
    return Mats(
        config, clap, Santa(config.width, config.santa), make_mapper(config.mapper, config.width, llm.width), llm
    )


def small_llm(config: MatsConfig, tokenizer_json: str, dropout: float = 0.0) -> SmallLLM:
    """The small decoder with its tokenizer, its weights not yet set."""
    words = Words(tokenizer_json)
    if len(words.stem) != config.decoder.vocabulary:
        raise ModelError(
            f"the tokenizer has {len(words.stem)} pieces where decoder.vocabulary is {config.decoder.vocabulary}."
        )
    return SmallLLM(Decoder(config.decoder), words, dropout)


def tensors(mats: Mats) -> dict[str, torch.Tensor]:
    """What a folder of this model holds, by name."""
    parts: dict[str, dict[str, torch.Tensor]] = {
        "santa": shared(mats.santa.kept()),
        "mapper": mats.mapper.state_dict(),
        "llm": mats.llm.kept(),
    }
    if mats.config.clap == "inside":
        assert isinstance(mats.clap, NanoClap)
        parts["clap"] = mats.clap.kept()
    elif mats.config.audio:
        assert isinstance(mats.clap, PublishedClap)
        parts["clap"] = mats.clap.audio_side()
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
    if not config.audio:
        del values["audio"]
    # a setting that was given another name changes no id either
    for group, kind in (("llm", "LLMConfig"), ("search", "SearchSettings")):
        for then, now in FORMER[kind].items():
            if now in values[group]:
                values[group][then] = values[group].pop(now)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    with io.BytesIO(weights) if isinstance(weights, bytes) else weights.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()[:12]


def write_folder(
    config: MatsConfig, state: dict[str, torch.Tensor], folder: Path, more: dict[str, bytes] | None = None
) -> MatsConfig:
    """Write these tensors as they are and `more`, each file whole or not at all; returns the config with its new id."""
    from safetensors.torch import save as to_bytes

    weights = to_bytes({key: value.cpu().contiguous().clone() for key, value in state.items()})
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
    if isinstance(mats.llm, SmallLLM):
        contents[TOKENIZER] = mats.llm.words.tokenizer_json.encode()
    if config.clap == "inside":
        assert isinstance(mats.clap, NanoClap)
        contents[CLAP_TOKENIZER] = mats.clap.text.tokenizer_json.encode()
    for name, texts in ((MEMORY, mats.santa.captions), (NAMES, mats.santa.name_texts)):
        if texts:
            contents[name] = "".join(" ".join(text.split()) + "\n" for text in texts).encode()
    if recipe is not None:
        contents[RECIPE] = recipe.encode()
    return write_folder(
        config,
        {key: value.half() if value.is_floating_point() else value for key, value in tensors(mats).items()},
        folder,
        contents,
    )


def _present(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise ModelError(f"{folder} is no model folder: {name} is missing.")


def _text(folder: Path, name: str) -> str:
    _present(folder, name)
    return text_of(folder / name)


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """A sentence about what is in a file names it."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None


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
    state: dict[str, torch.Tensor]
    captions: list[str]  # of the memory
    name_texts: list[str]
    tokenizer: str  # of the small decoder, "" beside a base


def read(folder: Path) -> Kept:
    """A model folder as it lies there; neither its base nor the encoder that it borrows is needed. Errors:
    ModelError."""
    config = read_config(folder)
    _present(folder, WEIGHTS)
    state = load_tensors(folder / WEIGHTS)
    _in_proportion(config, state, folder)
    tokenizer = _text(folder, TOKENIZER) if config.llm.kind == "decoder" else ""
    return Kept(
        config, state, _lines(folder, MEMORY, config.santa.size), _lines(folder, NAMES, config.santa.names), tokenizer
    )


def _in_proportion(config: MatsConfig, state: dict[str, torch.Tensor], folder: Path) -> None:
    """That the weights are as many as the sizes in the config ask for, before anything of those sizes is made. Errors:
    ModelError."""
    d, santa, mapper, decoder = config.width, config.santa, config.mapper, config.decoder
    needed = d * (santa.size + santa.clusters + santa.names)
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
    held = sum(value.numel() for value in state.values())
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
    }
    for key, shape in sizes.items():
        if f"santa.{key}" not in state or tuple(state[f"santa.{key}"].shape) != shape:
            raise ModelError(
                f"{folder / WEIGHTS} has no santa.{key} of {shape}, as its config says; fetch or train the model again."
            )


def take(wanted: dict[str, torch.Tensor], state: dict[str, torch.Tensor], folder: Path) -> None:
    """Every tensor of a model out of its folder's, strictly. Errors: ModelError, which names what is missing or left
    over."""
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        part = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which no part of the model has"
        raise ModelError(f"{folder / WEIGHTS} {part} ({len(missing)} missing, {len(extra)} left over).")
    copy_tensors(wanted, state, str(folder / WEIGHTS))


def _check_id(config: MatsConfig, folder: Path) -> None:
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


def load(
    folder: Path,
    find: Find,
    device: str = "cpu",
    clap: Clap | None = None,
    llm: LLMConfig | None = None,
    depth: int = 0,
) -> Mats:
    """Read a model folder; `clap` stands in for the encoder that it borrows, `llm` for what its config says of its
    language model; `depth` counts the models that borrow from each other.

    Errors: ModelError, which names the file and what is missing or left over in it; MismatchError.
    """
    kept = read(folder)
    trained = kept.config.llm
    config = replace(kept.config, llm=llm or trained)
    if config.clap == "inside":
        with _naming(folder / CLAP_TOKENIZER):
            ears: Clap = NanoClap(_text(folder, CLAP_TOKENIZER))
    else:
        ears = borrowed_clap(config, find, clap, depth)
    if ears.dim != config.width:
        raise MismatchError(
            f"{folder} was trained on embeddings of {config.width} numbers; the encoder {config.clap!r} gives "
            f"{ears.dim}."
        )
    if config.audio and config.audio != getattr(ears, "kind", ""):
        raise MismatchError(
            f"{folder} holds the audio side of an encoder of kind {config.audio}, which {config.clap!r} is not: "
            "convert it with another --clap."
        )
    with _naming(folder / TOKENIZER) if config.llm.kind == "decoder" else contextlib.nullcontext():
        answers = load_llm(config, find, device, kept.tokenizer, training=False)
    mats = build(config, ears, answers)
    wanted = tensors(mats)
    if config.llm.base != trained.base:
        _fits(wanted, kept.state, folder, trained, config.llm, answers.width)
    take(wanted, kept.state, folder)
    _check_id(kept.config, folder)
    mats.santa.captions, mats.santa.name_texts = kept.captions, kept.name_texts
    if isinstance(ears, PublishedClap) and not config.label_scale:
        mats.scales = scales(ears)
    for part in (mats.mapper, mats.llm):
        part.eval().requires_grad_(False)
    answers.settle()
    # the prefix is made where it is read; a published encoder is as large as to be worth moving, nano's is not
    mats.mapper.to(answers.device)
    if isinstance(ears, PublishedClap) and answers.device.type == "cuda":
        ears.to(answers.device)
    return mats


def _fits(
    wanted: dict[str, torch.Tensor],
    state: dict[str, torch.Tensor],
    folder: Path,
    trained: LLMConfig,
    other: LLMConfig,
    width: int,
) -> None:
    """Whether what was trained beside one base may speak to another. Errors: MismatchError."""
    if trained.tuning == "full":
        raise MismatchError(f"{folder} holds {trained.base} itself, trained whole: it cannot answer with {other.base}.")
    unlike = next((key for key, value in wanted.items() if key not in state or state[key].shape != value.shape), None)
    if unlike is None and not state.keys() - wanted.keys():
        return
    had = next((len(state[key]) for key in ("mapper.project.weight", "mapper.fc2.weight") if key in state), 0)
    why = (
        f"its mapper speaks to {had} numbers a token, {other.base} reads {width}"
        if had and had != width
        else f"its LoRA has no place there ({unlike})"
    )
    raise MismatchError(
        f"{folder} was trained beside {trained.base} and does not fit {other.base}: {why}; train it for that one with "
        "llm.base."
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


def borrowed_clap(config: MatsConfig, find: Find, clap: Clap | None = None, depth: int = 0) -> Clap:
    """A published encoder, another model's, or the one given, if its text side is the one this model was trained on.
    Errors: MismatchError."""
    if clap is None:
        if depth > 3:
            raise ModelError(
                f"the encoder {config.clap!r} is borrowed from a model that borrows it: name the model that has it."
            )
        path = find(config.clap, "encoder")
        clap = load_encoder(path).clap if is_encoder(path) else load(path, find, depth=depth + 1).clap
    if config.space and clap.space != config.space:
        raise MismatchError(
            f"this model was trained on another version of the encoder {config.clap!r} (text side {config.space}, "
            f"here {clap.space}): train it again."
        )
    return clap


def load_llm(
    config: MatsConfig,
    find: Find,
    device: str,
    tokenizer_json: str,
    dropout: float = 0.0,
    force: bool = False,
    training: bool = True,
) -> LanguageModel:
    """The language model of a config. Errors: ModelError, DeviceError."""
    if config.llm.kind == "decoder":
        return small_llm(config, tokenizer_json, dropout)
    if config.llm.kind != "transformers":
        raise ModelError(f"llm.kind {config.llm.kind!r}: this version knows decoder and transformers.")
    from mats_model.llm.bases import load_base

    base = find(config.llm.base, "base")
    return load_base(base, config.llm, place(config.llm, device, force, training, stored(base)))


def stored(base: Path) -> int:
    """Bytes of a base's weights, as they lie in its folder."""
    return sum(file.stat().st_size for file in base.glob("*.safetensors"))
