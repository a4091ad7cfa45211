"""What every language model of torch does for mats: read a prefix among its own tokens, give a loss, give answers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from mats_model.llm.answering import Answering
from mats_model.llm.prompts import Question


@dataclass(frozen=True)
class Tokens:
    """One example: what stands before the prefix, what follows it, and the answer with its end."""

    before: list[int]
    after: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.before) + len(self.after) + len(self.answer)


class LanguageModel(nn.Module, Answering):
    """It can be trained, and answers."""

    @abstractmethod
    def encode(self, asked: Question, answer: str) -> Tokens:
        """An example as tokens."""

    @abstractmethod
    def loss(self, prefix: torch.Tensor, batch: list[Tokens]) -> tuple[torch.Tensor, int]:
        """prefix (n, p, h) -> the sum of the cross entropy over answers and their ends, and how many tokens those
        are."""

    def settle(self) -> None:
        """Nothing will be trained any more: become what answers fastest."""

    @property
    def device(self) -> torch.device:
        """Where the prefix is to be."""
        return next(self.parameters()).device

    @abstractmethod
    def kept(self) -> dict[str, torch.Tensor]:
        """The tensors that belong in a model folder, the base's own left out."""


def padded(rows: list[list[int]], fill: int, device: torch.device) -> torch.Tensor:
    """Ragged ids -> (n, t), filled on the right."""
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows], device=device)


def answer_places(
    batch: list[Tokens], prefix: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, positions and ids (answer tokens,): the position whose output predicts each id, when the prefix has
    `prefix` positions."""
    rows = [number for number, tokens in enumerate(batch) for _ in tokens.answer]
    places = [
        len(tokens.before) + prefix + len(tokens.after) + k - 1 for tokens in batch for k in range(len(tokens.answer))
    ]
    ids = [token for tokens in batch for token in tokens.answer]
    return torch.tensor(rows, device=device), torch.tensor(places, device=device), torch.tensor(ids, device=device)
