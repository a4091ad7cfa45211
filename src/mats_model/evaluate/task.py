"""What every task offers: recordings heard and answered, batch by batch, into records that hold all that its figures
need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mats_model.audio import AudioSource
from mats_model.ears import Ears
from mats_model.errors import UsageError
from mats_model.evaluate.examples import Example, Examples
from mats_model.evaluate.hearing import Heard, hear
from mats_model.llm.prompts import CAPTION_TAG, QUESTION_TAG
from mats_model.mats import Mats

Record = dict[str, Any]  # plain values: key, path, what is true, what was said or scored


@dataclass(frozen=True)
class EvaluationSettings:
    """What a result depends on beside model and data."""

    template: str = "{}"  # around each label, {} for the label
    prompt: str = ""  # what the language model is asked about a class; a caption if empty
    tag: str = ""  # the task, as the model was taught to be told it; that of the prompt or of a caption if empty
    generated: bool = True  # classes: the generated answer is judged too
    together: bool = False  # classes: all recordings at once too, which is transductive
    every: float = 1.0  # events: seconds of the stretches that are scored
    threshold: float = 0.5  # events: the least probability of one
    synonyms: dict[str, list[str]] = field(default_factory=dict)  # classes: words by which an answer names each label


class Task(ABC):
    """`ears` hear; where a task needs answers they are a whole model."""

    name = ""
    words_needed = False  # whether nothing can be said without a language model

    def __init__(self, ears: Ears, found: Examples, settings: EvaluationSettings) -> None:
        self.ears, self.found, self.settings = ears, found, settings
        if self.words_needed and self.mats is None:
            raise UsageError(
                f"the task {self.name} needs a model that answers, and an encoder alone does not: name a model."
            )

    @property
    def mats(self) -> Mats | None:
        """The whole model, or None where there is an encoder only."""
        return self.ears if isinstance(self.ears, Mats) else None

    def hear(self, sound: AudioSource) -> Any:
        """One recording. Errors: InputError."""
        return hear(self.ears, sound)

    @abstractmethod
    def records(self, some: list[tuple[Heard, list[Example]]]) -> list[list[Record]]:
        """For each recording the records of its examples."""

    def finish(self, records: list[Record]) -> list[Record]:
        """What can be known only when all are heard."""
        return records

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What of it a reader must know to believe a figure."""

    def asked(self) -> dict[str, str]:
        """The prompt and its task tag."""
        prompt = self.settings.prompt
        tag = self.settings.tag or (QUESTION_TAG if prompt else CAPTION_TAG)
        return {"prompt": prompt or "(the model's own for a caption)", "tag": tag}


def plain(vector: Any, digits: int = 6) -> list[float]:
    """Numbers as they are written down."""
    return [round(float(value), digits) for value in np.asarray(vector, float).ravel()]


def record_of(example: Example, **values: Any) -> Record:
    """With what names it first."""
    where = {} if example.path is None else {"path": str(example.path)}
    return {"key": example.key, **where, **values}
