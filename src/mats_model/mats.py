"""MATS in two short lines: `read` is what training uses, `hear` what listening uses. Open this file first.

learn   captions -> clap text  -> + noise -> mapper -> language model
hear    audio    -> clap audio -> santa   -> mapper -> language model

What passes between the stations is numpy, float32, (n, d), of unit length; from the mapper on it is torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mats_model.claims import Claims
from mats_model.clap.protocol import Clap
from mats_model.config import MatsConfig, SearchSettings
from mats_model.ears import AudioInput, Ears
from mats_model.errors import UsageError
from mats_model.gap.santa import Santa
from mats_model.judge import Judge
from mats_model.labels import Scales
from mats_model.llm.prompts import CAPTION_TAG, DESCRIBE, QUESTION_TAG, Question, sentence

if TYPE_CHECKING:
    import torch

    from mats_model.llm.protocol import LanguageModel
    from mats_model.mapper import Mapper


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

    def hear(self, heard: np.ndarray) -> torch.Tensor:
        """Audio embeddings (n, d) -> prefix (n, p, h): the line used after training, eq. 3."""
        return self.mapper.prefix(self.santa(heard))

    def read(self, meant: torch.Tensor, drawn: torch.Generator | torch.Tensor | None = None) -> torch.Tensor:
        """Text embeddings (n, d) -> prefix (n, p, h): the line used while training, eq. 1; `drawn` is the noise (n, d),
        of variance 1, or what draws it."""
        from mats_model.gap.noise import add_noise

        return self.mapper(add_noise(meant, self.config.noise_variance, drawn).to(self.device))

    @property
    def device(self) -> torch.device:
        """Of mapper and language model; what comes before them is small and stays on the CPU."""
        return self.mapper.device

    # ---- answering

    def caption(self, sound: AudioInput) -> str:
        """One sentence about a sound. Errors: SilenceError, InputError."""
        return self.answer(self.embed_audio(sound)[None])[0]

    def answer(self, embeddings: np.ndarray, question: str | None = None) -> list[str]:
        """Embeddings (n, d) -> n sentences: captions, or answers to one question."""
        asked = Question("", CAPTION_TAG) if question is None else Question(question, QUESTION_TAG)
        embeddings = np.asarray(embeddings, np.float32)
        if self.santa.settings.prompt:
            return [self._answer(z[None], self._told(z, asked))[0] for z in embeddings]
        return self._answer(embeddings, asked)

    def stream(self, embedding: np.ndarray, asked: Question) -> Iterator[str]:
        """One answer (d,) piece by piece, as the language model makes it, neither searched nor judged."""
        if self.santa.settings.prompt:
            asked = self._told(embedding, asked)
        yield from self.llm.stream(self.hear(embedding[None]), asked, self._search(asked))

    def _answer(self, embeddings: np.ndarray, asked: Question) -> list[str]:
        judge = self._judge() if asked.tag == CAPTION_TAG and self.config.search.rerank > 0 else None
        looks = judge.looks(embeddings) if judge else [self.santa(embeddings)]
        # all of them in one go: those of a few sounds fill the rows that are answered together
        found = self.llm.answers(self.mapper.prefix(np.concatenate(looks)), asked, self._search(asked))
        count = len(embeddings)
        candidates = [[each for some in found[row::count] for each in some] for row in range(count)]
        if judge is None:
            return [sentence(some[0].text) for some in candidates]
        return [sentence(judge.best(z, some)) for z, some in zip(embeddings, candidates, strict=True)]

    def _told(self, embedding: np.ndarray, asked: Question) -> Question:
        """The question with the captions nearest to (d,) before it. Errors: UsageError."""
        if self.config.llm.kind == "decoder" or self.config.llm.prompt == "none":
            raise UsageError(
                "prompt=N puts captions into the prompt, which this model does not read: take the model mini, or leave "
                "it out."
            )
        near = "; ".join(text for text, _ in self.santa.near_texts(embedding, self.santa.settings.prompt))
        return replace(asked, text=f"It may sound like: {near}. {asked.text or DESCRIBE}")

    def _search(self, asked: Question) -> SearchSettings:
        """A caption has a least length; an answer may be a word."""
        return self.config.search if asked.tag == CAPTION_TAG else replace(self.config.search, min_new_tokens=1)

    def _judge(self) -> Judge:
        return Judge(self.clap, self.santa, self.config.search, self._claims if self.config.search.claims else None)

    @cached_property
    def _claims(self) -> Claims:
        """Of the memory's own texts; none where they were not kept."""
        return Claims(self.santa.captions, self.santa.memory)
