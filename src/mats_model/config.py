"""Every setting of a model once, each with its sentence; read strictly from config.json."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from mats_model.errors import MatsError, ModelError

FORMAT = 1


@dataclass(frozen=True)
class SantaSettings:
    """lambda, tau and L of eq. 6-7, and the sizes of the memory."""

    blend: float = 0.3  # lambda: share of the memory in what the mapper hears
    temperature: float = 0.1  # tau of the softmax over the neighbours
    neighbours: int = 32  # L: texts taken from the closest cluster
    size: int = 0  # M: texts in the memory
    clusters: int = 1  # K


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the small decoder."""

    vocabulary: int = 4096  # byte-level BPE tokens
    width: int = 256  # h
    layers: int = 6
    heads: int = 4
    hidden: int = 768  # of the gated feed-forward part
    positions: int = 160  # prefix, prompt and answer together


@dataclass(frozen=True)
class MapperConfig:
    """Sizes of the mapper."""

    width: int = 256  # m of the paper's transformer
    clip_length: int = 4  # tokens made of the embedding
    prefix_length: int = 4  # p: learned tokens that attend to them and become the prefix
    layers: int = 2
    heads: int = 4


@dataclass(frozen=True)
class SearchSettings:
    """How an answer is searched for."""

    beams: int = 3
    longest: int = 28  # tokens
    shortest: int = 3  # tokens
    length_power: float = 0.8  # scores are divided by length ** this
    rerank: float = 0.0  # weight of each finished answer's cosine to the sound


@dataclass(frozen=True)
class MatsConfig:
    """One model folder."""

    name: str = "nano"
    format: int = FORMAT
    width: int = 256  # d: embedding width
    noise_variance: float = 0.0078  # per dimension, on text embeddings while training
    label_scale: float = 20.0  # cosine -> logit of the softmax over labels
    multi_scale: float = 20.0  # cosine -> logit of one label's own probability
    multi_bias: float = -10.0
    id: str = ""  # of the pipeline: changes when front end, windows, pooling or weights do
    mapper: MapperConfig = field(default_factory=MapperConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    santa: SantaSettings = field(default_factory=SantaSettings)
    search: SearchSettings = field(default_factory=SearchSettings)


def to_dict(config: MatsConfig) -> dict[str, Any]:
    """Plain values, for config.json."""
    return asdict(config)


def from_dict(values: dict[str, Any], where: str) -> MatsConfig:
    """Strict: an unknown field, a missing format or a value of another kind is a ModelError that names it."""
    if values.get("format") != FORMAT:
        raise ModelError(f"{where} has format {values.get('format')!r}; this version of mats reads format {FORMAT}.")
    return fill(MatsConfig(), values, where, ModelError)


Settings = TypeVar("Settings")


def fill(default: Settings, values: Any, where: str, error: type[MatsError], prefix: str = "") -> Settings:
    """`default`, a dataclass of dataclasses, with `values` in the place of its fields; strict in names and kinds."""
    if not isinstance(values, dict):
        raise error(f"{where}: {prefix.rstrip('.') or 'it'} should be a group of settings.")
    known = [entry.name for entry in fields(default)]  # type: ignore[arg-type]
    filled: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            raise error(f"{where}: unknown setting {prefix}{key}" + (f"; did you mean {prefix}{near[0]}?" if near else "."))
        old = getattr(default, key)
        if is_dataclass(old):
            value = fill(old, value, where, error, f"{prefix}{key}.")
        elif isinstance(old, float) and type(value) is int:
            value = float(value)
        elif type(value) is not type(old):
            raise error(f"{where}: {prefix}{key} should be {type(old).__name__}, not {value!r}.")
        filled[key] = value
    return replace(default, **filled)  # type: ignore[type-var]
