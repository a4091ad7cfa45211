"""An encoder alone: a sound -> its stretches and their embeddings, and which labels fit them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mats_model.audio import AudioSource, Window, source, windows
from mats_model.clap.protocol import BATCH, Clap
from mats_model.errors import InputError, MatsError, ModelError, SilenceError, UsageError, one_input
from mats_model.labels import Label, Scales, ranked
from mats_model.vectors import unit

# times full scale: samples that were meant as 24-bit integers come to 8e6, and are still heard
_LOUDEST = 1e9

AudioInput = str | os.PathLike[str] | bytes | AudioSource


@dataclass(frozen=True)
class Stretch:
    """A stretch of sound: seconds, and its unit-length embedding (d,), or None where it is silent."""

    start: float
    end: float
    embedding: np.ndarray | None


class Ears:
    """It hears, and knows which words fit. Labels and search need no more."""

    def __init__(self, clap: Clap, scales: Scales) -> None:
        self.clap, self.scales = clap, scales

    @property
    def id(self) -> str:
        """Of all that decides what it answers."""
        return self.clap.id

    # ---- listening

    def listen(self, sound: AudioInput, every: float | None = None, ends: Sequence[float] = ()) -> Iterator[Stretch]:
        """A file as one stretch, as one for each `every` seconds, or as those that end at `ends` (rising seconds);
        memory is flat in its length.

        Errors: InputError, when it cannot be decoded.
        """
        if every is not None and not 0.1 <= every <= 86_400:
            raise UsageError(f"`every` {every:g}: give between 0.1 and 86400 seconds.")
        segment, start, end = 0, 0.0, 0.0
        total: np.ndarray | None = None
        for window, raw in self.windows(sound, every, ends):
            if window.segment != segment:
                yield Stretch(start, end, unit(total) if total is not None else None)
                segment, start, total = window.segment, window.start, None
            end = window.end
            if raw is not None:
                total = raw if total is None else total + raw
        yield Stretch(start, end, unit(total) if total is not None else None)

    def windows(
        self, sound: AudioInput, every: float | None = None, ends: Sequence[float] = ()
    ) -> Iterator[tuple[Window, np.ndarray | None]]:
        """Windows with their raw embeddings (d,), a few at a time; None for a silent one. Errors: InputError."""
        item = source(sound)
        yield from self.embedded(item.name, self.cut(item, every, ends))

    def embedded(self, name: str, cut: Iterable[Window]) -> Iterator[tuple[Window, np.ndarray | None]]:
        """The windows of the sound `name` with their raw embeddings (d,), as `windows`. Errors: InputError."""
        # all that listens comes through here
        with one_input(name):
            waiting: list[Window] = []
            for window in cut:
                waiting.append(window)
                if len(waiting) == BATCH:
                    yield from self._embed(waiting, name)
                    waiting = []
            if waiting:
                yield from self._embed(waiting, name)

    def cut(self, sound: AudioInput, every: float | None = None, ends: Sequence[float] = ()) -> Iterator[Window]:
        """The encoder's windows of a sound, not yet embedded. Errors: InputError."""
        return windows(source(sound), self.clap.sample_rate, self.clap.window, every, self.clap.fill, ends)

    def _embed(self, some: list[Window], name: str) -> Iterator[tuple[Window, np.ndarray | None]]:
        for window, raw in zip(
            some, self.clap.embed_windows(np.stack([window.samples for window in some])), strict=True
        ):
            if not window.silent and not np.isfinite(raw).all():
                raise _no_numbers(name, window)
            yield window, None if window.silent else raw

    def embed_audio(self, sound: AudioInput) -> np.ndarray:
        """The whole sound's embedding (d,), unit length. Errors: SilenceError, InputError."""
        heard = next(self.listen(sound))
        if heard.embedding is None:
            raise SilenceError(f"{source(sound).name} is silent: there is nothing to hear in it.")
        return heard.embedding

    # ---- labels

    def label_embeddings(self, labels: Iterable[str], template: str = "{}") -> np.ndarray:
        """Labels -> (labels, d), unit length; `template` holds {} where the label goes."""
        if template.count("{}") != 1:
            raise UsageError(f"`template` {template!r}: write {{}} once, where the label goes.")
        names = list(labels)
        if not names:
            raise UsageError("there are no labels; give at least one.")
        return self.clap.embed_text([template.replace("{}", name) for name in names])

    def score(self, embedding: np.ndarray, labels: np.ndarray, multi: bool = False) -> np.ndarray:
        """(d,) and (labels, d) -> scores (labels,): shares that sum to 1, or with `multi` a probability each."""
        return self.scales.scores(labels @ embedding, multi)

    def classify(
        self, sound: AudioInput, labels: Iterable[str], template: str = "{}", multi: bool = False
    ) -> list[Label]:
        """All labels with their scores, best first. Errors: SilenceError, InputError, UsageError."""
        names = list(labels)
        scores = self.score(self.embed_audio(sound), self.label_embeddings(names, template), multi)
        return ranked(names, scores)


def _no_numbers(name: str, window: Window) -> MatsError:
    """Why a window has no embedding: the sound is beyond all measure, or what hears is broken."""
    peak = float(abs(window.samples).max())
    if peak > _LOUDEST:
        return InputError(
            f"{name} cannot be heard: its samples reach {peak:.0e} times full scale (at {window.start:.0f} s); export "
            "it again."
        )
    return ModelError("the encoder gives NaN for a sound that is well: its weights are damaged; get the model again.")
