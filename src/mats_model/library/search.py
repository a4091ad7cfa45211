"""What to look for, as vectors -> the moments of a library that are nearest to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mats_model.clap.nano import NanoClap
from mats_model.ears import AudioInput, Ears
from mats_model.english import is_english
from mats_model.errors import ModelError, UsageError
from mats_model.library.records import Matrix
from mats_model.library.store import Library
from mats_model.vectors import floats, largest, long_query, short_floats

# moments are looked at in their order, so many of the best at first
_SPARE = 1000
# windows multiplied at once: what stays in the processor's cache
_BLOCK = 1024
_LONGEST = 1.02  # of a vector of unit length, in float16


@dataclass(frozen=True)
class Moment:
    """A stretch of a sound of the library, in seconds; `score` is its cosine to what was asked for, less what was not
    wanted, `probability` that of the text that was asked for being there, None where there is no one text."""

    sound: int
    start: float
    end: float
    score: float
    probability: float | None = None


@dataclass(frozen=True)
class Query:
    """Unit-length vectors of what is wanted (a, d) and of what is not (b, d).

    `ears` tell how likely one text is to be there, where nothing but that is wanted.
    """

    wanted: np.ndarray
    unwanted: np.ndarray
    ears: Ears | None = None

    def probabilities(self, moments: np.ndarray) -> list[float] | list[None]:
        """Of moments (n, d): that what is wanted is there, whatever is not wanted."""
        if self.ears is None:
            return [None] * len(moments)
        ground = self.ears.background(moments)
        told: list[float] = self.ears.scales.probabilities(moments @ self.wanted[0], ground).tolist()
        return told


def query(mats: Ears, texts: Sequence[str], like: Sequence[AudioInput] = (), unlike: Sequence[str] = ()) -> Query:
    """Errors: UsageError for a text without words, InputError and SilenceError for a sound."""
    for text in (*texts, *unlike):
        if not text.strip():
            raise UsageError("the query is empty: say what to look for, or give a sound like it.")
    vectors = [mats.clap.embed_text([text])[0] for text in texts] + [mats.embed_audio(sound) for sound in like]
    if not vectors:
        raise UsageError("the query is empty: say what to look for, or give a sound like it.")
    return Query(
        np.stack(vectors),
        np.stack([mats.clap.embed_text([text])[0] for text in unlike])
        if unlike
        else np.zeros((0, mats.clap.dim), np.float32),
        mats if len(texts) == 1 and not like else None,
    )


def caution(mats: Ears, text: str) -> str | None:
    """What the encoder can make little of, in words; None where all is well."""
    if not isinstance(mats.clap, NanoClap):
        return None  # the published encoders cut in silence; how much is in their cards
    pieces = mats.clap.text.tokenizer.encode(text, add_special_tokens=False).tokens
    words = len(text.split())
    from mats_model.clap.text import MAX_PIECES

    if len(pieces) > MAX_PIECES:
        return f"of the query's {words} words only the first {MAX_PIECES} pieces are read: say it in a sentence."
    unread = sum(piece == "[UNK]" or (len(piece.removeprefix("##")) == 1 and not piece.isascii()) for piece in pieces)
    if pieces and (unread * 2 > len(pieces) or not is_english(text)):
        return "the encoder was taught in English and may not know this language: try the query in English."
    return None


class Searcher:
    """A library's windows in memory, searched exactly: (windows, d) in float16 is read once for each query."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self.vectors = matrix.vectors

    def scores(self, asked: Query) -> np.ndarray:
        """(windows,): mean cosine to what is wanted, less the largest to what is not, where that is above 0."""
        queries = [long_query(vector) for vector in (asked.wanted.mean(0), *asked.unwanted)]
        score = np.empty(len(self.vectors), np.float32)
        for at in range(0, len(score), _BLOCK):
            block = short_floats(self.vectors[at : at + _BLOCK])
            score[at : at + _BLOCK] = block @ queries[0]
            for unwanted in queries[1:]:
                score[at : at + _BLOCK] -= np.maximum(block @ unwanted, 0.0)
        return score

    def _exact(self, asked: Query, rows: np.ndarray) -> tuple[np.ndarray, list[float] | list[None]]:
        """Scores and probabilities of some windows."""
        vectors = floats(self.vectors[rows])
        if float(np.square(vectors).sum(-1).max()) > _LONGEST**2:
            raise ModelError(
                "the index holds vectors that are not of unit length, which would come first: remove it and build it "
                "again."
            )
        score = vectors @ asked.wanted.mean(0)
        for vector in asked.unwanted:
            score -= np.maximum(vectors @ vector, 0.0)
        return score, asked.probabilities(vectors)

    def best(self, asked: Query, least: float = -2.0) -> Iterator[Moment]:
        """Moments by falling score; one that overlaps a better one of the same sound is left out."""
        if not len(self.vectors):
            return
        rough = self.scores(asked)
        taken: dict[int, list[tuple[float, float]]] = {}
        handled: set[int] = set()
        many = _SPARE
        while len(handled) < len(rough):
            rows = largest(rough, many)
            exact, likely = self._exact(asked, rows)
            order = np.argsort(-exact, kind="stable")
            # the last of them may be out of order with what was not looked at yet
            sure = len(rows) if len(rows) == len(rough) else len(rows) // 2
            for place in order[:sure].tolist():
                row, score = int(rows[place]), float(exact[place])
                if row in handled:
                    continue
                if score < least:
                    return
                handled.add(row)
                sound, (start, end) = int(self.matrix.sounds[row]), self.matrix.times[row].tolist()
                others = taken.setdefault(sound, [])
                if all(end <= first or start >= last for first, last in others):
                    others.append((start, end))
                    yield Moment(sound, start, end, score, likely[place])
            many *= 4


def best_files(moments: Iterator[Moment]) -> Iterator[Moment]:
    """The best moment of each sound only."""
    seen: set[int] = set()
    for moment in moments:
        if moment.sound not in seen:
            seen.add(moment.sound)
            yield moment


@dataclass(frozen=True)
class Hit:
    """A moment, and the sound it is in: all its files by name, its length in seconds, and what is known of it."""

    score: float
    start: float
    end: float
    paths: list[str]
    seconds: float
    caption: str | None
    tags: list[list[Any]] | None  # [name, score]
    probability: float | None = None


def hits(library: Library, moments: Iterable[Moment]) -> list[Hit]:
    """What the library knows of some moments; sounds that left it since are left out."""
    some = list(moments)
    rows = library.rows(moment.sound for moment in some)
    told = []
    for moment in some:
        row = rows.get(moment.sound)
        if row and row["paths"]:
            facts = row["paths"], row["seconds"], row["caption"], row["tags"]
            told.append(Hit(moment.score, moment.start, moment.end, *facts, moment.probability))
    return told
