"""Many sounds: several listened to at once and told in their order, and captions for several in one go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mats_model.audio import AudioSource
from mats_model.audio.folders import STDIN, Item
from mats_model.ears import Ears, Stretch
from mats_model.errors import InputError, one_input
from mats_model.mats import Mats
from mats_model.parallel import in_order
from mats_model.stretches import listen_changes
from mats_model.summary import MAIN, Said, Sound, joined, sentence, sounds


@dataclass
class Listened:
    """What was heard in an input, or why nothing was."""

    item: Item
    heard: list[Stretch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # to be said beside the result
    error: str | None = None
    trace: str = ""  # where it went wrong, if nobody foresaw that
    missing: bool = False  # part of the sound is not there, as the notes say


def listen_all(
    ears: Ears,
    items: Iterable[Item],
    every: float | None = None,
    opened: Callable[[Item], AudioSource] = lambda item: AudioSource(item.name, path=item.path),
    changes: bool = False,
) -> Iterator[Listened]:
    """Each input listened to, in order; a few at once, each on one thread, whatever is beside it.

    `every` is the length of a stretch in seconds, a whole sound if None; with `changes` a long sound has, instead of
    one, stretches that end where it changes. `opened` gives the sound of an item. What is wrong with one input is in
    its answer. Errors: DeviceError, MemoryError.
    """

    def one(item: Item) -> Listened:
        try:
            with one_input(STDIN if item.path is None else item.name):
                if item.problem:
                    raise InputError(item.problem)
                sound = opened(item)
                heard = listen_changes(ears, sound) if changes and every is None else list(ears.listen(sound, every))
                return Listened(item, heard, sound.notes, missing=bool(sound.missing))
        except InputError as error:
            return Listened(item, error=str(error), trace=getattr(error, "trace", ""))

    yield from in_order(one, items, ears.clap.listeners)


def caption_all(mats: Mats, listened: Iterable[Listened]) -> Iterator[tuple[Listened, list[str | None]]]:
    """A caption for each stretch of each input, None where it is silent; as many at a time as the model answers."""
    waiting: list[Listened] = []
    for one in listened:
        waiting.append(one)
        if max(sum(len(each.heard) for each in waiting), len(waiting)) >= mats.llm.rows:
            yield from _captions(mats, waiting)
            waiting = []
    yield from _captions(mats, waiting)


def _captions(mats: Mats, some: list[Listened]) -> Iterator[tuple[Listened, list[str | None]]]:
    vectors = [stretch.embedding for one in some for stretch in one.heard if stretch.embedding is not None]
    said = iter(mats.answer(np.stack(vectors)) if vectors else [])
    for one in some:
        yield one, [None if stretch.embedding is None else next(said) for stretch in one.heard]


def say_all(mats: Mats, listened: Iterable[Listened], whole: bool = False) -> Iterator[tuple[Listened, list[Said]]]:
    """What is to be said of each input over time, neighbours that say the same as one; with `whole` one sentence about
    a recording of several stretches, as sure as what it says of the longest sound."""
    waiting: deque[tuple[Listened, list[Sound]]] = deque()

    def parts() -> Iterator[Listened]:
        for one in listened:
            found = sounds(one.heard) if whole and len(one.heard) > 1 else []
            waiting.append((one, found))
            # twice as many as are told, since two may have one caption
            main = [Stretch(sound.start, sound.end, sound.embedding) for sound in found[: 2 * MAIN]]
            yield replace(one, heard=main) if main else one

    for short, captions in caption_all(mats, parts()):
        one, found = waiting.popleft()
        rows = [
            Said(stretch.start, stretch.end, None)
            if caption is None or stretch.embedding is None
            else Said(stretch.start, stretch.end, caption, mats.likeness(caption, stretch.embedding))
            for stretch, caption in zip(short.heard, captions, strict=True)
        ]
        if found:
            end = one.heard[-1].end
            told = sentence(found, [each.caption or "" for each in rows], end)
            yield one, [Said(one.heard[0].start, end, told, rows[0].score)]
        else:
            yield one, joined(rows)
