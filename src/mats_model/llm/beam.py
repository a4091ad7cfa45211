"""Beam search with the small decoder: a batch of prefixes -> for each the answers that were finished, best first.

No sampling; each row stops on its own, and no word that carries meaning comes twice in an answer.
"""

from __future__ import annotations

import torch

from mats_model.config import SearchSettings
from mats_model.llm.decoder import Decoder
from mats_model.llm.protocol import Candidate
from mats_model.llm.words import Words

# rows are always decoded this many at a time, so that an answer never depends on its neighbours
ROWS = 16


@torch.inference_mode()
def beam_search(
    decoder: Decoder, words: Words, prefix: torch.Tensor, prompt: str, settings: SearchSettings
) -> list[list[Candidate]]:
    """prefix (n, p, h) and one prompt -> for each row its finished answers, best first."""
    answers: list[list[Candidate]] = []
    for part in prefix.split(ROWS):
        filled = torch.cat([part, part.new_zeros(ROWS - len(part), *part.shape[1:])])
        answers += BeamSearch(decoder, words, settings, len(part)).run(filled, words.encode(prompt))
    return answers


class BeamSearch:
    """The search for one batch, of which the first `real` rows are asked for."""

    def __init__(self, decoder: Decoder, words: Words, settings: SearchSettings, real: int) -> None:
        self.decoder, self.words, self.settings, self.real = decoder, words, settings, real
        self.finished: list[list[tuple[float, list[int]]]] = []  # of each row: score, tokens
        self.settled: list[bool] = []

    def run(self, prefix: torch.Tensor, prompt: list[int]) -> list[list[Candidate]]:
        """prefix (n, p, h), prompt (t,) -> finished answers of the rows that are asked for."""
        rows, device = len(prefix), prefix.device
        self.finished = [[] for _ in range(rows)]
        # the others are settled from the start, and a settled row takes no more answers while it waits
        self.settled = [row >= self.real for row in range(rows)]
        stems = torch.from_numpy(self.words.stem).to(device)
        asked = self.decoder.embed(torch.tensor(prompt, device=device)).expand(rows, -1, -1)
        hidden, past = self.decoder.read(torch.cat([prefix, asked], 1))
        scores = torch.zeros(rows, 1, device=device)
        tokens = torch.zeros(rows, 1, 0, dtype=torch.long, device=device)
        never = torch.zeros(len(stems), dtype=torch.bool, device=device)
        never[self.words.special] = True
        banned = never.expand(rows, 1, -1)
        for length in range(self.settings.max_new_tokens):
            total, beam, token = self._options(self.decoder.logits(hidden[:, -1]), scores, banned, length)
            keep = self._settle(total, beam, token, tokens, length)
            if all(self.settled):
                break
            keep = keep.to(device)
            scores, beam, token = total.gather(1, keep), beam.gather(1, keep), token.gather(1, keep)
            width = tokens.shape[1]
            tokens = torch.cat([tokens.gather(1, beam[..., None].expand(-1, -1, length)), token[..., None]], -1)
            stem = stems[token][..., None]
            banned = banned.gather(1, beam[..., None].expand(-1, -1, len(stems))) | ((stems == stem) & (stem >= 0))
            source = (torch.arange(rows, device=device)[:, None] * width + beam).flatten()
            past = [(keys[source], values[source]) for keys, values in past]
            hidden, past = self.decoder.read(self.decoder.embed(token.flatten())[:, None], past)
        return self._told(tokens)

    def _options(
        self, logits: torch.Tensor, scores: torch.Tensor, banned: torch.Tensor, length: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best ways on, (n, 2 * beams): their scores, the beams they go on from, their tokens."""
        (rows, width), vocabulary = scores.shape, banned.shape[-1]
        options = logits.view(rows, width, vocabulary).log_softmax(-1)
        ending = options[..., self.words.end].clone()
        options = options.masked_fill(banned, float("-inf"))
        if length >= self.settings.min_new_tokens:
            options[..., self.words.end] = ending
        total, flat = (scores[..., None] + options).view(rows, -1).topk(2 * self.settings.beams, -1)
        return total, flat // vocabulary, flat % vocabulary

    def _settle(
        self, total: torch.Tensor, beam: torch.Tensor, token: torch.Tensor, tokens: torch.Tensor, length: int
    ) -> torch.Tensor:
        """Put away what has ended, and say which places (n, beams) go on."""
        beams, end = self.settings.beams, self.words.end
        shrink = (length + 1) ** self.settings.length_penalty
        keep = torch.zeros(len(total), beams, dtype=torch.long)
        ways = zip(total.tolist(), beam.tolist(), token.tolist(), strict=True)
        for row, (values, beam_of, token_of) in enumerate(ways):
            goes_on = [rank for rank in range(2 * beams) if token_of[rank] != end][:beams]
            keep[row] = torch.tensor(goes_on)
            if self.settled[row]:
                continue
            mine = self.finished[row]
            mine += [
                (values[rank] / shrink, tokens[row, beam_of[rank]].tolist())
                for rank in range(beams)
                if token_of[rank] == end
            ]
            # enough answers are whole, and the best open beam scores below the best of them
            self.settled[row] = len(mine) >= beams and max(mine)[0] >= values[goes_on[0]] / shrink
        return keep

    def _told(self, tokens: torch.Tensor) -> list[list[Candidate]]:
        """Best first; a row that never came to an end says what it has, and is sure of nothing."""
        told = []
        for row in range(self.real):
            mine = self.finished[row] or [(float("-inf"), tokens[row, 0].tolist())]
            told.append([Candidate(self.words.decode(ids), score) for score, ids in sorted(mine, reverse=True)])
        return told
