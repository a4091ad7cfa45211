"""What a training run says: a bar or a line now and then, JSON lines, its curve; and what a run would take."""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mats_cli import console
from mats_cli.curve import Curve

if TYPE_CHECKING:
    from mats_model.training.estimate import Estimate
    from mats_model.training.events import Evaluated, Event, Sample, Step
    from mats_model.training.loop import Trainer
    from mats_model.training.recipe import TextRecipe
    from mats_model.training.sources import CaptionSource

_SECONDS = 10.0  # between two lines, where there is no bar


class Report:
    """Of one run; calls take its events. `stop` ends the run where nobody reads stdout any more."""

    def __init__(
        self, trainer: Trainer, json: bool, show: bool, stop: Callable[[], None], page: Path | None = None
    ) -> None:
        self.trainer, self.json, self.show, self.stop = trainer, json, show, stop
        self.bar = console.Meter(trainer.settings.steps, show, clock=False)
        self.curve: Curve | None = None
        self.unheard: Exception | None = None  # the reader has gone: what was trained is kept
        self.said = 0.0
        self.page = page  # to be written at each evaluation

    def __call__(self, event: Event) -> None:
        """Errors: OutputError."""
        from mats_model.training.events import Note, Saved, Step

        if isinstance(event, Note):
            if self.show:
                self.bar.say(event.text)
            return
        # not before the first event: it goes on from a step that is known by then
        self.curve = self.curve or Curve(self.trainer.work, self.trainer.started)
        if isinstance(event, Saved):
            self.curve.draw()
            self._write_page()
            return
        self.curve.add(event)
        if not isinstance(event, Step):
            self._write_page()
        if self.json and not self.unheard:
            try:
                console.out(jsonlib.dumps({"kind": type(event).__name__.lower(), **vars(event)}) + "\n")
            except (console.ClosedPipe, console.OutputError) as error:
                self.unheard = error
                self.stop()
        if self.show:
            self._say(event)

    def _say(self, event: Step | Evaluated | Sample) -> None:
        from mats_model.training.events import Evaluated, Step

        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Evaluated):
            scored = f", ROUGE-L {event.rouge_l:.3f}" if event.rouge_l is not None else ""
            best = ", the best so far" if event.best else ""
            self.bar.say(f"step {event.step}: held-out loss {event.loss:.3f}{scored}{best}")
        else:
            wanted = f" (wanted: {event.wanted})" if event.wanted and event.wanted != event.heard else ""
            self.bar.say(f"step {event.step}: {event.heard} -> {event.answer}{wanted}")

    def _step(self, event: Step) -> None:
        self.bar.show(event.step, f"{console.clock(event.left)} left, loss {event.loss:.3f}")
        if self.bar.visible or (time.monotonic() - self.said < _SECONDS and event.step < event.steps):
            return
        self.said = time.monotonic()
        console.note(
            f"step {event.step}/{event.steps}, loss {event.loss:.3f}, {event.examples:.0f} examples/s, "
            f"{console.clock(event.left)} left"
        )

    def _write_page(self) -> None:
        """Errors: UsageError when the disk refuses."""
        if self.page is None or self.curve is None:
            return
        from mats_cli.documents import save
        from mats_cli.pages.training import training_page

        recipe, steps = self.trainer.recipe, self.trainer.settings.steps
        start = f"from {recipe.start}" if recipe.start else "from nothing"
        about = [start, f"{steps} steps of {recipe.train.batch}", f"on {self.trainer.device}", str(self.trainer.folder)]
        done = self.trainer.step >= steps and not self.trainer.owed
        save(self.page, training_page(f"{recipe.name} in training", about, self.curve.rows, done))

    def close(self) -> None:
        """The bar goes, the curve is drawn."""
        self.bar.close()
        if self.curve:
            self.curve.draw()
            self.curve.close()
            self._write_page()


def table(recipe: TextRecipe, sources: list[CaptionSource], found: Estimate) -> str:
    """What a run would take, for people."""
    lines = [f"{recipe.name}: {recipe.train.steps} steps of {recipe.train.batch} on {found.device}", ""]
    lines += [f"{'part':<16}{'parameters':>14}{'trained':>14}{'memory':>12}"]
    lines += [
        f"{part.name:<16}{part.parameters:>14,}{part.trained:>14,}{part.megabytes:>9,.0f} MB" for part in found.parts
    ]
    lines += [
        f"{'activations':<16}{'':>14}{'':>14}{found.activations:>9,.0f} MB",
        *(f"{name:<44}{megabytes:>9,.0f} MB" for name, megabytes in found.others.items()),
        f"{'together':<44}{found.megabytes:>9,.0f} MB",
        "",
    ]
    for source in sources:
        rows = f", {len(source.bad)} bad rows" if source.bad else ""
        lines.append(f"{source.name}: {len(source.examples)} examples, ratio {source.settings.ratio:g}{rows}")
    lines += [
        f"{found.passes:.1f} passes over {found.examples} examples; about {_minutes(found.minutes)} here, if nothing "
        "else runs (memory and minutes are estimates)"
    ]
    return "\n".join(lines) + "\n"


def _minutes(minutes: float) -> str:
    return f"{max(1, round(minutes))} minute{'' if round(minutes) <= 1 else 's'}"


def plain(found: Estimate) -> str:
    """The same as JSON."""
    return jsonlib.dumps({**asdict(found), "megabytes": round(found.megabytes)}) + "\n"
