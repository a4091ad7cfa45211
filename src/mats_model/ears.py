"""An encoder alone: a sound -> its stretches and their embeddings, and which labels fit them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mats_model.audio import AudioSource, Window, source, windows
from mats_model.clap.protocol import BATCH, Clap
from mats_model.english import is_english, unknown, without
from mats_model.errors import InputError, MatsError, ModelError, SilenceError, UsageError, one_input
from mats_model.labels import Label, Scales, background, ranked
from mats_model.vectors import unit

# times full scale: samples that were meant as 24-bit integers come to 8e6, and are still heard
_LOUDEST = 1e9

AudioInput = str | os.PathLike[str] | bytes | AudioSource
# a label -> sounds of it
Examples = Mapping[str, Sequence[AudioInput]]


@dataclass(frozen=True)
class Stretch:
    """A stretch of sound: seconds, and its unit-length embedding (d,), or None where it is silent."""

    start: float
    end: float
    embedding: np.ndarray | None


class Ears:
    """It hears, and knows which words fit. Labels and search need no more."""

    def __init__(self, clap: Clap, scales: Scales, id: str = "") -> None:
        self.clap, self.scales, self._id = clap, scales, id
        self.taught: dict[str, np.ndarray] = {}  # words of the user's own, each as its descriptions sound (d,)

    @property
    def id(self) -> str:
        """Of all that decides what it answers: the encoder's, or that of the model in whose folder it lies."""
        return self._id or self.clap.id

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

    def label_embeddings(
        self, labels: Iterable[str], template: str = "{}", examples: Examples | None = None
    ) -> np.ndarray:
        """Labels -> (labels, d), unit length; `template` holds {} where the label goes.

        `examples` are sounds of some labels: the mean of theirs is joined with the words, or stands alone where the
        words are of no language that the encoder knows. Errors: UsageError; InputError, SilenceError for an example.
        """
        if template.count("{}") != 1:
            raise UsageError(f"`template` {template!r}: write {{}} once, where the label goes.")
        names = list(labels)
        if not names:
            raise UsageError("there are no labels; give at least one.")
        vectors = self.clap.embed_text([template.replace("{}", name) for name in names])
        for place, name in enumerate(names):
            if template == "{}" and name in self.taught:
                vectors[place] = self.taught[name]
        for place, name in enumerate(names):
            if sounds := (examples or {}).get(name):
                mean = unit(np.mean([self.embed_audio(sound) for sound in sounds], axis=0))
                vectors[place] = unit(vectors[place] + mean) if is_english(name) else mean
        return vectors

    def known(self) -> list[str]:
        """The names of what it was taught to tell: those of the encoder, and a user's own."""
        return [name for name in self.clap.names if name not in self.taught] + list(self.taught)

    def score(self, embedding: np.ndarray, labels: np.ndarray, multi: bool = False) -> np.ndarray:
        """(d,) and (labels, d) -> scores (labels,): shares that sum to 1, or with `multi` a probability each."""
        cosines = labels @ embedding
        if not multi:
            return self.scales.shares(cosines)
        return self.scales.probabilities(cosines, self.background(embedding))

    def background(self, embeddings: np.ndarray) -> np.ndarray:
        """Sounds (..., d) -> how well each fits what the encoder has names for (...), in cosines; 0 where that takes
        nothing off a probability."""
        if not self.scales.background:
            return np.zeros(embeddings.shape[:-1], np.float32)
        return background(embeddings, self._named)

    @cached_property
    def _named(self) -> np.ndarray:
        """The names that the encoder knows (n, d). Errors: ModelError."""
        if not self.clap.names:
            raise ModelError(
                "this model measures probabilities against the names that its encoder knows, and has none; get the "
                "model again."
            )
        return self.clap.embed_text(list(self.clap.names))

    def rank(self, embedding: np.ndarray, names: Sequence[str], labels: np.ndarray) -> list[Label]:
        """A sound (d,), labels by name and as embeddings (labels, d) -> all of them, with their shares and
        probabilities, best first."""
        return ranked(names, self.score(embedding, labels), self.score(embedding, labels, multi=True))

    def rank_over(self, stretches: Iterable[Stretch], names: Sequence[str], labels: np.ndarray) -> list[Label]:
        """The same for all of a recording's stretches: a label's share is its mean over the time that is not silent,
        its probability the highest of any; nothing where all is silent."""
        heard = [(each.end - each.start, each.embedding) for each in stretches if each.embedding is not None]
        if not heard:
            return []
        seconds = np.array([length for length, _ in heard])
        shares = np.stack([self.score(embedding, labels) for _, embedding in heard])
        alone = np.stack([self.score(embedding, labels, multi=True) for _, embedding in heard])
        return ranked(names, seconds @ shares / seconds.sum(), alone.max(0))

    def classify(
        self,
        sound: AudioInput,
        labels: Iterable[str] | None = None,
        template: str = "{}",
        multi: bool = False,
        examples: Examples | None = None,
    ) -> list[Label]:
        """All labels with their scores, best first; `labels.none_fits` tells whether any is likely to be there.

        Without `labels` they are the names that the encoder knows, and the words that a user taught; those in another
        language than English are left out, unless they have `examples`. Errors: SilenceError, InputError, UsageError.
        """
        names = self.known() if labels is None else list(labels)
        names = without(names, set(unknown(names)) - set(examples or {}) - set(self.taught))
        vectors, embedding = self.label_embeddings(names, template, examples), self.embed_audio(sound)
        if multi:
            alone = self.score(embedding, vectors, multi=True)
            return ranked(names, alone, alone)
        return self.rank(embedding, names, vectors)


def _no_numbers(name: str, window: Window) -> MatsError:
    """Why a window has no embedding: the sound is beyond all measure, or what hears is broken."""
    peak = float(abs(window.samples).max())
    if peak > _LOUDEST:
        return InputError(
            f"{name} cannot be heard: its samples reach {peak:.0e} times full scale (at {window.start:.0f} s); export "
            "it again."
        )
    return ModelError("the encoder gives NaN for a sound that is well: its weights are damaged; get the model again.")
