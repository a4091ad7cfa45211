"""What a run would take, before it is started: parameters, memory by part, examples, minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from mats_model.clap.text import WIDTH
from mats_model.config import LLMConfig
from mats_model.device import Placement, fast_bf16, place
from mats_model.llm.decoder import Decoder
from mats_model.mapper import make_mapper
from mats_model.training.recipe import TextRecipe
from mats_model.training.sources import CaptionSource
from mats_model.weights.folder import stored
from mats_model.weights.resolve import find, find_base


@dataclass(frozen=True)
class Part:
    """A part of the model."""

    name: str
    parameters: int
    trained: int
    megabytes: float  # weights, gradients and optimiser


@dataclass(frozen=True)
class Estimate:
    """`minutes` is rough: from a trial multiplication on this device, half of whose speed a training step reaches."""

    device: str
    parts: list[Part]
    activations: float  # megabytes, at the size of one micro-batch
    examples: int
    batches: int
    passes: float
    minutes: float

    @property
    def megabytes(self) -> float:
        return sum(part.megabytes for part in self.parts) + self.activations


@dataclass(frozen=True)
class _Shape:
    parameters: int
    lora: int
    width: int
    layers: int
    vocabulary: int


def _base_shape(config: LLMConfig) -> _Shape:
    """Sizes of a base that is at hand, its weights not read. Errors: ModelError."""
    from mats_model.llm.bases import empty_base

    base = empty_base(find_base(config.base))
    targets = config.targets or ["q_proj", "v_proj", "c_attn"]
    lora = 0
    for name, module in base.named_modules():
        if name.split(".")[-1] in targets and hasattr(module, "weight"):
            lora += config.rank * sum(module.weight.shape)
    settings: Any = base.config
    count = sum({id(weight): weight.numel() for weight in base.parameters()}.values())
    return _Shape(count, lora, settings.hidden_size, settings.num_hidden_layers, settings.vocab_size)


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


def estimate(recipe: TextRecipe, sources: list[CaptionSource], device: str = "auto", force: bool = False) -> Estimate:
    """Errors: ModelError when a base is not at hand, DeviceError."""
    train = recipe.train
    if recipe.start:
        from mats_model.weights.folder import read_config

        config = read_config(find(recipe.start))
        mapper_config, llm, decoder_config = config.mapper, config.llm, config.decoder
    else:
        mapper_config, llm, decoder_config = recipe.mapper, recipe.llm, recipe.decoder
    base = find_base(llm.base) if llm.kind == "transformers" else None
    placement = place(llm, device, force, weights=stored(base) if base else 0)
    if llm.kind == "decoder":
        decoder = Decoder(decoder_config)
        own = sum(weight.numel() for weight in decoder.parameters())
        shape = _Shape(own, 0, decoder_config.width, decoder_config.layers, decoder_config.vocabulary)
        trained, size = own, 4.0
    else:
        shape = _base_shape(llm)
        trained = {"full": shape.parameters, "lora": shape.lora, "frozen": 0}[llm.tuning]
        size = {"nf4": 0.57}.get(placement.quantize, 4.0 if llm.tuning == "full" else float(placement.dtype.itemsize))
    mapper = sum(weight.numel() for weight in make_mapper(mapper_config, WIDTH, shape.width).parameters())
    total = shape.parameters + (shape.lora if llm.tuning == "lora" else 0)
    frozen = total - trained
    parts = [
        Part("mapper", mapper, mapper, mapper * 16 / 1e6),
        # a trained weight is kept in float32 with its gradient and two moments
        Part("language model", total, trained, (frozen * size + trained * 16) / 1e6),
    ]
    answers = [
        len(example.answer.split()) * 1.4 + len(example.instruction.split()) * 1.4 + 16
        for source in sources
        for example in source.examples
    ]
    length = mapper_config.prefix_length + sum(answers) / len(answers)
    micro = train.micro_batch or train.batch
    depth = 2.0 if train.checkpointing else 34.0
    half = 2 if placement.dtype != torch.float32 or fast_bf16(placement.device) else 4
    activations = micro * length * (shape.layers * shape.width * depth * half / 2 + 6 * shape.vocabulary * 0.4) / 1e6
    # forward and back through all weights; gradients of weights only where they are trained
    work = train.steps * train.batch * length * (4 * shape.parameters + 2 * trained + 6 * mapper / length)
    if train.checkpointing:
        work *= 4 / 3
    examples = sum(len(source.examples) for source in sources)
    return Estimate(
        placement.reason,
        parts,
        activations,
        examples,
        train.steps,
        train.steps * train.batch / examples,
        work / (0.5 * _speed(placement)) / 60,
    )
