"""Every setting of a model once, each with its sentence and its bounds; read strictly from config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from mats_model.errors import ModelError
from mats_model.settings import May, changed, fill, shown

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
    taught: int = 0  # words of the user's own
    taught_odds: float = 5.0  # one of them is heard where the logarithm of its odds against the memory reaches this
    way: str = "blend"  # blend (eq. 6-7), project (the whole memory), shift (by the mean gap) or none
    prompt: int = 0  # of kind transformers: so many of the nearest captions are put into the prompt as text

    MAY: ClassVar[Mapping[str, May]] = {
        "blend": (0, 1), "temperature": (1e-6, 1e6), "neighbours": (1, 10**6), "size": (0, 10**8),
        "clusters": (1, 10**6), "names": (0, 10**6), "near_names": (0, 10**6), "taught": (0, 10**6),
        "taught_odds": (-1e6, 1e6),
        "way": ("blend", "project", "shift", "none"), "prompt": (0, 32),
    }  # fmt: skip


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the small decoder."""

    vocabulary: int = 4096  # byte-level BPE tokens
    width: int = 256  # h
    layers: int = 6
    heads: int = 4
    hidden: int = 768  # of the gated feed-forward part
    positions: int = 160  # prefix, prompt and answer together

    MAY: ClassVar[Mapping[str, May]] = {
        "vocabulary": (8, 10**6), "width": (2, 16_384), "layers": (1, 256), "heads": (1, 1024), "hidden": (1, 131_072),
        "positions": (8, 16_384),
    }  # fmt: skip


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

    FORMER: ClassVar[Mapping[str, str]] = {"quantise": "quantize"}
    MAY: ClassVar[Mapping[str, May]] = {"rank": (1, 1024), "alpha": (0, 10**6), "dropout": (0, 0.99)}


@dataclass(frozen=True)
class MapperConfig:
    """Kind and sizes of the mapper."""

    kind: str = "transformer"  # transformer, mlp or linear
    width: int = 256  # m of the paper's transformer
    clip_length: int = 4  # tokens made of the embedding
    prefix_length: int = 4  # p: learned tokens that attend to them and become the prefix
    layers: int = 2
    heads: int = 4

    MAY: ClassVar[Mapping[str, May]] = {
        "kind": ("transformer", "mlp", "linear"), "width": (1, 16_384), "clip_length": (1, 1024),
        "prefix_length": (1, 1024), "layers": (1, 64), "heads": (1, 1024),
    }  # fmt: skip


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

    FORMER: ClassVar[Mapping[str, str]] = {
        "longest": "max_new_tokens", "shortest": "min_new_tokens", "length_power": "length_penalty",
        "no_repeat": "no_repeat_ngram_size", "repetition": "repetition_penalty",
    }  # fmt: skip
    MAY: ClassVar[Mapping[str, May]] = {
        "beams": (1, 64), "max_new_tokens": (1, 4096), "min_new_tokens": (0, 4096), "length_penalty": (-10, 10),
        "rerank": (-1e6, 1e6), "no_repeat_ngram_size": (0, 4096), "repetition_penalty": (1e-3, 1e3),
        "temperature": (0, 100), "top_p": (1e-6, 1),
    }  # fmt: skip


def search_changed(settings: SearchSettings, text: str) -> SearchSettings:
    """`settings` with some of them as in "beams=4,max_new_tokens=40,temperature=0.7,seed=1". Errors: UsageError."""
    return changed(settings, text, "search")


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
    audio_hidden: int = 0  # of nano's own audio side: width of the hidden layer in its head, 0 for none
    space: str = ""  # id of the encoder's text side, where it is another model's
    id: str = ""  # of the pipeline: changes when front end, windows, pooling or weights do
    mapper: MapperConfig = field(default_factory=MapperConfig)
    llm: LLMConfig = field(default_factory=LLMConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    santa: SantaSettings = field(default_factory=SantaSettings)
    search: SearchSettings = field(default_factory=SearchSettings)

    MAY: ClassVar[Mapping[str, May]] = {
        "width": (1, 16_384), "noise_variance": (0, 1e3), "label_scale": (-1e6, 1e6), "multi_scale": (-1e6, 1e6),
        "multi_bias": (-1e6, 1e6), "background": (-1e6, 1e6),
    }  # fmt: skip


def to_dict(config: MatsConfig) -> dict[str, Any]:
    """Plain values, for config.json."""
    return asdict(config)


def from_dict(values: dict[str, Any], where: str) -> MatsConfig:
    """Strict: an unknown field, a missing format or a value of another kind is a ModelError that names it."""
    if values.get("format") != FORMAT:
        raise ModelError(
            f"{where} has format {shown(values.get('format'))}; this version of mats reads format {FORMAT}."
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
