"""What every language model does once it is trained: answer to a prefix, whole or piece by piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mats_model.config import SearchSettings
from mats_model.llm.prompts import Question


@dataclass(frozen=True)
class Candidate:
    """An answer and its log-probability, divided by a power of its length."""

    text: str
    score: float


class Answering(ABC):
    """`width` is h. A prefix (n, p, h) is of the kind that its mapper makes: numpy beside the small decoder, torch
    beside a base. It stays where it is put: nothing ever stands between it and the instruction."""

    width: int

    @property
    @abstractmethod
    def rows(self) -> int:
        """Answers that are made together: give it as many where there are many."""

    @abstractmethod
    def answers(self, prefix: Any, asked: Question, settings: SearchSettings) -> list[list[Candidate]]:
        """prefix (n, p, h) and one question -> for each row its finished answers, best first."""

    def stream(self, prefix: Any, asked: Question, settings: SearchSettings) -> Iterator[str]:
        """prefix (1, p, h) -> the answer, piece by piece where it is made so."""
        yield self.answers(prefix, asked, settings)[0][0].text
