"""Words about sounds: the small decoder's marks, the turns of a conversation, how a caption is tidied."""

from __future__ import annotations

import re
from dataclasses import dataclass

CAPTION = "<caption>"
QUESTION = "<question>"
ANSWER = "<answer>"
NOT_HEARD = "i cannot tell that from the sound"


@dataclass(frozen=True)
class Turn:
    """A question that was asked of a sound, and its answer."""

    question: str
    answer: str


def tidy(caption: str) -> str:
    """Lower case, one space between words, no final stop: what the small decoder is taught to write."""
    text = re.sub(r"\s+", " ", caption.replace("\u2019", "'").strip().lower())
    text = re.sub(r"\s+([,.;])", r"\1", text)
    return text.strip(" .,;\"'")
