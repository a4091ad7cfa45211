"""Beam search with the small decoder: a batch of prefixes -> for each the answers that were finished, best first.

No sampling; each row stops on its own, and no word that carries meaning comes twice in an answer.
"""

from __future__ import annotations

import numpy as np

from mats_model.config import SearchSettings
from mats_model.llm.answering import Candidate
from mats_model.llm.numpy_decoder import NumpyDecoder
from mats_model.llm.words import Words
from mats_model.threads import side_by_side

# rows are always decoded this many at a time, so that an answer never depends on its neighbours
ROWS = 4


def beam_search(
    decoder: NumpyDecoder, words: Words, prefix: np.ndarray, prompt: str, settings: SearchSettings
) -> list[list[Candidate]]:
    """prefix (n, p, h) and one prompt -> for each row its finished answers, best first."""
    asked = words.encode(prompt)

    def some(part: np.ndarray) -> list[list[Candidate]]:
        filled = np.concatenate([part, np.zeros((ROWS - len(part), *part.shape[1:]), np.float32)])
        return BeamSearch(decoder, words, settings, len(part)).run(filled, asked)

    parts = side_by_side(some, [prefix[at : at + ROWS] for at in range(0, len(prefix), ROWS)])
    return [answers for part in parts for answers in part]


class BeamSearch:
    """The search for one batch, of which the first `real` rows are asked for."""

    def __init__(self, decoder: NumpyDecoder, words: Words, settings: SearchSettings, real: int) -> None:
        self.decoder, self.words, self.settings, self.real = decoder, words, settings, real
        self.finished: list[list[tuple[float, list[int]]]] = []  # of each row: score, tokens
        self.settled: list[bool] = []

    def run(self, prefix: np.ndarray, prompt: list[int]) -> list[list[Candidate]]:
        """prefix (n, p, h), prompt (t,) -> finished answers of the rows that are asked for."""
        rows, stems = len(prefix), self.words.stem
        self.finished = [[] for _ in range(rows)]
        # the others are settled from the start, and a settled row takes no more answers while it waits
        self.settled = [row >= self.real for row in range(rows)]
        asked = np.broadcast_to(self.decoder.embed(np.array(prompt)), (rows, len(prompt), prefix.shape[-1]))
        hidden, past = self.decoder.read(np.concatenate([prefix, asked], 1))
        scores, tokens = np.zeros((rows, 1), np.float32), np.zeros((rows, 1, 0), np.int64)
        banned = np.zeros((rows, 1, len(stems)), bool)
        banned[..., self.words.special] = True
        each = np.arange(rows)[:, None]
        for length in range(self.settings.max_new_tokens):
            total, beam, token = self._options(self.decoder.logits(hidden[:, -1]), scores, banned, length)
            keep = self._settle(total, beam, token, tokens, length)
            if all(self.settled):
                break
            scores, beam, token = total[each, keep], beam[each, keep], token[each, keep]
            width = tokens.shape[1]
            tokens = np.concatenate([tokens[each, beam], token[..., None]], -1)
            stem = stems[token][..., None]
            banned = banned[each, beam] | ((stems == stem) & (stem >= 0))
            source = (each * width + beam).ravel()
            past = [(keys[source], values[source]) for keys, values in past]
            hidden, past = self.decoder.read(self.decoder.embed(token.reshape(-1, 1)), past)
        return self._told(tokens)

    def _options(
        self, logits: np.ndarray, scores: np.ndarray, banned: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best ways on, (n, 2 * beams): their scores, the beams they go on from, their tokens."""
        (rows, width), vocabulary, many = scores.shape, banned.shape[-1], 2 * self.settings.beams
        options = logits.reshape(rows, width, vocabulary)
        most = options.max(-1, keepdims=True)
        # log-probabilities, on top of what each beam has
        options = options - (most + np.log(np.exp(options - most).sum(-1, keepdims=True)) - scores[..., None])
        ending = options[..., self.words.end].copy()
        options[banned] = -np.inf
        if length >= self.settings.min_new_tokens:
            options[..., self.words.end] = ending
        flat = options.reshape(rows, -1)
        best = np.argpartition(-flat, many - 1, axis=-1)[:, :many]
        # the likeliest first, of equal ones the earlier
        best.sort(-1)
        total = np.take_along_axis(flat, best, -1)
        order = np.argsort(-total, -1, kind="stable")
        best, total = np.take_along_axis(best, order, -1), np.take_along_axis(total, order, -1)
        return total, best // vocabulary, best % vocabulary

    def _settle(
        self, total: np.ndarray, beam: np.ndarray, token: np.ndarray, tokens: np.ndarray, length: int
    ) -> np.ndarray:
        """Put away what has ended, and say which places (n, beams) go on."""
        beams, end = self.settings.beams, self.words.end
        shrink = (length + 1) ** self.settings.length_penalty
        keep = np.zeros((len(total), beams), np.int64)
        ways = zip(total.tolist(), beam.tolist(), token.tolist(), strict=True)
        for row, (values, beam_of, token_of) in enumerate(ways):
            goes_on = [rank for rank in range(2 * beams) if token_of[rank] != end][:beams]
            keep[row] = goes_on
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

    def _told(self, tokens: np.ndarray) -> list[list[Candidate]]:
        """Best first; a row that never came to an end says what it has, and is sure of nothing."""
        told = []
        for row in range(self.real):
            mine = self.finished[row] or [(float("-inf"), tokens[row, 0].tolist())]
            told.append([Candidate(self.words.decode(ids), score) for score, ids in sorted(mine, reverse=True)])
        return told
