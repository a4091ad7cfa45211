"""The memory in words of our own: what the decoder says of each embedding, in place of the caption that it was made of.

A sentence that somebody else wrote is never kept, even where the decoder happens to say the very same: then its next
answer is, and in the end the nearest of the texts that are ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from mats_model.captions import tidy
from mats_model.llm.prompts import CAPTION_TAG, Question
from mats_model.mats import Mats

_ROWS = 256


def retell(mats: Mats, ours: set[str], theirs: set[str]) -> Iterator[int]:
    """Put new texts into the memory, but where the text is one of `ours`; none of `theirs` is kept. Yields how many are
    done."""
    memory, texts = mats.santa.memory, list(mats.santa.captions)
    own = [row for row, text in enumerate(texts) if tidy(text) in ours]
    rest = sorted(set(range(len(texts))) - set(own))
    asked = Question("", CAPTION_TAG)
    for start in range(0, len(rest), _ROWS):
        rows = rest[start : start + _ROWS]
        answers = mats.llm.answers(mats.mapper.prefix(memory[rows]), asked, mats.config.search)
        for row, found in zip(rows, answers, strict=True):
            said = [text for text in (tidy(candidate.text) for candidate in found) if text and text not in theirs]
            texts[row] = said[0] if said else texts[own[int((memory[own] @ memory[row]).argmax())]]
        yield start + len(rows)
    mats.santa.captions = texts
