"""Words for the sounds of a library that have none yet, a few at a time, so that a job that was killed goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mats_model.ears import Ears, Examples
from mats_model.labels import ranked
from mats_model.library.store import Library
from mats_model.mats import Mats
from mats_model.vectors import unit

TAGS = 3  # kept of each sound
_AT_ONCE = 4096  # sounds that are tagged between two transactions


def tag_sounds(library: Library, ears: Ears, labels: Sequence[str], examples: Examples | None = None) -> None:
    """The best of some labels for each sound, with their probabilities; those told out of other labels are replaced.

    `examples` are sounds of some labels. Errors: InputError for one of
    these; MismatchError where the library was made with another encoder.
    """
    library.of_pipeline(ears.clap.id, ears.clap.dim)
    names = list(labels)
    library.tag_with(names)
    vectors = ears.label_embeddings(names, examples=examples)
    while rows := library.without("tags", _AT_ONCE):
        tags = []
        for number, vector in rows:
            best = ranked(names, ears.score(unit(vector.astype(np.float32)), vectors, multi=True))[:TAGS]
            tags.append((number, [(label.name, round(label.score, 4)) for label in best]))
        library.describe("tags", tags)


def caption_sounds(library: Library, mats: Mats) -> Iterator[int]:
    """A caption for each sound; yields how many sounds were described at once. Errors: MismatchError."""
    library.of_pipeline(mats.clap.id, mats.clap.dim)
    while rows := library.without("caption", mats.llm.rows):
        said = mats.answer(unit(np.stack([vector for _, vector in rows]).astype(np.float32)))
        library.describe("caption", [(number, text) for (number, _), text in zip(rows, said, strict=True)])
        yield len(rows)
