"""Which examples a step trains on: a pure function of recipe and step, so that a stopped run goes on with the same
draws."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from mats_model.clap.protocol import Clap
from mats_model.errors import UsageError
from mats_model.llm.protocol import LanguageModel, Tokens
from mats_model.training.embeddings import TextCache
from mats_model.training.events import Note
from mats_model.training.recipe import LoopSettings, NoiseSettings
from mats_model.training.sources import CaptionSource, SourceSettings, TextExample

_POOLED = 16  # batches that are sorted by length together, so that little is padded


@dataclass(frozen=True)
class Batch:
    """What a step is taken on."""

    meant: torch.Tensor  # (n, d) text embeddings, unit length
    noise: torch.Tensor  # (n, d) of variance 1, on the CPU, so that it is the same on every device
    tokens: list[Tokens]

    def part(self, at: int, count: int) -> Batch:
        """`count` examples from `at` on."""
        return Batch(self.meant[at : at + count], self.noise[at : at + count], self.tokens[at : at + count])


@dataclass(frozen=True)
class Data:
    """Examples in one row of sources; `rows` (n,) and `fewer` (n,) point into the cache."""

    examples: list[TextExample]
    tokens: list[Tokens]
    rows: np.ndarray
    fewer: np.ndarray  # the same text told by some of its words
    starts: list[int]  # first example of each source, and the end
    sources: list[SourceSettings]
    cache: TextCache
    odds: np.ndarray | None = None  # (n,) of an example within its source, where they are not all alike

    def batch(self, at: int, count: int, generator: torch.Generator) -> Batch:
        """`count` examples from `at` on, as they are."""
        meant = self.cache.vectors(self.rows[at : at + count])
        return Batch(meant, torch.randn(meant.shape, generator=generator), self.tokens[at : at + count])

    def fingerprint(self) -> str:
        """Of all text, in order."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(f"{example.text}\0{example.tag}\0{example.instruction}\0{example.answer}\0".encode())
            if example.history:
                digest.update(repr((example.history, example.since)).encode())
        return digest.hexdigest()[:16]


def some_words(text: str, keep: float, seed: int) -> str:
    """Each word is kept with odds `keep`; a text that would lose every word keeps them all."""
    words = text.split()
    draws = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")]).random(
        len(words)
    )
    return " ".join(word for word, draw in zip(words, draws, strict=True) if draw < keep) or text


def split(source: CaptionSource, share: float, most: int) -> tuple[list[TextExample], list[TextExample]]:
    """To train on, and held out: by a hash of the text, so that a caption is on one side only, in whatever file it
    stands."""

    def out(example: TextExample) -> bool:
        return int.from_bytes(hashlib.sha256(example.text.encode()).digest()[:4], "big") < share * 2**32

    return [example for example in source.examples if not out(example)], [
        example for example in source.examples if out(example)
    ][:most]


def encode(
    parts: list[tuple[list[TextExample], SourceSettings]],
    llm: LanguageModel,
    clap: Clap,
    cache: TextCache,
    noise: NoiseSettings,
    settings: LoopSettings,
    names: torch.Tensor | None = None,
) -> Generator[Note, None, Data]:
    """Tokenize everything and compute the embeddings that are missing; yields what to say and returns the data."""
    examples = [example for part, _ in parts for example in part]
    starts = np.cumsum([0, *(len(part) for part, _ in parts)]).tolist()
    tokens = [llm.encode(example.asked, example.answer) for example in examples]
    end = [t.answer[-1] for t in tokens[:1]]
    tokens = [
        t
        if len(t.answer) <= settings.max_answer_tokens
        else Tokens(t.before, t.after, t.answer[: settings.max_answer_tokens - 1] + end)
        for t in tokens
    ]
    texts = [example.text for example in examples]
    fewer = [some_words(text, noise.keep, settings.seed) for text in texts] if noise.keywords else texts
    wanted = list(dict.fromkeys([*texts, *fewer]))
    for done in cache.fill(wanted, clap.embed_text):
        if len(wanted) > 10_000:
            yield Note(f"{done} of {len(wanted)} texts embedded")
    data = Data(
        examples, tokens, cache.index(texts), cache.index(fewer), starts, [source for _, source in parts], cache
    )
    return (
        replace(data, odds=_even_odds(data, names))
        if names is not None and any(source.even for source in data.sources)
        else data
    )


def _even_odds(data: Data, names: torch.Tensor) -> np.ndarray:
    """(n,): by how many examples of the source have the same nearest class name; names are (c, d)."""
    near = np.concatenate(
        [
            (data.cache.vectors(data.rows[at : at + 8192]) @ names.T).argmax(-1).numpy()
            for at in range(0, len(data.rows), 8192)
        ]
    )
    odds = np.ones(len(near))
    for first, end, source in zip(data.starts, data.starts[1:], data.sources, strict=False):
        odds[first:end] = np.bincount(near[first:end])[near[first:end]] ** -source.even
    return odds


def _stretches(sources: list[SourceSettings], steps: int) -> Iterator[tuple[torch.Tensor, int]]:
    """The odds of the sources, and for how many steps they hold. Errors: UsageError when at some step none is drawn."""
    turns = sorted({round(share * steps) for source in sources for share in (source.begin, source.end)} | {0, steps})
    for first, last in itertools.pairwise(turns):
        odds = torch.tensor(
            [
                each.ratio if round(each.begin * steps) <= first and last <= round(each.end * steps) else 0.0
                for each in sources
            ]
        )
        if not odds.any():
            raise UsageError(f"no source is drawn between steps {first} and {last}: change begin or end of one.")
        yield odds, last - first


class Plan:
    """Step -> source and rows: each step takes its whole batch from one source, drawn by ratio; each source goes
    through its examples in passes, in an order of its own for each pass, batches of like length together."""

    def __init__(self, data: Data, settings: LoopSettings) -> None:
        self.data, self.settings = data, settings
        generator = torch.Generator().manual_seed(settings.seed)
        self.source_of = torch.cat(
            [
                torch.multinomial(odds, count, replacement=True, generator=generator)
                for odds, count in _stretches(data.sources, settings.steps)
            ]
        )
        self.turn_of = torch.zeros(settings.steps, dtype=torch.long)
        for source in range(len(data.sources)):
            mine = self.source_of == source
            self.turn_of[mine] = torch.arange(int(mine.sum()))
        self._orders: dict[int, tuple[int, list[np.ndarray]]] = {}

    def _pass(self, rng: np.random.Generator, first: int, end: int) -> np.ndarray:
        """All examples of a source once, or as many drawn by their odds."""
        if self.data.odds is None:
            return rng.permutation(end - first)
        odds = self.data.odds[first:end]
        return rng.choice(end - first, end - first, p=odds / odds.sum())

    def _batches(self, source: int, number: int) -> list[np.ndarray]:
        known = self._orders.get(source)
        if known and known[0] == number:
            return known[1]
        first, end, batch = self.data.starts[source], self.data.starts[source + 1], self.settings.batch
        rng = np.random.default_rng([self.settings.seed, source, number])
        order = first + self._pass(rng, first, end)
        while len(order) < batch:
            order = np.concatenate([order, first + self._pass(rng, first, end)])
        order = order[: len(order) // batch * batch]
        lengths = np.array([len(self.data.tokens[row]) for row in order])
        made: list[np.ndarray] = []
        for at in range(0, len(order), batch * _POOLED):
            part = slice(at, at + batch * _POOLED)
            ranked = order[part][np.argsort(lengths[part], kind="stable")]
            made += list(ranked.reshape(-1, batch))
        made = [made[place] for place in rng.permutation(len(made))]
        self._orders[source] = (number, made)
        return made

    def rows(self, step: int) -> np.ndarray:
        """Examples (batch,) of a step, from short to long."""
        source, turn = int(self.source_of[step]), int(self.turn_of[step])
        count = self.data.starts[source + 1] - self.data.starts[source]
        each = max(1, count // self.settings.batch)
        return self._batches(source, turn // each)[turn % each]


class Draw:
    """Step -> batch; words, tags and noise are drawn afresh at each step and the same at each run."""

    def __init__(self, data: Data, plan: Plan, noise: NoiseSettings, names: torch.Tensor | None) -> None:
        self.data, self.plan, self.noise, self.names = data, plan, noise, names

    def __call__(self, step: int) -> Batch:
        rows = self.plan.rows(step)
        generator = torch.Generator().manual_seed(self.plan.settings.seed * 1_000_003 + step)
        some = torch.rand(len(rows), generator=generator).numpy() < self.noise.keywords
        meant = self.data.cache.vectors(np.where(some, self.data.fewer[rows], self.data.rows[rows]))
        if self.names is not None:
            told = torch.rand(len(rows), generator=generator) < self.noise.tags
            meant[told] = tell_as_tags(meant[told], self.names)
        noise = torch.randn(meant.shape, generator=generator)
        return Batch(meant, noise, [self.data.tokens[row] for row in rows])


def tell_as_tags(embedding: torch.Tensor, names: torch.Tensor, sharpness: float = 8.0, top: int = 8) -> torch.Tensor:
    """(n, d) -> (n, d): each text told again as a blend of the class names (c, d) nearest to it.

    This is the form in which the audio tower of nano speaks, so the decoder learns it from text alone.
    """
    weight, which = (embedding @ names.T).topk(min(top, len(names)), -1)
    blended = (weight.mul(sharpness).softmax(-1)[..., None] * names[which]).sum(-2)
    return F.normalize(blended, dim=-1)
