"""Questions about recordings, by the token rule that MMAU and MMAR publish: an answer is right that holds every word of
the right option and none that only wrong options have.

A model that answers freely is asked with the options in their order, in every other turn of it, and without the sound.
nano, whose answers are scores, chooses the option nearest to the sound: order and silence have no meaning there.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from mats_model.audio import AudioSource
from mats_model.evaluate.examples import Example
from mats_model.evaluate.hearing import hear
from mats_model.evaluate.intervals import Statistic, mean_of
from mats_model.evaluate.task import Record, Task, record_of
from mats_model.live.hearing import Hearing, take
from mats_model.live.talk import Conversation
from mats_model.llm.prompts import QUESTION_TAG, Question, sentence

_YES_NO = ["yes", "no"]
_TURNS = 4  # orders of the options that are tried at most
ASKED = "{question} Choose one: {options}."


class AnswerTask(Task):
    """Records hold the answer in the official order first, then the other turns, then the one without the sound."""

    name = "answers"
    words_needed = True

    @property
    def free(self) -> bool:
        """Whether the language model answers questions of any form."""
        assert self.mats is not None
        return self.mats.config.llm.kind != "decoder" and self.mats.config.llm.prompt != "none"

    def hear(self, sound: AudioSource) -> Any:
        assert self.mats is not None
        return hear(self.ears, sound) if self.free else take(self.mats, sound)

    def records(self, some: list[tuple[Any, list[Example]]]) -> list[list[Record]]:
        return [[self._record(heard, one) for one in examples] for heard, examples in some]

    def _record(self, heard: Any, one: Example) -> Record:
        question, options = one.truth["question"], one.truth["options"]
        made = record_of(one, question=question, answer=one.truth["answer"], options=options)
        if "category" in one.truth:
            made["category"] = one.truth["category"]
        if heard.embedding is None:
            return {**made, "said": [""]}
        if not self.free:
            return {**made, "said": [self._scored(heard, question, options)]}
        turns = [options[at:] + options[:at] for at in range(min(len(options), _TURNS))] or [[]]
        made["said"] = [self._free(heard.embedding, asked(question, turn)) for turn in turns]
        return {**made, "without_audio": self._guess(heard.embedding, asked(question, options))}

    def _free(self, embedding: Any, text: str) -> str:
        assert self.mats is not None
        return self.mats.answer(embedding[None], text, self.settings.tag)[0]

    def _guess(self, embedding: np.ndarray, text: str) -> str:
        """What the language model says where it hears nothing: its prefix without a position."""
        assert self.mats is not None
        nothing = self.mats.hear(embedding[None])[:, :0]
        found = self.mats.llm.answers(
            nothing, Question(text, self.settings.tag or QUESTION_TAG), self.mats.config.search
        )
        return sentence(found[0][0].text)

    def _scored(self, heard: Hearing, question: str, options: list[str]) -> str:
        assert self.mats is not None and heard.embedding is not None
        if options:
            scores = self.mats.score(heard.embedding, self.mats.label_embeddings(options))
            return options[int(scores.argmax())]
        talk = Conversation(self.mats)
        talk.listen_to(heard)
        return "".join(talk.ask(question))

    def protocol(self) -> dict[str, Any]:
        rule = "right where every word of the answer is said and no word that only other options have"
        if self.free:
            tag = self.settings.tag or QUESTION_TAG
            return {"rule": rule, "prompt": ASKED, "tag": tag, "turns": f"{_TURNS} at most"}
        way = "none: the option nearest to the sound is taken; a question without options is asked as in a chat"
        return {"rule": rule, "prompt": way}


def asked(question: str, options: list[str]) -> str:
    """The words of a question with its options."""
    return ASKED.format(question=question, options="; ".join(options)) if options else question


def right(answer: str, said: str, options: list[str]) -> bool:
    """The token rule; a yes or no without options has the other for its wrong option."""
    words, wanted = _words(said), _words(answer)
    others = options or (_YES_NO if answer.lower() in _YES_NO else [])
    wrong = set().union(*(_words(option) - wanted for option in others))
    return bool(words) and wanted <= words and not words & wrong


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def chosen(said: str, options: list[str]) -> int:
    """The place of the one option that an answer means by the rule, or -1."""
    found = [place for place, option in enumerate(options) if right(option, said, options)]
    return found[0] if len(found) == 1 else -1


def statistics(records: list[Record], protocol: dict[str, Any]) -> dict[str, Statistic]:
    """Accuracy as published, and beside it over the other orders, the share of questions for which all orders choose
    the same, and without the sound."""
    found = {"accuracy": mean_of([right(row["answer"], row["said"][0], row["options"]) for row in records])}
    turned = [row for row in records if len(row["said"]) > 1]
    if turned:
        each = [[right(row["answer"], said, row["options"]) for said in row["said"]] for row in records]
        found["accuracy_permuted"] = mean_of([float(np.mean(some)) for some in each])
        found["consistency"] = mean_of([_same(row) for row in records])
    if any("without_audio" in row for row in records):
        guesses = [
            right(row["answer"], row["without_audio"], row["options"]) if "without_audio" in row else np.nan
            for row in records
        ]
        found["accuracy_without_audio"] = mean_of(guesses)
    with_options = [1 / len(row["options"]) if row["options"] else np.nan for row in records]
    if np.isfinite(with_options).any():
        found["chance"] = mean_of(with_options)
    return found


def _same(row: Record) -> float:
    """NaN where there is one order only."""
    places = [chosen(said, row["options"]) for said in row["said"]]
    return float("nan") if len(places) < 2 else float(len(set(places)) == 1 and places[0] >= 0)


def tables(records: list[Record], protocol: dict[str, Any]) -> dict[str, Any]:
    """Per category, where the questions have one."""
    hits: dict[str, list[bool]] = {}
    for row in records:
        if "category" in row:
            hits.setdefault(row["category"], []).append(right(row["answer"], row["said"][0], row["options"]))
    rows = [
        {"label": name, "count": len(some), "accuracy": round(float(np.mean(some)), 6)}
        for name, some in sorted(hits.items())
    ]
    return {"per_class": rows} if rows else {}
