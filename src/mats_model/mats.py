"""MATS in two short lines: `read` is what training uses, `hear` what listening uses. Open this file first.

learn   captions -> clap text  -> + noise -> mapper -> language model
hear    audio    -> clap audio -> santa   -> mapper -> language model
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.audio import AudioSource, Window, source, windows
from mats_model.claims import Claims
from mats_model.clap.protocol import BATCH, Clap
from mats_model.config import MatsConfig, SearchSettings
from mats_model.errors import InputError, MatsError, ModelError, SilenceError, UsageError, one_input
from mats_model.gap.noise import add_noise
from mats_model.gap.santa import Santa
from mats_model.llm.prompts import CAPTION_TAG, DESCRIBE, QUESTION_TAG, Question, sentence
from mats_model.llm.protocol import Candidate, LanguageModel
from mats_model.mapper import Mapper

# times full scale: samples that were meant as 24-bit integers come to 8e6, and are still heard
_LOUDEST = 1e9

AudioInput = str | os.PathLike[str] | bytes | AudioSource


@dataclass(frozen=True)
class Stretch:
    """A stretch of sound: seconds, and its unit-length embedding (d,), or None where it is silent."""

    start: float
    end: float
    embedding: torch.Tensor | None


@dataclass(frozen=True)
class Label:
    """A label and its score: its share among the labels, or on its own its probability."""

    name: str
    score: float


@dataclass(frozen=True)
class Scales:
    """Cosine -> score, as the encoder was trained or measured."""

    label: float  # cosine -> logit of the softmax over labels
    multi: float  # cosine -> logit of one label's own probability
    bias: float


class Ears(nn.Module):
    """An encoder alone: it hears, and knows which words fit. Labels and search need no more."""

    def __init__(self, clap: Clap, scales: Scales) -> None:
        super().__init__()
        self.clap, self.scales = clap, scales

    @property
    def id(self) -> str:
        """Of all that decides what it answers."""
        return self.clap.id

    # ---- listening

    @torch.inference_mode()
    def listen(self, sound: AudioInput, every: float | None = None) -> Iterator[Stretch]:
        """A file as one stretch, or as one for each `every` seconds; memory is flat in its length.

        Errors: InputError, when it cannot be decoded.
        """
        if every is not None and not 0.1 <= every <= 86_400:
            raise UsageError(f"--every {every:g}: give between 0.1 and 86400 seconds.")
        segment, start, end = 0, 0.0, 0.0
        total: torch.Tensor | None = None
        for window, raw in self.windows(sound, every):
            if window.segment != segment:
                yield Stretch(start, end, F.normalize(total, dim=-1) if total is not None else None)
                segment, start, total = window.segment, window.start, None
            end = window.end
            if raw is not None:
                total = raw if total is None else total + raw
        yield Stretch(start, end, F.normalize(total, dim=-1) if total is not None else None)

    @torch.inference_mode()
    def windows(self, sound: AudioInput, every: float | None = None) -> Iterator[tuple[Window, torch.Tensor | None]]:
        """Windows with their raw embeddings (d,), a few at a time; None for a silent one. Errors: InputError."""
        item = source(sound)
        # all that listens comes through here
        with one_input(item.name):
            waiting: list[Window] = []
            for window in self.cut(item, every):
                waiting.append(window)
                if len(waiting) == BATCH:
                    yield from self._embed(waiting, item.name)
                    waiting = []
            if waiting:
                yield from self._embed(waiting, item.name)

    def cut(self, sound: AudioInput, every: float | None = None) -> Iterator[Window]:
        """The encoder's windows of a sound, not yet embedded. Errors: InputError."""
        return windows(source(sound), self.clap.sample_rate, self.clap.window, every, self.clap.fill)

    def _embed(self, some: list[Window], name: str) -> Iterator[tuple[Window, torch.Tensor | None]]:
        waves = torch.stack([torch.from_numpy(window.samples) for window in some])
        for window, raw in zip(some, self.clap.embed_windows(waves), strict=True):
            if not window.silent and not bool(raw.isfinite().all()):
                raise _no_numbers(name, window)
            yield window, None if window.silent else raw

    def embed_audio(self, sound: AudioInput) -> torch.Tensor:
        """The whole sound's embedding (d,), unit length. Errors: SilenceError, InputError."""
        heard = next(self.listen(sound))
        if heard.embedding is None:
            raise SilenceError(f"{source(sound).name} is silent: there is nothing to hear in it.")
        return heard.embedding

    # ---- labels

    @torch.inference_mode()
    def label_embeddings(self, labels: Iterable[str], template: str = "{}") -> torch.Tensor:
        """Labels -> (labels, d), unit length; `template` holds {} where the label goes."""
        if template.count("{}") != 1:
            raise UsageError(f"--template {template!r}: write {{}} once, where the label goes.")
        names = list(labels)
        if not names:
            raise UsageError("there are no labels; give at least one.")
        return self.clap.embed_text([template.replace("{}", name) for name in names])

    def score(self, embedding: torch.Tensor, labels: torch.Tensor, multi: bool = False) -> torch.Tensor:
        """(d,) and (labels, d) -> scores (labels,): shares that sum to 1, or with `multi` a probability each."""
        likeness = labels @ embedding
        if multi:
            return torch.sigmoid(likeness * self.scales.multi + self.scales.bias)
        return (likeness * self.scales.label).softmax(-1)

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


class Mats(Ears):
    """CLAP, Santa, mapper and language model, composed."""

    def __init__(self, config: MatsConfig, clap: Clap, santa: Santa, mapper: Mapper, llm: LanguageModel) -> None:
        super().__init__(clap, Scales(config.label_scale, config.multi_scale, config.multi_bias))
        self.config = config
        self.santa, self.mapper, self.llm = santa, mapper, llm

    @property
    def id(self) -> str:
        """Of all that decides what it answers."""
        return self.config.id

    # ---- the two lines

    def hear(self, heard: torch.Tensor) -> torch.Tensor:
        """Audio embeddings (n, d) -> prefix (n, p, h): the line used after training, eq. 3."""
        return self._prefix(self.santa(heard))

    def read(self, meant: torch.Tensor, drawn: torch.Generator | torch.Tensor | None = None) -> torch.Tensor:
        """Text embeddings (n, d) -> prefix (n, p, h): the line used while training, eq. 1; `drawn` is the noise (n, d),
        of variance 1, or what draws it."""
        return self._prefix(add_noise(meant, self.config.noise_variance, drawn))

    def _prefix(self, meant: torch.Tensor) -> torch.Tensor:
        return self.mapper(meant.to(self.device))

    @property
    def device(self) -> torch.device:
        """Of mapper and language model; what comes before them is small and stays on the CPU."""
        return next(self.mapper.parameters()).device

    # ---- answering

    @torch.inference_mode()
    def answer(self, embeddings: torch.Tensor, question: str | None = None) -> list[str]:
        """Embeddings (n, d) -> n sentences: captions, or answers to one question."""
        asked = Question("", CAPTION_TAG) if question is None else Question(question, QUESTION_TAG)
        if self.santa.settings.prompt:
            return [self._answer(z[None], self._told(z, asked))[0] for z in embeddings]
        return self._answer(embeddings, asked)

    def _told(self, embedding: torch.Tensor, asked: Question) -> Question:
        """The question with the captions nearest to (d,) before it. Errors: UsageError."""
        if self.config.llm.kind == "decoder" or self.config.llm.prompt == "none":
            raise UsageError(
                "prompt=N puts captions into the prompt, which this model does not read: take --model mini, or leave "
                "it out."
            )
        near = "; ".join(text for text, _ in self.santa.near_texts(embedding, self.santa.settings.prompt))
        return replace(asked, text=f"It may sound like: {near}. {asked.text or DESCRIBE}")

    def _answer(self, embeddings: torch.Tensor, asked: Question) -> list[str]:
        judged = asked.tag == CAPTION_TAG and self.config.search.rerank > 0
        looks = self.santa.looks(embeddings) if judged else [self.santa(embeddings)]
        if judged and self.config.search.claims and self.santa.crosses and len(self._claims):
            # one sound, said plainly, stands for choice beside a blend of several
            looks.append(self._claims.nearest(embeddings))
        # all of them in one go: those of a few sounds fill the rows that are answered together
        found = self.llm.answers(self._prefix(torch.cat(looks)), asked, self._search(asked))
        candidates = [
            [candidate for some in found[row :: len(embeddings)] for candidate in some]
            for row in range(len(embeddings))
        ]
        if not judged:
            return [sentence(some[0].text) for some in candidates]
        return [
            sentence(self._closest(embedding, some)) for embedding, some in zip(embeddings, candidates, strict=True)
        ]

    def stream(self, embedding: torch.Tensor, asked: Question) -> Iterator[str]:
        """One answer (d,) piece by piece, as the language model makes it, neither searched nor judged."""
        if self.santa.settings.prompt:
            asked = self._told(embedding, asked)
        with torch.inference_mode():
            prefix = self.hear(embedding[None])
        yield from self.llm.stream(prefix, asked, self._search(asked))

    def _search(self, asked: Question) -> SearchSettings:
        """A caption has a least length; an answer may be a word."""
        return self.config.search if asked.tag == CAPTION_TAG else replace(self.config.search, min_new_tokens=1)

    def _closest(self, embedding: torch.Tensor, candidates: list[Candidate]) -> str:
        """The candidate with the best score + rerank * cosine to the sound - claims * doubt: what was not heard is not
        said."""
        search = self.config.search
        if search.claims:
            # a model of the user's own words may answer with one of them; one that is judged by what it claims makes
            # sentences
            candidates = [candidate for candidate in candidates if not listed(candidate.text)] or candidates
        texts = [candidate.text or "nothing" for candidate in candidates]
        likeness = self.clap.embed_text(texts) @ embedding
        doubts = self._claims.doubt(embedding, texts) if search.claims else [0.0] * len(texts)
        scores = [
            candidate.score + search.rerank * float(like) - search.claims * doubt
            for candidate, like, doubt in zip(candidates, likeness, doubts, strict=True)
        ]
        return candidates[max(range(len(scores)), key=scores.__getitem__)].text

    @cached_property
    def _claims(self) -> Claims:
        """Of the memory's own texts; none where they were not kept."""
        return Claims(self.santa.captions, self.santa.memory)

    def caption(self, sound: AudioInput) -> str:
        """One sentence about a sound. Errors: SilenceError, InputError."""
        return self.answer(self.embed_audio(sound)[None])[0]


def listed(text: str) -> bool:
    """A name, or names side by side, as in a list of classes: no sentence."""
    return len(text.split()) < 3 or ("," in text and len(text.split()) <= 5)


def ranked(names: list[str], scores: Any) -> list[Label]:
    """Labels by falling score; equal scores keep the order of the labels."""
    pairs = [Label(name, float(score)) for name, score in zip(names, scores, strict=True)]
    return sorted(pairs, key=lambda label: -label.score)
