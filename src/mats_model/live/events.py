"""Which words fit a sound: the best as tags, and over time as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mats_model.ears import Ears, Stretch
from mats_model.labels import Label, ranked
from mats_model.mats import Mats


@dataclass(frozen=True)
class Event:
    """A label that was heard from `start` to `end` seconds, and its highest score in that time."""

    start: float
    end: float
    label: str
    score: float


class Tags:
    """Names of everyday sounds, to say in a word what is heard."""

    def __init__(self, mats: Ears, names: list[str]) -> None:
        self.mats, self.names = mats, names
        self.vectors = mats.label_embeddings(names)

    def best(self, embedding: Any, count: int, least: float = 0.3) -> list[Label]:
        """Those that fit a sound (d,) with a probability of at least `least`, best first."""
        scores = self.mats.score(embedding, self.vectors, multi=True)
        return [label for label in ranked(self.names, scores)[:count] if label.score >= least]


def tag_names(mats: Mats) -> list[str]:
    """Names of everyday sounds that come with the model, or with the one whose encoder it borrows."""
    from mats_model.weights.loading import name_texts

    return mats.santa.name_texts or name_texts(mats.config.clap)


def probabilities(ears: Ears, stretches: Iterable[Stretch], vectors: Any) -> Iterator[list[float] | None]:
    """Of each label, whose embeddings are `vectors` (labels, d), in each stretch; None where that is silent."""
    for stretch in stretches:
        yield (None if stretch.embedding is None else ears.score(stretch.embedding, vectors, multi=True).tolist())


def events(
    stretches: Sequence[Stretch], scores: Iterable[Sequence[float] | None], labels: Sequence[str], least: float
) -> list[Event]:
    """Labels that score at least `least`, by time and then by score: stretches that touch or overlap are one event.

    `scores` are those of the labels in each stretch, None where it is silent.
    """
    found: list[Event] = []
    latest: dict[str, int] = {}  # event of each label
    for stretch, row in zip(stretches, scores, strict=True):
        for label, score in zip(labels, row or (), strict=row is not None):
            if score < least:
                continue
            place = latest.get(label)
            if place is not None and stretch.start <= found[place].end:
                before = found[place]
                found[place] = Event(before.start, stretch.end, label, max(before.score, score))
            else:
                latest[label] = len(found)
                found.append(Event(stretch.start, stretch.end, label, score))
    return sorted(found, key=lambda event: (event.start, -event.score))
