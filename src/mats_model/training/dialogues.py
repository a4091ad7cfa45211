"""Questions and conversations made of captions, every answer of them true of its caption."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from mats_model.captions import NOT_HEARD, Turn, tidy


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


_DESCRIBE = (
    "What do you hear?",
    "Describe the sound.",
    "What is happening?",
    "Tell me what you hear.",
    "What is this sound?",
    "What is it?",
)
_PRESENT = ("Is there {}?", "Do you hear {}?", "Can you hear {}?", "Is there any {}?", "Any {}?", "Is that {}?")
_EITHER = ("Is it {} or {}?", "Which do you hear, {} or {}?", "{} or {}?", "Which of {} and {} is it?")
_FIRST = ("What comes first?", "What happens first?", "How does it begin?")
_THEN = ("What happens then?", "What comes after that?", "And then?", "How does it end?")
_BEYOND = (
    "Where was this recorded?",
    "Who is it?",
    "When was this recorded?",
    "What is its name?",
    "What colour is it?",
    "Why is that?",
    "What is being said?",
    "How old is it?",
    "Is it dangerous?",
)


def conversations(captions: list[str], names: list[str], seed: int) -> Iterator[tuple[str, tuple[Turn, ...], int]]:
    """(caption, turns, since) for every caption that names a thing of `names`: the last turn is the one to learn, and
    turns[since:] are about this caption; those before are about another sound, which was heard earlier.

    Asked are what it is, whether a thing is there (one that is, or one that is not), which of two it is, what comes
    first and what then, and what no ear can tell.
    """
    rng = np.random.default_rng(seed)
    pick: Callable[[tuple[str, ...]], str] = lambda some: some[int(rng.integers(len(some)))]  # noqa: E731
    things: dict[str, dict[bool, str]] = {}
    for caption, thing, there in yes_or_no(captions, names, seed):
        if there and not re.search(rf"\b{thing}(s|es|d|ed|ing|[a-z]ing)?\b", caption):
            continue  # a pig is not in pigeons
        things.setdefault(caption, {})[there] = thing
    earlier: tuple[Turn, ...] = ()
    for caption, some in things.items():
        if True not in some:
            continue
        turns = [Turn(pick(_DESCRIBE), caption)] * 2
        turns += [Turn(pick(_PRESENT).format(thing), "yes" if there else "no") for there, thing in some.items()]
        if len(some) == 2:
            both = list(some.values()) if rng.random() < 0.5 else list(some.values())[::-1]
            turns.append(Turn(pick(_EITHER).format(*both), some[True]))
        parts = re.split(r",? (?:and )?then |,? (?:and )?followed by |,? before ", caption)
        if len(parts) == 2:
            turns += [Turn(pick(_FIRST), parts[0]), Turn(pick(_THEN), parts[1])]
        if rng.random() < 0.3:
            turns.append(Turn(pick(_BEYOND), NOT_HEARD))
        chosen = tuple(dict.fromkeys(turns[place] for place in rng.permutation(len(turns))[: int(rng.integers(1, 4))]))
        before = earlier if rng.random() < 0.25 else ()
        yield caption, before + chosen, len(before)
        earlier = chosen[:2]
