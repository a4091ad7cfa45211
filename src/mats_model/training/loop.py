"""Text-only training: captions in, answers out, noise on the embedding, no audio. A generator of events; the caller
shows them.

A step is a pure function of recipe, data and the weights before it, so a run that was stopped anywhere ends with the
same weights, on a CPU bit for bit, on the same machine and with as many threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from mats_model.config import MatsConfig
from mats_model.errors import ModelError
from mats_model.llm.small import SmallLLM
from mats_model.training.average import Average
from mats_model.training.batches import Draw, Plan
from mats_model.training.checkpoints import Checkpoints
from mats_model.training.compare import decisive, written
from mats_model.training.events import Evaluated, Event, Note, Saved, Step
from mats_model.training.looks import Looks
from mats_model.training.pace import Pace
from mats_model.training.prepare import Prepared
from mats_model.training.processes import Crew
from mats_model.training.step import Learner, Stepper, Taken, make_optimiser, scheduled
from mats_model.weights.folder import save

_EVERY, _SECONDS = 10, 5.0  # steps between two reports, or seconds where steps are slow
_SAVED_SECONDS = 600.0  # between two checkpoints, where `save_every` steps take longer


class Trainer:
    """`steps()` goes on from the last checkpoint of `folder`, or from the beginning; `finish()` writes the model."""

    def __init__(self, prepared: Prepared, folder: Path, crew: Crew | None = None) -> None:
        self.prepared, self.recipe, self.folder = prepared, prepared.recipe, folder
        self.work = folder / "training"
        self.crew = crew or Crew()
        self.settings, self.mats, self.device = self.recipe.train, prepared.mats, prepared.device
        self.learner = Learner(self.mats)
        self.mats.mapper.to(self.device)
        # a base, which may be in 4 bits, lies where it was put
        if isinstance(self.mats.llm, SmallLLM):
            self.mats.llm.to(self.device)
        self.optimiser = make_optimiser(
            self.learner, self.settings.learning_rate, self.settings.weight_decay, self.settings.beta2
        )
        self.average = Average(self.learner, self.settings.ema)
        self.looks = Looks(prepared, self.learner, self.average)
        self.step, self.started, self.best = 0, 0, math.inf
        self.owed = False  # an evaluation of this step, which was put off since the run was told to stop
        self.saved, self.saved_at = -1, time.monotonic()
        facts = {
            "recipe": written(decisive(self.recipe)),
            "data": prepared.data.fingerprint(),
            "base": self.mats.config.llm.fingerprint,
            "space": self.mats.config.space,
            "world": self.crew.size,
        }
        self.checkpoints = Checkpoints(self.work, facts)
        self.draw = Draw(prepared.data, Plan(prepared.data, self.settings), self.recipe.noise, prepared.names)

    # ---- checkpoints

    def resume(self) -> Iterator[Note]:
        """Take up the last whole checkpoint. Errors: OtherRunError; ModelError."""
        state, said = self.checkpoints.newest()
        yield from map(Note, said)
        if state is not None:
            self._load(state)
            yield Note(f"going on from step {self.step}")

    def _load(self, state: dict[str, Any]) -> None:
        own = self.learner.trained()
        if own.keys() != state["trained"].keys():
            raise ModelError(f"{self.work} holds a checkpoint of another model: give another folder, or begin anew.")
        with torch.no_grad():
            for key, value in own.items():
                value.copy_(state["trained"][key])
            for key, value in self.average.mean.items():
                value.copy_(state["averaged"][key])
        if state["optimiser"]:  # a run that is complete has none left
            self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best, self.owed = int(state["step"]), float(state["best"]), bool(state.get("owed"))
        self.saved = self.step

    def save(self) -> Saved:
        """Write last.pt whole, the one of an earlier step kept. Errors: UsageError when the disk refuses."""
        state = {
            "trained": self.learner.trained(), "averaged": self.average.mean, "optimiser": self.optimiser.state_dict(),
            "step": self.step, "best": self.best, "owed": self.owed,
        }  # fmt: skip
        path = self.checkpoints.write(state, again=self.saved == self.step)
        self.saved, self.saved_at = self.step, time.monotonic()
        return Saved(self.step, path)

    # ---- the loop

    def steps(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Goes on until the last step, or saves and ends when `stop` says so. Errors: DeviceError when memory runs out,
        with the setting to lower."""
        self.work.mkdir(parents=True, exist_ok=True)
        yield from self.resume()
        self.started, self.saved_at = self.step, time.monotonic()
        first = self.crew.rank == 0
        take = Stepper(self.learner, self.optimiser, self.settings, self.crew, self.device)
        tally = _Tally(self.settings.batch)
        pace = Pace(self.settings, self.prepared.held_out is not None)
        self.learner.train()
        if first and self.owed:
            yield from self._look(take.micro, stop)
        while self.step < self.settings.steps:
            began = time.monotonic()
            tally.add(take(self.step, self.draw(self.step)))
            self.average.update(self.step)
            pace.step(time.monotonic() - began)
            self.step += 1
            last = self.step == self.settings.steps
            if self.step % _EVERY == 0 or last or tally.seconds > _SECONDS:
                left = pace.left(self.step)
                yield tally.report(self.step, self.settings.steps, scheduled(self.settings, self.step - 1), left)
                tally = _Tally(self.settings.batch)
            if first:
                paused = time.monotonic()
                yield from self._after_step(take.micro, stop)
                pace.pause(self.step, time.monotonic() - paused)
                tally.began += time.monotonic() - paused
            # a signal reaches each process in its own time: they end after the same step
            if self.crew.any(stop()) and not last:
                if first:
                    yield self.save()
                return

    def _after_step(self, micro: int, stop: Callable[[], bool]) -> Iterator[Event]:
        """Checkpoint first, so that nothing that befalls an evaluation loses the step; then what is due."""
        last = self.step == self.settings.steps
        self.owed = self._evaluation_due or self._samples_due
        late = time.monotonic() - self.saved_at > _SAVED_SECONDS
        if self.owed or last or late or self.step % self.settings.save_every == 0:
            yield self.save()
        if self.owed:
            yield from self._look(micro, (lambda: False) if last else stop)
            if last:
                yield self.save()  # the same command, given again, has nothing left to do

    @property
    def _evaluation_due(self) -> bool:
        due = self.step % self.settings.evaluate_every == 0 or self.step == self.settings.steps
        return due and self.prepared.held_out is not None

    @property
    def _samples_due(self) -> bool:
        return self.step % self.settings.sample_every == 0 or self.step == self.settings.steps

    def _look(self, micro: int, stop: Callable[[], bool]) -> Iterator[Event]:
        """What is due after this step: held-out loss, and some answers. A run that is told to stop does not wait for
        them: they stay `owed`."""
        if self._evaluation_due:
            loss = self.looks.loss(micro, stop)
            if loss is None:
                return
            better = loss < self.best
            if better:
                self.best = loss
                self.checkpoints.write_best({"trained": self.average.kept(), "step": self.step, "loss": loss})
            yield Evaluated(self.step, loss, better, self.looks.rouge())
        if self._samples_due:
            if stop():
                return
            yield from self.looks.samples(self.step)
        self.owed = False

    def finish(self, keep: bool = False) -> MatsConfig:
        """The weights that `train.keep` asks for, as a model folder; the last where nothing was held out or best.pt was
        cut. Of the checkpoints last.pt and best.pt are left, without the optimiser's state; `keep` leaves all."""
        state = self.checkpoints.best() if self.prepared.held_out and self.settings.keep == "best" else None
        trained = state["trained"] if state else dict(self.average.kept())
        with torch.no_grad():
            for key, value in self.learner.trained().items():
                value.copy_(trained[key])
        self.learner.eval()
        config = save(self.mats, self.folder, written(self.recipe))
        if not keep and self.step == self.settings.steps:
            self.checkpoints.shrink()
        return config


class _Tally:
    """Sums over the steps since a report."""

    def __init__(self, batch: int) -> None:
        self.batch, self.began = batch, time.monotonic()
        self.count, self.loss, self.tokens, self.norm = 0, 0.0, 0, 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def add(self, taken: Taken) -> None:
        self.count, self.loss = self.count + 1, self.loss + taken.loss
        self.tokens, self.norm = self.tokens + taken.tokens, self.norm + taken.norm

    def report(self, step: int, steps: int, learning_rate: float, left: float) -> Step:
        examples = self.count * self.batch / self.seconds
        return Step(step, steps, self.loss / self.tokens, learning_rate, examples, self.norm / self.count, left)
