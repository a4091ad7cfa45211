"""One step: a batch in pieces, its gradient, the optimiser. It depends on recipe, data and the weights before it
alone."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mats_model.device import fast_bf16
from mats_model.errors import DeviceError, UsageError
from mats_model.llm.protocol import Tokens
from mats_model.mats import Mats
from mats_model.training.batches import Batch
from mats_model.training.processes import Crew
from mats_model.training.recipe import LoopSettings


class Learner(nn.Module):
    """What is trained, as one module: a model's mapper and language model, by its line for reading."""

    def __init__(self, mats: Mats) -> None:
        super().__init__()
        self.mapper, self.llm = mats.mapper, mats.llm
        self.read = mats.read  # a method, so that encoder and memory are none of its parts

    def forward(self, meant: torch.Tensor, noise: torch.Tensor, tokens: list[Tokens]) -> tuple[torch.Tensor, int]:
        """Text embeddings (n, d), noise (n, d) -> the sum of the loss over all tokens of the answers, and how many."""
        return self.llm.loss(self.read(meant, noise), tokens)

    def trained(self) -> dict[str, torch.Tensor]:
        """Mapper, and what was trained of the language model: never a frozen base."""
        parts = {"mapper": self.mapper.state_dict(), "llm": self.llm.kept()}
        return {f"{part}.{key}": value for part, state in parts.items() for key, value in state.items()}


@dataclass(frozen=True)
class Taken:
    """A step that was taken."""

    loss: float  # summed over tokens
    tokens: int  # of the answers
    norm: float  # of the gradient, before clipping


class Stepper:
    """Calls take a step. Errors: UsageError where the batch cannot be cut so."""

    def __init__(
        self,
        learner: Learner,
        optimiser: torch.optim.Optimizer,
        settings: LoopSettings,
        crew: Crew,
        device: torch.device,
    ) -> None:
        self.settings, self.crew, self.device = settings, crew, device
        self.micro = settings.micro_batch or settings.batch // crew.size
        if not self.micro or settings.batch % (self.micro * crew.size):
            raise UsageError(
                f"train.batch {settings.batch} should be a multiple of train.micro_batch {self.micro} times "
                f"{crew.size} processes."
            )
        self.weights = [weight for weight in learner.parameters() if weight.requires_grad]
        self.learner: nn.Module = learner
        self.optimiser: Any = optimiser
        if crew.accelerator:
            self.learner, self.optimiser = crew.accelerator.prepare(learner, optimiser)
        self.bf16 = settings.bf16 and fast_bf16(device)

    def __call__(self, step: int, batch: Batch) -> Taken:
        """Errors: DeviceError when memory runs out, with the setting to lower; UsageError for a gradient that is
        none."""
        # dropout draws from here on depend on the step alone
        torch.manual_seed((self.settings.seed * 1_000_003 + step) * self.crew.size + self.crew.rank)
        for group in self.optimiser.param_groups:
            group["lr"] = scheduled(self.settings, step)
        with memory_said(less_memory(self.micro)):
            loss, tokens = self._backward(batch)
            norm = float(nn.utils.clip_grad_norm_(self.weights, self.settings.max_grad_norm))
            if not math.isfinite(norm):
                raise UsageError(
                    f"the gradient is not finite at step {step + 1}: lower train.learning_rate "
                    f"({self.settings.learning_rate:g}) or set train.bf16=false."
                )
            # its moments are made at the first step, and may be what does not fit
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return Taken(loss, tokens, norm)

    def _backward(self, batch: Batch) -> tuple[float, int]:
        """The gradient of this process's pieces; loss and tokens of them."""
        loss_of_all, tokens_of_all = 0.0, 0
        total = sum(len(each.answer) for each in batch.tokens)
        pieces = range(self.crew.rank * self.micro, self.settings.batch, self.micro * self.crew.size)
        for at in pieces:
            more = at != pieces[-1] and self.crew.accelerator
            part = batch.part(at, self.micro)
            with self.learner.no_sync() if more else contextlib.nullcontext():  # type: ignore[operator]
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    loss, count = self.learner(part.meant, part.noise, part.tokens)
                # a sum over the tokens of the whole batch, so that pieces add up to it exactly
                (loss / total * self.crew.size).backward()
            loss_of_all, tokens_of_all = loss_of_all + float(loss.detach()), tokens_of_all + count
        return loss_of_all, tokens_of_all


def scheduled(settings: LoopSettings, step: int) -> float:
    """The learning rate of a step: linear warm-up, then the schedule down to a hundredth."""
    ramp = min(1.0, (step + 1) / max(1, settings.warmup))
    left = max(0.0, 1.0 - max(0, step - settings.warmup) / max(1, settings.steps - settings.warmup))
    shape = {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}[settings.schedule]
    return settings.learning_rate * ramp * max(0.01, shape)


def make_optimiser(module: nn.Module, learning_rate: float, decay: float, beta2: float) -> torch.optim.AdamW:
    """AdamW over what is trained; only matrices decay, not norms and biases."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    matrices, others = [w for w in weights if w.ndim > 1], [w for w in weights if w.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, beta2))


@contextlib.contextmanager
def memory_said(advice: str) -> Iterator[None]:
    """Memory that runs out is one sentence, with what to do. Errors: DeviceError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        said = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError)
        if said or "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise DeviceError(f"memory ran out{advice}") from None
        raise


def less_memory(micro: int) -> str:
    """What to do where `micro` examples at once do not fit."""
    if micro > 1:
        return (
            f": set train.micro_batch={micro // 2} (it is {micro}; the batch stays the same), or "
            "train.checkpointing=true."
        )
    return " with one example at a time: set train.checkpointing=true, llm.quantize=nf4 or a smaller base."
