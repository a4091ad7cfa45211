"""What a run would take, before it is started: parameters, memory by part, examples, minutes."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from mats_model.config import DecoderConfig, LLMConfig, MatsConfig
from mats_model.device import Placement, fast_bf16, place
from mats_model.llm.decoder import Decoder
from mats_model.mapper import make_mapper
from mats_model.training.begin import embedding_width
from mats_model.training.recipe import LoopSettings, TextRecipe
from mats_model.training.sources import CaptionSource
from mats_model.training.trial import step_seconds
from mats_model.weights.folder import read_config
from mats_model.weights.loading import stored
from mats_model.weights.resolve import resolve

# bytes of a trained weight: itself, its gradient and AdamW's two moments, each in float32
_TRAINED = 4 + 4 + 8
# bytes of a weight in 4 bits: half of one, and a float32 scale for each 64 (QLoRA, Dettmers et al. 2023, section 2,
# without the second quantization)
_NF4 = 0.5 + 4 / 64
# megabytes on a CPU: the encoder and Santa's memory, with the files that they came from; the model of `start` beside
# them; checkpoints, answers and the picture of the loss. Measured with nano, as are the numbers below, by
# benchmarks/plan.py
_EARS, _START, _BESIDE = 105, 105, 220
# bytes of an example: its texts as tokens, and where its embedding lies
_EXAMPLE = 1100
# times the bytes of activations on a CPU, of the small decoder and of a base: batches are of many lengths, and torch
# keeps plans and room for each
_LENGTHS, _LENGTHS_OF_BASE = 7.0, 2.5
# times the time of an example in a step: an answer word by word, one that is searched for, the loss alone
_ANSWER, _SEARCHED, _LOOK = 3.0, 30.0, 0.4
_STARTING = 6.0  # seconds before the first step and after the last: libraries, texts, the model's file
# bytes that a layer keeps for each position and each of its width, in 16 bits, all or the layer's input alone
# (Korthikanti et al. 2022, eq. 2 and section 5; its term for attention scores falls away where attention is fused)
_KEPT, _KEPT_RECOMPUTED = 34.0, 2.0
# bytes of a logit: 16 bits and its float32 softmax, at positions of the answer, which are about so many of all
_LOGIT, _ANSWERED = 6, 0.4
# operations for each weight and position: 2 forward and 2 back through all weights, 2 more for gradients of weights
# (Kaplan et al. 2020, section 2.1: 6 N in all); a second way forward where activations are recomputed
_FORWARD_AND_BACK, _OF_WEIGHTS, _RECOMPUTED_WORK = 4, 2, 4 / 3
# of the speed of a plain multiplication, a step reaches about so much: on a processor as measured with SmolLM2-135M on
# two cores (4 s a step of 32); on a card it was not measured
_REACHED, _REACHED_ON_CPU = 0.5, 0.2
# rated multiplications and additions a second of a card that this machine lacks: an RTX 3090's in bfloat16
_OF_A_CARD = 71e12
# tokens of a word, and of what stands around question and answer, as byte-level tokenizers of English have them; the
# small decoder has a few marks of its own there
_TOKENS_A_WORD, _PROMPT, _MARKS = 1.4, 16, 3


@dataclass(frozen=True)
class Part:
    """A part of the model."""

    name: str
    parameters: int
    trained: int
    megabytes: float  # weights, gradients and optimiser


@dataclass(frozen=True)
class Estimate:
    """`minutes` are those of a machine that does nothing else: from a trial of the small decoder's step, or beside a
    base from a trial multiplication, half of whose speed a training step reaches."""

    device: str
    parts: list[Part]
    activations: float  # megabytes, at the size of one micro-batch
    others: dict[str, float]  # megabytes of what is not trained, by name; on a GPU what lies there alone counts
    examples: int
    batches: int
    batch: int
    passes: float
    minutes: float

    @property
    def megabytes(self) -> float:
        return sum(part.megabytes for part in self.parts) + self.activations + sum(self.others.values())


@dataclass(frozen=True)
class _Shape:
    parameters: int
    lora: int
    width: int
    layers: int
    vocabulary: int


def _base_shape(config: LLMConfig) -> _Shape:
    """Sizes of a base, its weights not read: of its folder, or as they are known of one that is not here. Errors:
    ModelError."""
    from mats_model.llm.bases import empty_base

    here = resolve(config.base, "base")
    if here.path is None and here.entry and (known := here.entry.sizes):
        pairs = sum(both for name, both in known.projections.items() if name in (config.targets or known.projections))
        lora = config.rank * known.layers * pairs
        return _Shape(known.parameters, lora, known.width, known.layers, known.vocabulary)
    base = empty_base(here.found())
    targets = config.targets or ["q_proj", "v_proj", "c_attn"]
    lora = 0
    for name, module in base.named_modules():
        if name.split(".")[-1] in targets and hasattr(module, "weight"):
            lora += config.rank * sum(module.weight.shape)
    settings: Any = base.config
    count = sum({id(weight): weight.numel() for weight in base.parameters()}.values())
    return _Shape(count, lora, settings.hidden_size, settings.num_hidden_layers, settings.vocab_size)


def _decoder_shape(config: DecoderConfig) -> _Shape:
    """Sizes of the small decoder."""
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in Decoder(config).parameters())
    return _Shape(parameters, 0, config.width, config.layers, config.vocabulary)


def _speed(placement: Placement) -> float:
    """Multiplications and additions a second that this device shows."""
    dtype = torch.bfloat16 if placement.dtype == torch.bfloat16 or fast_bf16(placement.device) else torch.float32
    a = torch.ones(1024, 1024, dtype=dtype, device=placement.device)
    a @ a
    began, done = time.monotonic(), 0
    while time.monotonic() - began < 0.2:
        (a @ a)[0, 0].item()
        done += 1
    return 2 * 1024**3 * done / (time.monotonic() - began)


def estimate(
    recipe: TextRecipe, sources: list[CaptionSource], device: str = "auto", force: bool = False,
    card: Placement | None = None,
) -> Estimate:  # fmt: skip
    """`card` stands for a device that this machine lacks. Errors: ModelError when the sizes of a base or an encoder
    are not known, DeviceError."""
    program = _program()  # before anything is tried
    train, configs = recipe.train, configs_of(recipe)
    own = configs.llm.kind == "decoder"
    placement = card or place(configs.llm, device, force, weights=0 if own else _weights(configs.llm))
    shape = _decoder_shape(configs.decoder) if own else _base_shape(configs.llm)
    language = _language_part(configs.llm, shape, placement)
    width = embedding_width(recipe)
    mapper = sum(w.numel() for w in make_mapper(configs.mapper, width, shape.width).parameters())
    behind = _answer_positions(sources, _MARKS if own else _PROMPT)
    positions = configs.mapper.prefix_length + behind
    examples = sum(len(source.examples) for source in sources) + recipe.recall.texts
    each = positions * (_FORWARD_AND_BACK * shape.parameters + _OF_WEIGHTS * language.trained)
    each += (_FORWARD_AND_BACK + _OF_WEIGHTS) * mapper  # once for an example
    here = placement.device.type == "cpu"
    lengths = (_LENGTHS if own else _LENGTHS_OF_BASE) if here else 1.0
    others = _others(recipe, examples, program) if here else {}
    if own:
        step = step_seconds(replace(configs, width=width), train, round(behind), placement.device)
    else:
        work = train.batch * each * (_RECOMPUTED_WORK if train.checkpointing else 1)
        reached = _REACHED_ON_CPU if here else _REACHED
        step = work / (reached * (_OF_A_CARD if card else _speed(placement)))
    return Estimate(
        placement.reason,
        [Part("mapper", mapper, mapper, mapper * _TRAINED / 1e6), language],
        _activations(shape, positions, placement, train) / 1e6 * lengths,
        others,
        examples,
        train.steps,
        train.batch,
        train.steps * train.batch / examples,
        _seconds(recipe, sources, step) / 60,
    )


def _others(recipe: TextRecipe, examples: int, program: float) -> dict[str, float]:
    """Megabytes on a CPU besides what is trained and what a step keeps."""
    return {
        "program and texts": program + examples * _EXAMPLE / 1e6,
        "encoder and memory": _EARS + (_START if recipe.start else 0),
        "checkpoints and pictures": _BESIDE,
    }


def _program() -> float:
    """Megabytes of this process so far: the libraries are those of a run, and the texts are read."""
    try:
        import resource
    except ImportError:  # Windows
        return 300.0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most / 1e3


def _seconds(recipe: TextRecipe, sources: list[CaptionSource], step: float) -> float:
    """Of a whole run whose steps take so long: looks at it, and what it begins with, are counted by their examples."""
    train, held = recipe.train, recipe.held_out
    count = sum(len(source.examples) for source in sources) * held.share
    out = min(held.most, count) if held.share else 0
    each = step / train.batch
    looks = -(-train.steps // train.evaluate_every) * (out * _LOOK + (held.answers * _SEARCHED if out else 0))
    samples = -(-train.steps // train.sample_every) * 3 * _SEARCHED
    return _STARTING + train.steps * step + each * (looks + samples + recipe.recall.texts * _ANSWER)


def _weights(config: LLMConfig) -> float:
    """Bytes of a base's weights, as they lie in its folder, or as they are known of one that is not here."""
    here = resolve(config.base, "base")
    return stored(here.path) if here.path else 1e6 * here.entry.megabytes if here.entry else 0


def configs_of(recipe: TextRecipe) -> MatsConfig:
    """Sizes of mapper and language model: the recipe's, or those of the model that it starts from. Errors:
    ModelError."""
    if recipe.start:
        return read_config(resolve(recipe.start, "model").found())
    return MatsConfig(mapper=recipe.mapper, llm=recipe.llm, decoder=recipe.decoder)


def _language_part(config: LLMConfig, shape: _Shape, placement: Placement) -> Part:
    """The language model: what is trained of it, and what lies beside that, frozen."""
    own = config.kind == "decoder"
    tuning = "full" if own else config.tuning
    trained = {"full": shape.parameters, "lora": shape.lora, "frozen": 0}[tuning]
    total = shape.parameters + (shape.lora if tuning == "lora" else 0)
    size = _NF4 if placement.quantize == "nf4" else float(placement.dtype.itemsize)
    return Part("language model", total, trained, ((total - trained) * size + trained * _TRAINED) / 1e6)


def _answer_positions(sources: list[CaptionSource], prompt: int) -> float:
    """Positions of an example behind the prefix, on average."""
    words = [len(e.answer.split()) + len(e.instruction.split()) for source in sources for e in source.examples]
    return sum(words) / len(words) * _TOKENS_A_WORD + prompt


def _activations(shape: _Shape, positions: float, placement: Placement, train: LoopSettings) -> float:
    """Bytes kept for the way back, of a micro-batch."""
    rows = train.micro_batch or train.batch
    half = placement.dtype != torch.float32 or fast_bf16(placement.device)
    a_layer = shape.width * (_KEPT_RECOMPUTED if train.checkpointing else _KEPT) * (1 if half else 2)
    return rows * positions * (shape.layers * a_layer + _LOGIT * shape.vocabulary * _ANSWERED)
