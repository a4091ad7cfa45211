"""Tie audio to text: the audio head lands on the words for what is heard, and the words come a little way towards it.

What may be said of an example: the phrases of the recordings in it, or those of the tags that the teacher hears. First
the table of word pieces is taught, with a head on the teacher's own feature, and stays near where it began; then, the
table fixed, the head that ships is fitted to what the tower hears.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mats_model.clap.nano_audio import AudioHead
from mats_model.clap.text import TextTower
from mats_model.teach.phrases import Phrases


@dataclass(frozen=True)
class AlignSettings:
    """What decides table and head, besides what was heard."""

    steps: int = 1500
    batch: int = 512
    learning_rate: float = 1e-3
    temperature: float = 0.07  # while the table of word pieces is taught
    head_steps: int = 3000  # of the head that ships
    head_temperature: float = 0.14  # of that head: gentle, so that it orders all that may be said, not the best alone
    hidden: int = 1024  # width of its hidden layer
    dropout: float = 0.1  # of the hidden layer
    jitter: float = (
        0.1  # standard deviation of noise on what the tower hears, which it hears better where it was taught
    )
    labels: float = 0.7  # share of the examples told by their recordings' phrases, where they have some
    single: float = 0.4  # share of the batch that is one recording as it is
    alike: float = 0.8  # texts with at least this cosine are not held against each other
    seed: int = 0

    FORMER: ClassVar[Mapping[str, str]] = {"rate": "learning_rate"}


@dataclass(frozen=True)
class Heard:
    """What somebody makes of recordings (one a row, first) and of examples, and what the teacher made of them."""

    feature: torch.Tensor  # (count, 384) standardised
    logits: torch.Tensor  # (count, 527)
    teacher: torch.Tensor  # (count, 527) logits
    clips: np.ndarray  # (count, 3), -1 where there is none
    levels: np.ndarray  # (count, 3) dB against the first
    single: int  # rows that are one recording as it is


class Words(nn.Module):
    """The text tower while it is taught: pieces of the phrases may move, the others stay."""

    def __init__(self, tower: TextTower, phrases: Phrases, learn: bool) -> None:
        super().__init__()
        table = torch.from_numpy(tower.table())
        ids = [encoding.ids for encoding in tower.tokenizer.encode_batch(phrases.texts, add_special_tokens=False)]
        self.pieces = torch.tensor(sorted({piece for each in ids for piece in each}))
        place = {piece: at for at, piece in enumerate(self.pieces.tolist())}
        self.ids = [[place[piece] for piece in each] for each in ids]
        self.register_buffer("origin", table[self.pieces])
        self.unit = float(table.norm(dim=1).mean())
        self.moved = nn.Parameter(torch.zeros(len(self.pieces), table.shape[1]), requires_grad=learn)

    def forward(self, places: list[int]) -> torch.Tensor:
        """Phrases (n,) -> (n, d), unit length."""
        some = [self.ids[place] for place in places]
        flat = torch.tensor([piece for each in some for piece in each])
        starts = torch.tensor([0, *np.cumsum([len(each) for each in some])[:-1].tolist()])
        rows = self.get_buffer("origin") + self.unit * self.moved
        return F.normalize(F.embedding_bag(flat, rows, starts, mode="sum"), dim=-1)

    @torch.no_grad()
    def written(self, tower: TextTower) -> torch.Tensor:
        """The whole table (pieces, d), with what has moved."""
        table = torch.from_numpy(tower.table())
        table[self.pieces] = self.get_buffer("origin") + self.unit * self.moved
        return table


class _Teller:
    """Draws what is said of examples."""

    def __init__(self, heard: Heard, phrases: Phrases, labels: float, seed: int) -> None:
        self.heard, self.phrases, self.labels = heard, phrases, labels
        self.rng = np.random.default_rng(seed)
        scores = heard.teacher.sigmoid()
        odds = (scores / scores.mean(0) ** 0.8).double()
        self.odds = (odds / odds.sum(1, keepdim=True)).cumsum(1).numpy()

    def _pick(self, some: list[int]) -> int:
        return some[int(self.rng.integers(len(some)))]

    def tell(self, row: int) -> list[tuple[int, float]]:
        """Phrases and their weights: one for each recording, or for one or two tags drawn by score."""
        if self.rng.random() < self.labels:
            clips = [
                (clip, level)
                for clip, level in zip(self.heard.clips[row], self.heard.levels[row], strict=True)
                if clip >= 0
            ]
            if clips and all(self.phrases.of_clips[clip] for clip, _ in clips):
                return [
                    (self._pick(self.phrases.of_clips[clip]), min(1.0, 10.0 ** (float(level) / 20.0)))
                    for clip, level in clips
                ]
        count = int(self.rng.integers(1, 3))
        last = len(self.phrases.of_tags) - 1
        tags = np.searchsorted(self.odds[row], self.rng.random(count)).clip(max=last)
        return [(self._pick(self.phrases.of_tags[tag]), 1.0) for tag in tags.tolist()]


def _begun(words: Words, phrases: Phrases, settings: AlignSettings) -> AudioHead:
    """The head before it is taught; without a hidden layer where it serves to teach the words."""
    head = AudioHead(words.moved.shape[1], 0 if words.moved.requires_grad else settings.hidden, settings.dropout)
    with torch.no_grad():
        head.names.copy_(words([tag[0] for tag in phrases.of_tags]))
    return head


def fit(heard: Heard, words: Words, phrases: Phrases, settings: AlignSettings) -> AudioHead:
    """The head, and where `words` may learn its pieces too. InfoNCE both ways against the texts of the batch."""
    torch.manual_seed(settings.seed)
    head = _begun(words, phrases, settings)
    steps, temperature, jitter = settings.head_steps, settings.head_temperature, settings.jitter
    if words.moved.requires_grad:
        steps, temperature, jitter = settings.steps, settings.temperature, 0.0
    teller = _Teller(heard, phrases, settings.labels, settings.seed)
    first = [phrases.of_clips[row][0] if phrases.of_clips[row] else -1 for row in heard.clips[: heard.single, 0]]
    often = Counter(first)
    odds = np.array([0.0 if place < 0 else often[place] ** -0.6 for place in first])
    learned = [{"params": head.parameters(), "weight_decay": 1e-3}]
    if words.moved.requires_grad:
        learned.append({"params": [words.moved], "weight_decay": 0.0})
    optimiser = torch.optim.AdamW(learned, settings.learning_rate)
    diagonal, target = torch.eye(settings.batch, dtype=torch.bool), torch.arange(settings.batch)
    singles = round(settings.batch * settings.single) if odds.any() else 0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (1.0 - step / steps)
        rows = np.concatenate([
            teller.rng.choice(heard.single, singles, p=odds / odds.sum()) if singles else np.zeros(0, int),
            teller.rng.integers(heard.single if len(heard.feature) > heard.single else 0, len(heard.feature),
            settings.batch - singles),
        ])  # fmt: skip
        told = [(at, *each) for at, row in enumerate(rows.tolist()) for each in teller.tell(row)]
        owner, places, weights = zip(*told, strict=True)
        text = words(list(places)) * torch.tensor(weights)[:, None]
        text = F.normalize(torch.zeros(settings.batch, text.shape[1]).index_add(0, torch.tensor(owner), text), dim=-1)
        feature, tags = (side + jitter * torch.randn_like(side) for side in (heard.feature[rows], heard.logits[rows]))
        audio = F.normalize(head(feature, tags), dim=-1)
        alike = (text.detach() @ text.detach().T > settings.alike) & ~diagonal
        logits = (audio @ text.T / temperature).masked_fill(alike, -1e9)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.eval().requires_grad_(False)
