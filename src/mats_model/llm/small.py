"""The small decoder and its word pieces as they are trained, in torch; once trained, `numpy_llm` answers."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from mats_model.config import SearchSettings
from mats_model.llm.answering import Candidate
from mats_model.llm.decoder import Decoder
from mats_model.llm.graph_decoder import GraphDecoder
from mats_model.llm.numpy_llm import NumpyLLM
from mats_model.llm.prompts import Question, ask
from mats_model.llm.protocol import LanguageModel, Tokens, answer_places, padded
from mats_model.llm.words import Words


class SmallLLM(LanguageModel):
    """The decoder and its tokenizer; all of it lies in the model folder."""

    def __init__(self, decoder: Decoder, words: Words, dropout: float = 0.0) -> None:
        super().__init__()
        self.decoder, self.words, self.dropout = decoder, words, dropout
        self.width = decoder.config.width

    @property
    def rows(self) -> int:
        """Answers that are made together."""
        return 16

    def encode(self, asked: Question, answer: str) -> Tokens:
        return Tokens([], self.words.encode(ask("nano", asked).after), [*self.words.encode(answer), self.words.end])

    def loss(self, prefix: torch.Tensor, batch: list[Tokens]) -> tuple[torch.Tensor, int]:
        ids = padded([tokens.after + tokens.answer[:-1] for tokens in batch], 0, prefix.device)
        inputs = torch.cat([prefix, self.decoder.embed(ids).to(prefix.dtype)], 1)
        hidden = self.decoder.hidden(F.dropout(inputs, self.dropout, self.training))
        # only the positions whose next token is part of an answer reach the output matrix
        rows, places, wanted = answer_places(batch, prefix.shape[1], prefix.device)
        logits = self.decoder.logits(hidden[rows, places])
        return F.cross_entropy(logits.float(), wanted, reduction="sum"), len(wanted)

    def answers(self, prefix: torch.Tensor, asked: Question, settings: SearchSettings) -> list[list[Candidate]]:
        """As the decoder is at this moment of its training."""
        weights = {name: value.detach().float().cpu().numpy() for name, value in self.decoder.state_dict().items()}
        as_it_is = NumpyLLM(GraphDecoder(self.decoder.config, weights), self.words)
        return as_it_is.answers(prefix.detach().float().cpu().numpy(), asked, settings)

    def kept(self) -> dict[str, torch.Tensor]:
        return self.state_dict()
