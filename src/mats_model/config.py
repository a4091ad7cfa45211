"""Every setting of a model once, each with its sentence; read strictly from config.json."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_type_hints

from mats_model.errors import MatsError, ModelError, UsageError, is_text

FORMAT = 1


@dataclass(frozen=True)
class SantaSettings:
    """lambda, tau and L of eq. 6-7, and the sizes of the memory."""

    blend: float = 0.3  # lambda: share of the memory in what the mapper hears
    temperature: float = 0.1  # tau of the softmax over the neighbours
    neighbours: int = 32  # L: texts taken from the closest cluster
    size: int = 0  # M: texts in the memory
    clusters: int = 1  # K
    names: int = 0  # class names beside the texts: a second look, at the nearest of these
    near_names: int = 2  # of them
    way: str = "blend"  # blend (eq. 6-7), project (the whole memory), shift (by the mean gap) or none
    prompt: int = 0  # of kind transformers: so many of the nearest captions are put into the prompt as text


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
class LLMConfig:
    """Which language model answers, and how it was changed."""

    kind: str = "decoder"  # decoder: ours, its weights in the folder; transformers: a base kept elsewhere
    base: str = ""  # of kind transformers: smollm2-135m, a hub id or a folder
    fingerprint: str = ""  # of the base that was trained on; another one is refused
    # nano, paper (USER/ASSISTANT), chat (the base's own template) or none (the prefix alone, which gives captions)
    prompt: str = "nano"
    tuning: str = "full"  # full, lora or frozen
    rank: int = 8  # of LoRA
    alpha: int = 32
    dropout: float = 0.1
    targets: list[str] = field(default_factory=list)  # of LoRA; none given means the queries and values
    quantize: str = "none"  # none, int8 (answers on a CPU), nf4 (CUDA), or auto
    dtype: str = "auto"  # of the base: auto, float32, bfloat16 or float16


@dataclass(frozen=True)
class MapperConfig:
    """Kind and sizes of the mapper."""

    kind: str = "transformer"  # transformer, mlp or linear
    width: int = 256  # m of the paper's transformer
    clip_length: int = 4  # tokens made of the embedding
    prefix_length: int = 4  # p: learned tokens that attend to them and become the prefix
    layers: int = 2
    heads: int = 4


@dataclass(frozen=True)
class SearchSettings:
    """How an answer is searched for."""

    beams: int = 3
    max_new_tokens: int = 28  # tokens
    min_new_tokens: int = 3  # tokens
    length_penalty: float = 0.8  # scores are divided by length ** this
    rerank: float = 0.0  # weight of each finished answer's cosine to the sound
    claims: float = 0.0  # weight of the doubt in what an answer claims to have been heard
    no_repeat_ngram_size: int = 2  # of kind transformers: no run of so many tokens comes twice
    repetition_penalty: float = 2.0  # of kind transformers: tokens already said are this much less likely
    temperature: float = 0.0  # of kind transformers: above 0 answers are drawn, token by token, not searched for
    top_p: float = 1.0  # then: only from the likeliest tokens that make up so much
    seed: int = 0  # then: the same seed gives the same answer


def search_changed(settings: SearchSettings, text: str) -> SearchSettings:
    """`settings` with some of them as in "beams=4,max_new_tokens=40,temperature=0.7,seed=1". Errors: UsageError."""
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = pair.partition("=")
        name = FORMER["SearchSettings"].get(name, name)
        if name not in (known := [each.name for each in fields(SearchSettings)]):
            raise UsageError(f"--search {pair}: there is no setting {name!r}; there are {', '.join(known)}.")
        kind = type(getattr(settings, name))
        try:
            settings = replace(settings, **{name: kind(value)})
        except ValueError:
            raise UsageError(f"--search {pair}: {name} should be a {'whole ' if kind is int else ''}number.") from None
    if not (
        1 <= settings.beams <= 64
        and 1 <= settings.max_new_tokens <= 4096
        and settings.temperature >= 0
        and 0 < settings.top_p <= 1
    ):
        raise UsageError(
            f"--search {text}: beams lie between 1 and 64, max_new_tokens between 1 and 4096, top_p above 0 and "
            "up to 1, temperature is 0 or more."
        )
    if min(settings.min_new_tokens, settings.no_repeat_ngram_size) < 0 or settings.repetition_penalty <= 0:
        raise UsageError(
            f"--search {text}: min_new_tokens and no_repeat_ngram_size are 0 or more, repetition_penalty is above 0."
        )
    return settings


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
    background: float = 0.0  # how well a sound fits all names that are known -> what that takes off this logit
    clap: str = "inside"  # whose encoder: the folder's own, or that of the model of this name
    audio: str = (
        ""  # kind of that encoder (msclap), where the folder holds an audio side that takes the place of its own
    )
    space: str = ""  # id of the encoder's text side, where it is another model's
    id: str = ""  # of the pipeline: changes when front end, windows, pooling or weights do
    mapper: MapperConfig = field(default_factory=MapperConfig)
    llm: LLMConfig = field(default_factory=LLMConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    santa: SantaSettings = field(default_factory=SantaSettings)
    search: SearchSettings = field(default_factory=SearchSettings)


# names of before, still read: kind of settings -> name then -> name now. An id is of the names then
FORMER: dict[str, dict[str, str]] = {
    "LLMConfig": {"quantise": "quantize"},
    "SearchSettings": {
        "longest": "max_new_tokens", "shortest": "min_new_tokens", "length_power": "length_penalty",
        "no_repeat": "no_repeat_ngram_size", "repetition": "repetition_penalty",
    },
    "LoopSettings": {"rate": "learning_rate", "clip": "max_grad_norm", "longest": "max_answer_tokens"},
    "LessonSettings": {"rate": "learning_rate"},
    "AlignSettings": {"rate": "learning_rate"},
    "MemorySettings": {"longest": "max_words"},
    "HeldOutSettings": {"clip": "recording"},
}  # fmt: skip


class FormerNameWarning(FutureWarning):
    """A setting is read by a name that it had before."""


# what a setting may be: the sizes of what is made of it stay within reason before anything is made. Numbers lie between
# two, words are among these
_MAY: dict[type, dict[str, tuple[float, float] | tuple[str, ...]]] = {
    SantaSettings: {
        "blend": (0, 1), "temperature": (1e-6, 1e6), "neighbours": (1, 10**6), "size": (0, 10**8), "clusters": (1,
        10**6), "names": (0, 10**6),
        "near_names": (0, 10**6), "way": ("blend", "project", "shift", "none"), "prompt": (0, 32),
    },
    DecoderConfig: {
        "vocabulary": (8, 10**6), "width": (2, 16_384), "layers": (1, 256), "heads": (1, 1024), "hidden": (1,
        131_072), "positions": (8, 16_384),
    },
    LLMConfig: {"rank": (1, 1024), "alpha": (0, 10**6), "dropout": (0, 0.99)},
    MapperConfig: {
        "kind": ("transformer", "mlp", "linear"), "width": (1, 16_384), "clip_length": (1, 1024), "prefix_length": (1,
        1024), "layers": (1, 64),
        "heads": (1, 1024),
    },
    SearchSettings: {
        "beams": (1, 64), "max_new_tokens": (1, 4096), "min_new_tokens": (0, 4096), "length_penalty": (-10, 10),
        "rerank": (-1e6, 1e6),
        "no_repeat_ngram_size": (0, 4096),
        "repetition_penalty": (1e-3, 1e3), "temperature": (0, 100), "top_p": (1e-6, 1),
    },
    MatsConfig: {"width": (1, 16_384), "noise_variance": (0, 1e3), "label_scale": (-1e6, 1e6), "multi_scale": (-1e6,
    1e6), "multi_bias": (-1e6, 1e6),
    "background": (-1e6, 1e6)},
}  # fmt: skip


def to_dict(config: MatsConfig) -> dict[str, Any]:
    """Plain values, for config.json."""
    return asdict(config)


def from_dict(values: dict[str, Any], where: str) -> MatsConfig:
    """Strict: an unknown field, a missing format or a value of another kind is a ModelError that names it."""
    if values.get("format") != FORMAT:
        raise ModelError(
            f"{where} has format {_shown(values.get('format'))}; this version of mats reads format {FORMAT}."
        )
    config = fill(MatsConfig(), values, where, ModelError)
    mapper, decoder = config.mapper, config.decoder
    if mapper.kind == "transformer" and mapper.width % mapper.heads:
        raise ModelError(f"{where}: mapper.width {mapper.width} should be a multiple of mapper.heads {mapper.heads}.")
    if config.llm.kind == "decoder" and decoder.width % (2 * decoder.heads):
        raise ModelError(
            f"{where}: decoder.width {decoder.width} should be a multiple of twice decoder.heads {decoder.heads}."
        )
    return config


Settings = TypeVar("Settings")


class Where:
    """A file and, by dotted name of the setting, its lines: the beginning of every complaint about it."""

    def __init__(self, file: str, lines: Mapping[str, int] | None = None) -> None:
        self.file, self.lines = file, lines or {}

    def of(self, name: str) -> str:
        line = self.lines.get(name)
        return f"{self.file}:{line}" if line else self.file


def fill(default: Settings, values: Any, where: Where | str, error: type[MatsError], prefix: str = "") -> Settings:
    """`default`, a dataclass of dataclasses, with `values` in the place of its fields; strict in names and kinds."""
    where = Where(where) if isinstance(where, str) else where
    if not isinstance(values, dict):
        raise error(f"{where.of(prefix.rstrip('.'))}: {prefix.rstrip('.') or 'it'} should be a group of settings.")
    known = [entry.name for entry in fields(default)]  # type: ignore[arg-type]
    hints = get_type_hints(type(default))
    filled: dict[str, Any] = {}
    former = FORMER.get(type(default).__name__, {})
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key in former:
            if former[key] in values:
                raise error(f"{where.of(name)}: {name} is what {former[key]} was called before: leave one of them out.")
            warnings.warn(f"{where.of(name)}: {name} is called {former[key]} now.", FormerNameWarning, stacklevel=2)
            key = former[key]
        if key not in known:
            near = difflib.get_close_matches(str(key)[:80], known, 1)
            raise error(
                f"{where.of(name)}: unknown setting {name[:80]}"
                + (f"; did you mean {prefix}{near[0]}?" if near else ".")
            )
        old = getattr(default, key)
        if is_dataclass(old):
            value = fill(old, value, where, error, f"{name}.")
        elif isinstance(old, list):
            value = _filled_list(get_args(hints[key])[0], value, where, error, name)
        else:
            value = _of_kind(type(old), value, where, error, name)
            _check(_MAY.get(type(default), {}).get(key), value, where, error, name)
        filled[key] = value
    return replace(default, **filled)  # type: ignore[type-var]


def _filled_list(kind: Any, value: Any, where: Where, error: type[MatsError], name: str) -> list[Any]:
    if not isinstance(value, list):
        raise error(f"{where.of(name)}: {name} should be a list, not {_shown(value)}.")
    if is_dataclass(kind):
        return [fill(kind(), each, where, error, f"{name}.{number}.") for number, each in enumerate(value)]  # type: ignore[operator]
    return [_of_kind(kind, each, where, error, f"{name}.{number}") for number, each in enumerate(value)]


def _check(
    may: tuple[float, float] | tuple[str, ...] | None, value: Any, where: Where, error: type[MatsError], name: str
) -> None:
    if may is None or not isinstance(value, str | int | float):
        return
    if isinstance(value, str):
        if value not in may:
            raise error(f"{where.of(name)}: {name} {_shown(value)}: choose one of {', '.join(map(str, may))}.")
    elif not may[0] <= value <= may[1]:  # type: ignore[operator]
        raise error(f"{where.of(name)}: {name} should lie between {may[0]:g} and {may[1]:g}, not {_shown(value)}.")


def _shown(value: Any) -> str:
    """A value in a sentence, however long or deep it is."""
    try:
        shown = repr(value)
    except (RecursionError, ValueError):
        return "what is too much to be shown"
    return shown if len(shown) <= 80 else f"{shown[:80]}..."


def _of_kind(kind: Any, value: Any, where: Where, error: type[MatsError], name: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if isinstance(value, str) and not is_text(value):
        raise error(f"{where.of(name)}: {name} holds half of a surrogate pair, which is no text: {_shown(value)}.")
    if (
        type(value) is kind
        and not (kind is float and not math.isfinite(value))
        and not (kind is int and abs(value) >= 2**63)
    ):
        return value
    said = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}.get(
        kind.__name__, kind.__name__
    )
    if kind is float and isinstance(value, str) and _number(value):
        plain = f"{float(value):.10f}".rstrip("0")
        raise error(
            f"{where.of(name)}: {name} should be a number, but YAML reads {value} as text: write it as {plain}."
        )
    raise error(f"{where.of(name)}: {name} should be {said}, not {_shown(value)}.")


def _number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
