"""Beam search with the small decoder: a batch of prefixes -> for each the answers that were finished, best first.

No sampling; each row is searched by itself and stops on its own, and no word that carries meaning comes twice in an
answer.
"""

from __future__ import annotations

import numpy as np

from mats_model.config import SearchSettings
from mats_model.llm.answering import Candidate
from mats_model.llm.graph_decoder import GraphDecoder
from mats_model.llm.words import Words
from mats_model.threads import side_by_side

# as many as are decoded together: more fill no product better, and would wait for each other
ROWS = 8


def beam_search(
    decoder: GraphDecoder, words: Words, prefix: np.ndarray, prompt: str, settings: SearchSettings
) -> list[list[Candidate]]:
    """prefix (n, p, h) and one prompt -> for each row its finished answers, best first."""
    asked = words.encode(prompt)

    def some(part: np.ndarray) -> list[list[Candidate]]:
        return BeamSearch(decoder, words, settings, len(part)).run(part, asked)

    parts = side_by_side(some, [prefix[at : at + ROWS] for at in range(0, len(prefix), ROWS)])
    return [answers for part in parts for answers in part]


class BeamSearch:
    """The search for `count` rows. Those that are settled leave the others."""

    def __init__(self, decoder: GraphDecoder, words: Words, settings: SearchSettings, count: int) -> None:
        self.decoder, self.words, self.settings = decoder, words, settings
        self.finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]  # of each row: score, tokens

    def run(self, prefix: np.ndarray, prompt: list[int]) -> list[list[Candidate]]:
        """prefix (n, p, h), prompt (t,) -> finished answers of each row."""
        stems, count = self.words.stem, len(prefix)
        rows = np.arange(count)  # those that are still open
        asked = np.broadcast_to(self.decoder.embed(np.array(prompt)), (count, len(prompt), prefix.shape[-1]))
        logits, past = self.decoder.read(np.concatenate([prefix, asked], 1))
        scores, tokens = np.zeros((count, 1), np.float32), np.zeros((count, 1, 0), np.int64)
        banned = np.zeros((count, 1, len(stems)), bool)
        banned[..., self.words.special] = True
        for length in range(self.settings.max_new_tokens):
            total, beam, token = self._options(logits, scores, banned, length)
            keep, open_ = self._settle(rows, total, beam, token, tokens, length)
            if not len(open_):
                return self._told()
            each, keep, width = open_[:, None], keep[open_], tokens.shape[1]
            rows, scores, beam, token = rows[open_], total[each, keep], beam[each, keep], token[each, keep]
            tokens = np.concatenate([tokens[each, beam], token[..., None]], -1)
            stem = stems[token][..., None]
            banned = banned[each, beam] | ((stems == stem) & (stem >= 0))
            source = (each * width + beam).ravel()
            if length + 1 < self.settings.max_new_tokens:
                logits, past = self.decoder.read(self.decoder.embed(token.reshape(-1, 1)), past, source)
        # a row that never came to an end says what it has, and is sure of nothing
        for row, said in zip(rows, tokens[:, 0], strict=True):
            self.finished[row] = self.finished[row] or [(float("-inf"), said.tolist())]
        return self._told()

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
        self, rows: np.ndarray, total: np.ndarray, beam: np.ndarray, token: np.ndarray, tokens: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put away what has ended, and say which places (n, beams) go on, and in which of these rows."""
        beams, end = self.settings.beams, self.words.end
        shrink = (length + 1) ** self.settings.length_penalty
        keep, open_ = np.zeros((len(total), beams), np.int64), []
        ways = zip(rows, total.tolist(), beam.tolist(), token.tolist(), strict=True)
        for place, (row, values, beam_of, token_of) in enumerate(ways):
            goes_on = [rank for rank in range(2 * beams) if token_of[rank] != end][:beams]
            keep[place] = goes_on
            mine = self.finished[row]
            mine += [
                (values[rank] / shrink, tokens[place, beam_of[rank]].tolist())
                for rank in range(beams)
                if token_of[rank] == end
            ]
            # until enough answers are whole, and the best open beam scores below the best of them
            if len(mine) < beams or max(mine)[0] < values[goes_on[0]] / shrink:
                open_.append(place)
        return keep, np.array(open_, np.int64)

    def _told(self) -> list[list[Candidate]]:
        """Best first."""
        return [
            [Candidate(self.words.decode(ids), score) for score, ids in sorted(mine, reverse=True)]
            for mine in self.finished
        ]
