"""Words about sounds: the small decoder's marks, how a caption is tidied, and questions made of captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

CAPTION = "<caption>"
QUESTION = "<question>"
ANSWER = "<answer>"


def tidy(caption: str) -> str:
    """Lower case, one space between words, no final stop: what the small decoder is taught to write."""
    text = re.sub(r"\s+", " ", caption.replace("\u2019", "'").strip().lower())
    text = re.sub(r"\s+([,.;])", r"\1", text)
    return text.strip(" .,;\"'")


def yes_or_no(captions: list[str], names: list[str], seed: int) -> Iterator[tuple[str, str, bool]]:
    """(caption, thing, whether it is there): a thing that the caption says, and as often one that it does not."""
    rng = np.random.default_rng(seed)
    words = sorted({tidy(part) for name in names for part in re.split(r"[,(]", name) if part.strip(" )")})
    words = [word for word in words if re.fullmatch(r"[a-z]+( [a-z]+)?", word)]
    said: Callable[[str, str], bool] = lambda word, text: re.search(rf"\b{word}", text) is not None  # noqa: E731
    common = [word for word in words if sum(said(word, caption) for caption in captions[::50]) >= 2]
    for caption in captions:
        present = [word for word in common if said(word, caption)]
        if not present:
            continue
        word = present[int(rng.integers(len(present)))]
        other = words[int(rng.integers(len(words)))]
        yield caption, word, True
        if not said(other, caption):
            yield caption, other, False
