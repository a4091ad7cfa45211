"""How long a run will still take: steps on one side, evaluations and checkpoints on the other, each by its own mean."""

from __future__ import annotations

import statistics
from collections import deque

from mats_model.training.recipe import LoopSettings

_RECENT = 200  # steps whose times are looked at
_SLOW = 4.0  # times the median: a step that took longer, while the machine did something else, counts as that


class Pace:
    """Told the seconds of each step and of what came after it. `evaluates`: whether anything is held out."""

    def __init__(self, settings: LoopSettings, evaluates: bool) -> None:
        self.settings, self.evaluates = settings, evaluates
        self.steps: deque[float] = deque(maxlen=_RECENT)
        self.pauses: dict[bool, list[float]] = {False: [], True: []}  # checkpoints alone, and those with a look

    def step(self, seconds: float) -> None:
        """A step was taken."""
        self.steps.append(seconds)

    def pause(self, step: int, seconds: float) -> None:
        """What was due after this step was done: a checkpoint, and perhaps a look at the run."""
        if self._pauses(step):
            self.pauses[self._looks(step)].append(seconds)

    def left(self, step: int) -> float:
        """Seconds from this step to the end, without the last writing of the model; 0 where no step was taken yet."""
        if not self.steps:
            return 0.0
        most = _SLOW * statistics.median(self.steps)
        seconds = statistics.fmean(min(each, most) for each in self.steps) * (self.settings.steps - step)
        due = [self._looks(n) for n in range(step + 1, self.settings.steps + 1) if self._pauses(n)]
        return seconds + sum(statistics.fmean(self.pauses[looks]) for looks in due if self.pauses[looks])

    def _looks(self, step: int) -> bool:
        last = step == self.settings.steps
        samples = last or step % self.settings.sample_every == 0
        return samples or (self.evaluates and (last or step % self.settings.evaluate_every == 0))

    def _pauses(self, step: int) -> bool:
        return self._looks(step) or step % self.settings.save_every == 0
