"""The small decoder, its word pieces and its search, as they answer: without torch."""

from __future__ import annotations

import numpy as np

from mats_model.config import SearchSettings
from mats_model.llm.answering import Answering, Candidate
from mats_model.llm.beam import beam_search
from mats_model.llm.graph_decoder import GraphDecoder
from mats_model.llm.prompts import Question, ask
from mats_model.llm.words import Words

_TOGETHER = 16  # answers, enough to keep a few processors busy


class NumpyLLM(Answering):
    """The decoder and its tokenizer; all of it lies in the model folder."""

    def __init__(self, decoder: GraphDecoder, words: Words) -> None:
        self.decoder, self.words = decoder, words
        self.width = decoder.config.width

    @property
    def rows(self) -> int:
        """Answers that are made together: as many as one product takes."""
        return _TOGETHER

    def answers(self, prefix: np.ndarray, asked: Question, settings: SearchSettings) -> list[list[Candidate]]:
        return beam_search(self.decoder, self.words, prefix, ask("nano", asked).after, settings)

    def kept(self) -> dict[str, np.ndarray]:
        """The arrays that belong in a model folder, by name."""
        return {f"decoder.{name}": array for name, array in self.decoder.weights.items()}
