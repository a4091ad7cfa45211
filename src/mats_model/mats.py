"""MATS in two short lines: `read` is what training uses, `hear` what listening uses. Open this file first.

learn   captions -> clap text  -> + noise -> mapper -> language model
hear    audio    -> clap audio -> santa   -> mapper -> language model

What passes between the stations is numpy, float32, (n, d), of unit length. Mapper and language model are of torch while
they are trained and beside a larger model; the small decoder answers in onnxruntime, its mapper in numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mats_model.claims import Claims
from mats_model.clap.protocol import Clap
from mats_model.config import MatsConfig, SearchSettings
from mats_model.ears import AudioInput, Ears
from mats_model.errors import UsageError
from mats_model.gap.santa import Santa
from mats_model.judge import Judge
from mats_model.labels import Scales
from mats_model.llm.prompts import CAPTION_TAG, DESCRIBE, QUESTION_TAG, Question, is_caption, sentence
from mats_model.numpy_mapper import NumpyMapper

if TYPE_CHECKING:
    import torch

    from mats_model.llm.answering import Answering
    from mats_model.mapper import Mapper


def scales(config: MatsConfig) -> Scales:
    """Cosine -> score, as a model folder says."""
    return Scales(config.label_scale, config.multi_scale, config.multi_bias, config.background)


class Mats(Ears):
    """CLAP, Santa, mapper and language model, composed."""

    def __init__(
        self, config: MatsConfig, clap: Clap, santa: Santa, mapper: Mapper | NumpyMapper, llm: Answering
    ) -> None:
        super().__init__(clap, scales(config))
        self.config = config
        self.santa = santa
        self.mapper: Any = mapper
        self.llm: Any = llm

    @property
    def id(self) -> str:
        """Of all that decides what it answers."""
        return self.config.id

    # ---- the two lines

    def hear(self, heard: np.ndarray) -> np.ndarray | torch.Tensor:
        """Audio embeddings (n, d) -> prefix (n, p, h): the line used after training, eq. 3."""
        return self.mapper.prefix(self.santa(heard))

    def read(
        self, meant: torch.Tensor, drawn: torch.Generator | torch.Tensor | None = None
    ) -> np.ndarray | torch.Tensor:
        """Text embeddings (n, d) -> prefix (n, p, h): the line used while training, eq. 1; `drawn` is the noise (n, d),
        of variance 1, or what draws it."""
        from mats_model.gap.noise import add_noise

        noised = add_noise(meant, self.config.noise_variance, drawn)
        if isinstance(self.mapper, NumpyMapper):
            return self.mapper.prefix(noised.numpy())
        prefix: torch.Tensor = self.mapper(noised.to(self.device))
        return prefix

    @property
    def device(self) -> torch.device:
        """Of mapper and language model; what comes before them is small and stays on the CPU."""
        return self.mapper.device

    # ---- answering

    def caption(self, sound: AudioInput) -> str:
        """One sentence about a sound. Errors: SilenceError, InputError."""
        return self.answer(self.embed_audio(sound)[None])[0]

    def answer(self, embeddings: np.ndarray, question: str | None = None, tag: str = "") -> list[str]:
        """Embeddings (n, d) -> n sentences: captions, or answers to one question; `tag`: the task, as the model was
        taught to be told it."""
        asked = Question("", tag or CAPTION_TAG) if question is None else Question(question, tag or QUESTION_TAG)
        embeddings = np.asarray(embeddings, np.float32)
        if self.santa.settings.prompt:
            return [self._answer(z[None], self._told(z, asked))[0] for z in embeddings]
        return self._answer(embeddings, asked)

    def likeness(self, caption: str, embedding: np.ndarray) -> float:
        """The cosine between a caption and a sound (d,); 0 for a caption without words."""
        return float(self.clap.embed_text([caption])[0] @ embedding) if caption.strip(" .") else 0.0

    def stream(self, embedding: np.ndarray, asked: Question) -> Iterator[str]:
        """One answer (d,) piece by piece, as the language model makes it, neither searched nor judged."""
        if self.santa.settings.prompt:
            asked = self._told(embedding, asked)
        yield from self.llm.stream(self.hear(embedding[None]), asked, self._search(asked))

    def _answer(self, embeddings: np.ndarray, asked: Question) -> list[str]:
        judge = self._judge() if is_caption(asked.tag) and self.config.search.rerank > 0 else None
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
        return self.config.search if is_caption(asked.tag) else replace(self.config.search, min_new_tokens=1)

    def _judge(self) -> Judge:
        return Judge(self.clap, self.santa, self.config.search, self._claims if self.config.search.claims else None)

    @cached_property
    def _claims(self) -> Claims:
        """Of the memory's own texts; none where they were not kept."""
        return Claims(self.santa.captions, self.santa.memory)
