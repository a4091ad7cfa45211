"""What a run tells while it goes on; whoever started it shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Note:
    """Something to say."""

    text: str


@dataclass(frozen=True)
class Step:
    """Means over the steps since the last report."""

    step: int
    steps: int
    loss: float  # per token of an answer
    learning_rate: float
    examples: float  # a second
    gradient: float  # its norm, before clipping
    left: float = 0.0  # seconds that the rest will take, as it went so far


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
