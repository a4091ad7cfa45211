"""Text-only training: captions in, answers out, noise on the embedding, no audio. A generator of events; the caller
shows them.

A step is a pure function of recipe, data and the weights before it, so a run that was stopped anywhere ends with the
same weights, bit for bit, on the same machine.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mats_model import __version__
from mats_model.config import MatsConfig
from mats_model.device import fast_bf16
from mats_model.errors import DeviceError, MatsError, ModelError, UsageError
from mats_model.evaluate.metrics import rouge_l
from mats_model.files import whole
from mats_model.gap.noise import add_noise
from mats_model.llm.protocol import LanguageModel, Tokens
from mats_model.llm.small import SmallLLM
from mats_model.mapper import Mapper
from mats_model.training.batches import Data, Draw, Note, Plan
from mats_model.training.prepare import Prepared
from mats_model.training.recipe import LoopSettings, decisive, differences, written
from mats_model.training.sources import TextExample
from mats_model.weights.folder import save

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
_EVERY, _SECONDS = 10, 5.0  # steps between two reports, or seconds where steps are slow


@dataclass(frozen=True)
class Step:
    """Means over the steps since the last report."""

    step: int
    steps: int
    loss: float  # per token of an answer
    learning_rate: float
    examples: float  # a second
    gradient: float  # its norm, before clipping


@dataclass(frozen=True)
class Evaluated:
    """Loss on held-out examples, with the same noise each time; ROUGE-L of some of their answers, where any were asked
    for."""

    step: int
    loss: float
    best: bool
    rouge_l: float | None


@dataclass(frozen=True)
class Sample:
    """What the model answers now."""

    step: int
    heard: str
    wanted: str
    answer: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: Path


Event = Note | Step | Evaluated | Sample | Saved


class Learner(nn.Module):
    """What is trained, as one module."""

    def __init__(self, mapper: Mapper, llm: LanguageModel) -> None:
        super().__init__()
        self.mapper, self.llm = mapper, llm

    def forward(self, embedding: torch.Tensor, batch: list[Tokens]) -> tuple[torch.Tensor, int]:
        return self.llm.loss(self.mapper(embedding), batch)

    def trained(self) -> dict[str, torch.Tensor]:
        """Mapper, and what was trained of the language model: never a frozen base."""
        parts = {"mapper": self.mapper.state_dict(), "llm": self.llm.kept()}
        return {f"{part}.{key}": value for part, state in parts.items() for key, value in state.items()}


def scheduled(settings: LoopSettings, step: int) -> float:
    """The learning rate of a step: linear warm-up, then the schedule down to a hundredth."""
    ramp = min(1.0, (step + 1) / max(1, settings.warmup))
    left = max(0.0, 1.0 - max(0, step - settings.warmup) / max(1, settings.steps - settings.warmup))
    shape = {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}[settings.schedule]
    return settings.learning_rate * ramp * max(0.01, shape)


class Crew:
    """One process, or one of several that accelerate launched."""

    def __init__(self) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.accelerator: Any = None
        if self.size > 1:
            try:
                from accelerate import Accelerator
            except ImportError:
                raise UsageError("several processes need accelerate: pip install 'mats[train]'.") from None
            self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.rank = self.accelerator.process_index if self.accelerator else 0

    @property
    def device(self) -> str:
        """Of this process."""
        return str(self.accelerator.device) if self.accelerator else "auto"

    def any(self, here: bool) -> bool:
        """Whether it is so in one of them; all wait for each other."""
        if not self.accelerator:
            return here
        return bool(self.accelerator.reduce(torch.tensor(float(here), device=self.accelerator.device), "sum") > 0)

    def wait(self) -> None:
        """For the others."""
        if self.accelerator:
            self.accelerator.wait_for_everyone()


class Trainer:
    """`steps()` goes on from the last checkpoint of `folder`, or from the beginning; `finish()` writes the model."""

    def __init__(self, prepared: Prepared, folder: Path, crew: Crew | None = None) -> None:
        self.prepared, self.recipe, self.folder = prepared, prepared.recipe, folder
        self.work = folder / "training"
        self.crew = crew or Crew()
        self.settings = self.recipe.train
        self.mats = prepared.mats
        self.device = prepared.device
        self.learner = Learner(self.mats.mapper, self.mats.llm)
        self.mats.mapper.to(self.device)
        # a base, which may be in 4 bits, lies where it was put
        if isinstance(self.mats.llm, SmallLLM):
            self.mats.llm.to(self.device)
        self.optimiser = make_optimiser(
            self.learner, self.settings.learning_rate, self.settings.weight_decay, self.settings.beta2
        )
        self.averaged = (
            {key: value.detach().float().clone() for key, value in self.learner.trained().items()}
            if self.settings.ema
            else {}
        )
        self.step, self.started, self.best = 0, 0, math.inf
        self.owed = False  # an evaluation that was put off, since the run was told to stop
        self.facts: dict[str, Any] = {
            "recipe": written(decisive(self.recipe)),
            "data": prepared.data.fingerprint(),
            "base": self.mats.config.llm.fingerprint,
            "space": self.mats.config.space,
            "world": self.crew.size,
        }
        self.versions = {"mats": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
        plan = Plan(prepared.data, self.settings)
        self.draw = Draw(prepared.data, plan, self.recipe.noise, prepared.mats.config.noise_variance, prepared.names)

    # ---- checkpoints

    def resume(self) -> Iterator[Note]:
        """Take up the last whole checkpoint. Errors: UsageError when it belongs to another run."""
        for name in (LAST, PREVIOUS):
            path = self.work / name
            if not path.exists():
                continue
            state = _read(path)
            if state is None:
                yield Note(
                    f"{path} cannot be read, perhaps because the disk was full or it was cut: going on from the one "
                    "before it."
                )
                continue
            self._same_run(state["facts"])
            self._load(state)
            if (self.work / BEST).exists() and _read(self.work / BEST) is None:
                self.best = math.inf
                yield Note(f"{self.work / BEST} cannot be read: the next evaluation writes it anew.")
            yield Note(f"going on from step {self.step}")
            return

    def _same_run(self, facts: dict[str, Any]) -> None:
        changed = differences(facts["recipe"], self.facts["recipe"])
        other = [key for key in self.facts if key != "recipe" and facts.get(key) != self.facts[key]]
        if changed or other:
            which = f"its recipe differs: {changed}" if changed else f"its {other[0]} differs"
            raise UsageError(
                f"{self.work} holds another run ({which}): give another folder with -o, or begin anew with --restart."
            )

    def _load(self, state: dict[str, Any]) -> None:
        own = self.learner.trained()
        if own.keys() != state["trained"].keys():
            raise ModelError(f"{self.work} holds a checkpoint of another model: begin anew with --restart.")
        with torch.no_grad():
            for key, value in own.items():
                value.copy_(state["trained"][key])
            for key, value in self.averaged.items():
                value.copy_(state["averaged"][key])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best, self.owed = int(state["step"]), float(state["best"]), bool(state.get("owed"))

    def save(self) -> Saved:
        """Write last.pt whole, the one before it kept. Errors: UsageError when the disk refuses."""
        state = {
            "trained": self.learner.trained(), "averaged": self.averaged, "optimiser": self.optimiser.state_dict(),
            "step": self.step, "best": self.best, "owed": self.owed, "facts": self.facts, "versions": self.versions,
        }  # fmt: skip
        write_state(state, self.work / LAST, self.work / PREVIOUS)
        return Saved(self.step, self.work / LAST)

    def _kept(self) -> dict[str, torch.Tensor]:
        return self.averaged or self.learner.trained()

    @contextlib.contextmanager
    def _as_kept(self) -> Iterator[None]:
        """The weights that will be kept, for as long as this lasts."""
        own = self.learner.trained()
        fresh = {key: value.detach().clone() for key, value in own.items()} if self.averaged else {}
        was = self.learner.training
        self.learner.eval()
        with torch.no_grad():
            for key, value in self.averaged.items():
                own[key].copy_(value)
            yield
            for key, value in fresh.items():
                own[key].copy_(value)
        self.learner.train(was)

    # ---- the loop

    def steps(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Goes on until the last step, or saves and ends when `stop` says so. Errors: DeviceError when memory runs out,
        with the setting to lower."""
        self.work.mkdir(parents=True, exist_ok=True)
        yield from self.resume()
        self.started = self.step
        settings, crew = self.settings, self.crew
        micro = settings.micro_batch or settings.batch // crew.size
        if settings.batch % (micro * crew.size):
            raise UsageError(
                f"train.batch {settings.batch} should be a multiple of train.micro_batch {micro} times {crew.size} "
                "processes."
            )
        learner: nn.Module = self.learner
        optimiser: Any = self.optimiser
        if crew.accelerator:
            learner, optimiser = crew.accelerator.prepare(self.learner, self.optimiser)
        fast = settings.bf16 and fast_bf16(self.device)
        began, done, losses, tokens, norms = time.monotonic(), 0, 0.0, 0, 0.0
        self.learner.train()
        if crew.rank == 0 and self.owed:
            yield from self._looks(stop)
        while self.step < settings.steps:
            # dropout draws from here on depend on the step alone
            torch.manual_seed((settings.seed * 1_000_003 + self.step) * crew.size + crew.rank)
            embedding, batch = self.draw(self.step)
            total = sum(len(each.answer) for each in batch)
            for group in optimiser.param_groups:
                group["lr"] = scheduled(settings, self.step)
            pieces = list(range(crew.rank * micro, settings.batch, micro * crew.size))
            try:
                for at in pieces:
                    more = at != pieces[-1] and crew.accelerator
                    with learner.no_sync() if more else contextlib.nullcontext():  # type: ignore[operator]
                        with torch.autocast(self.device.type, torch.bfloat16, enabled=fast):
                            loss, count = learner(embedding[at : at + micro].to(self.device), batch[at : at + micro])
                        # a sum over the tokens of the whole batch, so that pieces add up to it exactly
                        (loss / total * crew.size).backward()
                    losses, tokens = losses + float(loss.detach()), tokens + count
            except torch.OutOfMemoryError:
                raise DeviceError(_lower(micro)) from None
            except RuntimeError as error:
                if "not enough memory" in str(error) or "can't allocate memory" in str(error):
                    raise DeviceError(_lower(micro)) from None
                raise
            norm = float(
                nn.utils.clip_grad_norm_(
                    [w for w in self.learner.parameters() if w.requires_grad], settings.max_grad_norm
                )
            )
            if not math.isfinite(norm):
                raise UsageError(
                    f"the gradient is not finite at step {self.step + 1}: lower "
                    f"train.learning_rate ({settings.learning_rate:g}) or set train.bf16=false."
                )
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            if self.averaged:
                fresh, share = self.learner.trained(), 1 - min(settings.ema, (self.step + 1) / (self.step + 10))
                for key, value in self.averaged.items():
                    value.lerp_(fresh[key].float(), share)
            self.step, done, norms = self.step + 1, done + 1, norms + norm
            last = self.step == settings.steps
            seconds = time.monotonic() - began
            if self.step % _EVERY == 0 or last or seconds > _SECONDS:
                yield Step(
                    self.step,
                    settings.steps,
                    losses / tokens,
                    scheduled(settings, self.step - 1),
                    done * settings.batch / seconds,
                    norms / done,
                )
                began, done, losses, tokens, norms = time.monotonic(), 0, 0.0, 0, 0.0
            if crew.rank == 0:
                paused = time.monotonic()
                yield from self._looks((lambda: False) if last else stop)
                if self.step % settings.save_every == 0 or last:
                    yield self.save()
                began += time.monotonic() - paused
            # a signal reaches each process in its own time: they end after the same step
            if crew.any(stop()) and not last:
                if crew.rank == 0:
                    yield self.save()
                return

    def _looks(self, stop: Callable[[], bool]) -> Iterator[Event]:
        """What is due after this step: held-out loss, and some answers. A run that is told to stop does not wait for
        them: they are `owed`."""
        settings, last = self.settings, self.step == self.settings.steps
        self.owed = True
        if self.prepared.held_out and (self.step % settings.evaluate_every == 0 or last):
            evaluated = self.evaluate(stop)
            if evaluated is None:
                return
            yield evaluated
        if self.step % settings.sample_every == 0 or last:
            if stop():
                return
            yield from self.samples()
        self.owed = False

    def evaluate(self, stop: Callable[[], bool] = lambda: False) -> Evaluated | None:
        """Mean loss per token on held-out examples; the best weights so far are kept in best.pt. None where `stop` came
        first."""
        data = self.prepared.held_out
        assert data is not None
        size = min(self.settings.batch, 64)
        total, count = 0.0, 0
        with self._as_kept():
            for at in range(0, len(data.tokens), size):
                if stop():
                    return None
                generator = torch.Generator().manual_seed(at)
                noised = add_noise(
                    data.cache.vectors(data.rows[at : at + size]), self.prepared.mats.config.noise_variance, generator
                ).to(self.device)
                loss, tokens = self.learner(noised, data.tokens[at : at + size])
                total, count = total + float(loss), count + tokens
        better = total / count < self.best
        if better:
            self.best = total / count
            write_state(
                {
                    "trained": self._kept(),
                    "step": self.step,
                    "loss": self.best,
                    "facts": self.facts,
                    "versions": self.versions,
                },
                self.work / BEST,
            )
        return Evaluated(self.step, total / count, better, self._rouge(data))

    def _rouge(self, data: Data) -> float | None:
        some = data.examples[: self.recipe.held_out.answers]
        if not some:
            return None
        with self._as_kept(), torch.inference_mode():
            return sum(rouge_l(self._answer(example), [example.answer]) for example in some) / len(some)

    def _answer(self, example: TextExample) -> str:
        prefix = self.mats.mapper.prefix(self.mats.clap.embed_text([example.text]))
        return self.mats.llm.answers(prefix, example.asked, self.mats.config.search)[0][0].text

    def samples(self, count: int = 3) -> list[Sample]:
        """Answers to held-out texts, and to the sounds that the recipe names."""
        data = self.prepared.held_out
        with self._as_kept(), torch.inference_mode():
            told = [
                Sample(self.step, e.text, e.answer, self._answer(e)) for e in (data.examples[:count] if data else [])
            ]
            return told + [Sample(self.step, path, "", self._heard(path)) for path in self.recipe.held_out.audio]

    def _heard(self, path: str) -> str:
        try:
            return self.mats.caption(path)
        except MatsError as error:
            return f"({error})"

    def finish(self) -> MatsConfig:
        """The weights that `keep` asks for, as a model folder; the last where nothing was held out or best.pt was
        cut."""
        state = _read(self.work / BEST) if self.prepared.held_out and self.settings.keep == "best" else None
        trained = state["trained"] if state else dict(self._kept())
        with torch.no_grad():
            for key, value in self.learner.trained().items():
                value.copy_(trained[key])
        self.learner.eval()
        return save(self.mats, self.folder, written(self.recipe))


def make_optimiser(module: nn.Module, learning_rate: float, decay: float, beta2: float) -> torch.optim.AdamW:
    """AdamW over what is trained; only matrices decay, not norms and biases."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    matrices, others = [w for w in weights if w.ndim > 1], [w for w in weights if w.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, beta2))


def _lower(micro: int) -> str:
    if micro > 1:
        return (
            f"memory ran out: set train.micro_batch={micro // 2} (it is {micro}; the batch stays the same), or "
            "train.checkpointing=true."
        )
    return (
        "memory ran out with one example at a time: set train.checkpointing=true, llm.quantize=nf4 or a smaller base."
    )


def _read(path: Path) -> dict[str, Any] | None:
    """A checkpoint of ours, or None where it is not there or not whole."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and {"facts", "trained"} <= state.keys() else None


def write_state(state: object, path: Path, before: Path | None = None) -> None:
    """Whole or not at all. Errors: UsageError when the disk refuses."""
    try:
        with whole(path) as file:
            torch.save(state, file)
            file.flush()  # a full disk says so here, while the one before still has its name
            if before is not None and path.exists():
                os.replace(path, before)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"{path} cannot be written ({why}): make room; the checkpoint before it is whole.") from None
