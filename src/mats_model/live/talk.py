"""A conversation about a sound: what was heard answers where it can, the language model where it must.

A small decoder, or a model that only captions, answers what its scores and captions know, and declines the rest; a
larger model answers all, in the light of the turns before. With `strict` nothing is said that no window supports.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np

from mats_model.audio import source
from mats_model.captions import Turn
from mats_model.ears import AudioInput
from mats_model.english import unknown
from mats_model.errors import SilenceError, UsageError
from mats_model.labels import Label, none_fits, ranked
from mats_model.live.events import Event, Tags, events
from mats_model.live.hearing import Hearing, take
from mats_model.live.questions import Asked, understand
from mats_model.live.tape import Tape
from mats_model.llm.prompts import CAPTION_TAG, QUESTION_TAG, Question
from mats_model.mats import Mats
from mats_model.summary import clock

YES, PERHAPS = 0.5, 0.3  # probabilities from which a thing is there, or may be
LONGEST = 2000  # letters of a question
_PARTS = re.compile(r"(?<=[.!?;])\s+|,? (?:and|while|as|then|with|followed by|before) |, ")


@dataclass
class Answer:
    """What was said, and why; `kind` is that of the question, or silence, or model where the language model spoke
    freely."""

    question: str
    kind: str
    text: str = ""
    labels: list[Label] = field(default_factory=list)
    times: list[Event] = field(default_factory=list)  # when the thing that was asked for was heard
    withheld: list[str] = field(default_factory=list)  # statements that no window supports


class Conversation:
    """`hear` a sound, then `ask`; the answer comes piece by piece and is kept in `last`.

    `tags` name what is heard in answers to "what is it?"; with `strict` nothing is said that no window supports.
    """

    def __init__(self, mats: Mats, tags: Tags | None = None, strict: bool = False) -> None:
        self.mats, self.tags, self.strict = mats, tags, strict
        self.free = mats.config.llm.kind != "decoder" and mats.config.llm.prompt != "none"
        self.hearing: Hearing | None = None
        self.tape = Tape(mats, [], 0.0)
        self.turns: list[Turn] = []
        self.since = 0  # first turn about this sound
        self.last: Answer | None = None

    def hear(self, sound: AudioInput, gate: float | None = None) -> Hearing:
        """Talk about a sound from now on; below `gate` (dB) it is silent. Errors: InputError."""
        hearing = take(self.mats, source(sound), gate)
        self.listen_to(hearing)
        return hearing

    def listen_to(self, hearing: Hearing, same: bool = False) -> None:
        """Talk about this from now on; `same` where it is the sound of before, heard a little longer."""
        self.hearing = hearing
        trusted = (lambda caption: self.support(caption) >= PERHAPS) if self.strict else None
        self.tape = Tape(self.mats, hearing.stretches or hearing.windows, hearing.seconds, trusted)
        if not same:
            self.since = len(self.turns)

    def clear(self) -> None:
        """Forget what was said."""
        self.turns, self.since, self.last = [], 0, None

    def ask(self, question: str) -> Generator[str, None, None]:
        """The answer in pieces. Errors: UsageError, when nothing was heard yet or the question is no question."""
        question = " ".join(question.split())
        if not question:
            raise UsageError("there is no question: ask something.")
        if len(question) > LONGEST:
            raise UsageError(f"the question has {len(question)} letters; at most {LONGEST} are read.")
        if self.hearing is None:
            raise UsageError("nothing was heard yet: let it hear a sound first.")
        asked = understand(question)
        self.last = answer = Answer(question, asked.kind)
        for piece in self._pieces(asked, answer):
            answer.text += piece
            yield piece
        self.turns.append(Turn(question, answer.text))

    def answer(self, question: str) -> Answer:
        """The whole answer at once. Errors: those of `ask`."""
        for _ in self.ask(question):
            pass
        assert self.last is not None
        return self.last

    # ---- who answers

    def _pieces(self, asked: Asked, answer: Answer) -> Iterator[str]:
        hearing = self.hearing
        assert hearing is not None
        if asked.kind == "loud":
            yield f"Its loudest moment is at {hearing.level:.0f} dB (0 is full scale)."
        elif asked.kind == "long":
            yield f"{hearing.seconds:.1f} seconds were heard."
        elif hearing.embedding is None:
            answer.kind = "silence"
            yield f"It is quiet ({hearing.level:.0f} dB): there is nothing to be heard."
        elif timed := self._timed(asked, answer, hearing):
            yield timed
        elif self.free:
            yield from self._model(asked, answer, hearing.embedding)
        elif strange := unknown(asked.things):
            yield f"{strange[0].capitalize()!r} is no word that I know: ask in English."
        elif asked.kind in ("what", "sounds", "summary"):
            yield from self._what(answer, hearing.embedding)
        elif asked.kind in ("present", "when"):
            yield from self._present(asked, answer)
        elif asked.kind == "which":
            yield from self._which(asked, answer, hearing.embedding)
        else:
            yield (
                f"{self.mats.config.name} cannot say that: it answers what is heard, whether a thing is there (is "
                "there a dog?), when,"
                " and which of several it is (a dog or a cat?)."
            )

    def _timed(self, asked: Asked, answer: Answer, hearing: Hearing) -> str:
        """What a question about time, or about a long recording as a whole, is answered from its stretches; "" for
        another one."""
        if asked.kind == "during":
            return self.tape.during(*asked.during)
        if asked.kind == "often" and not unknown(asked.things):
            return self._often(asked.things[0], answer)
        if not hearing.stretches:
            return ""
        if asked.kind == "sounds":
            return self.tape.sounds()
        return self.tape.summary() if asked.kind in ("what", "summary") else ""

    def _often(self, thing: str, answer: Answer) -> str:
        found = self.where(thing)
        answer.times = [each for each in found if each.score >= YES]
        if not answer.times:
            return f"Perhaps {_times(found)}: {thing}." if found else f"Never: {thing} is not heard."
        return f"{_times(answer.times).capitalize()}: {thing}."

    def _what(self, answer: Answer, embedding: np.ndarray) -> Iterator[str]:
        answer.labels = self.tags.best(embedding, 4) if self.tags else []
        caption = self.mats.answer(embedding[None])[0]
        if self.strict and self.support(caption) < PERHAPS:
            answer.withheld.append(caption)
            yield "Nothing that can be said with confidence."
        else:
            yield caption
        if answer.labels:
            yield f" ({', '.join(label.name for label in answer.labels)})"

    def _present(self, asked: Asked, answer: Answer) -> Iterator[str]:
        thing = asked.things[0]
        answer.times = self.where(thing)
        best = self.scores([thing])[:, 0].max()
        answer.labels = [Label(thing, float(best))]
        where = ", ".join(f"{each.start:.1f}-{each.end:.1f} s" for each in answer.times[:6])
        where += f" and {len(answer.times) - 6} times more" if len(answer.times) > 6 else ""
        if best >= YES:
            yield (
                f"At {where}: {thing}, {best:.2f}." if asked.kind == "when" else f"Yes, {thing}: {best:.2f} at {where}."
            )
        elif best >= PERHAPS:
            yield f"Perhaps at {where}: {thing}, no more than {best:.2f}."
        else:
            yield f"No, {thing} is not heard: {best:.2f} at most."

    def _which(self, asked: Asked, answer: Answer, embedding: np.ndarray) -> Iterator[str]:
        things = list(asked.things)
        shares = self.mats.score(embedding, self.mats.label_embeddings(things))
        answer.labels = labels = ranked(things, shares, self.scores(things).max(0))
        best = labels[0]
        rest = ", ".join(f"{label.name} {label.score:.2f}" for label in labels[1:])
        if none_fits(labels):
            yield f"None of them fits; {best.name} is nearest, with a probability of {best.probability:.2f}."
        else:
            yield (
                f"{best.name.capitalize()}: {best.score:.2f}, against {rest}; that it is there: {best.probability:.2f}."
            )

    def _model(self, asked: Asked, answer: Answer, embedding: np.ndarray) -> Iterator[str]:
        answer.kind = "model"
        tag = (
            CAPTION_TAG
            if asked.kind in ("what", "sounds", "summary") and not self.turns[self.since :]
            else QUESTION_TAG
        )
        pieces = self.mats.stream(embedding, Question(answer.question, tag, tuple(self.turns), self.since))
        if self.strict:
            yield self._supported(asked, answer, "".join(pieces))
            return
        last = ""
        for piece in pieces:
            yield piece if last else piece[:1].upper() + piece[1:]
            last = piece
        if last and last[-1] not in ".!?":
            yield "."

    # ---- what supports it

    def scores(self, things: list[str]) -> np.ndarray:
        """(windows, things): the probability of each in each window, 0 where that is silent. Errors: SilenceError."""
        if self.hearing is None or self.hearing.embedding is None:
            raise SilenceError("nothing is heard.")
        vectors = self.mats.label_embeddings(things)
        rows = [
            np.zeros(len(things), np.float32)
            if window.embedding is None
            else self.mats.score(window.embedding, vectors, multi=True)
            for window in self.hearing.windows
        ]
        # the whole may be surer than any part
        return np.stack([*rows, self.mats.score(self.hearing.embedding, vectors, multi=True)])

    def where(self, thing: str, least: float = PERHAPS) -> list[Event]:
        """When it may be heard, by time; of the whole where no single window is sure. Errors: SilenceError."""
        *rows, whole = self.scores([thing]).tolist()
        assert self.hearing is not None
        found = events(self.hearing.windows, rows, [thing], least)
        return found or ([Event(0.0, self.hearing.seconds, thing, whole[0])] if whole[0] >= least else [])

    def support(self, statement: str) -> float:
        """The probability of a statement in the window that fits it best."""
        return float(self.scores([statement]).max())

    def _supported(self, asked: Asked, answer: Answer, said: str) -> str:
        """What of an answer some window supports; the rest is withheld, and said to be."""
        if asked.kind == "present":
            thing, sure = asked.things[0], self.support(asked.things[0])
            yes = re.match(r"\W*yes\b", said.lower()) is not None
            if (yes and sure < PERHAPS) or (not yes and sure >= YES):
                answer.withheld.append(said)
                return f"I cannot say so: {thing} is heard at {sure:.2f}."
            return _sentence(said)
        kept = []
        for part in statements(said):
            if self.support(part) >= PERHAPS:
                kept.append(part)
            else:
                answer.withheld.append(part)
        return _sentence(", ".join(kept)) if kept else "I cannot say that: nothing that was heard supports it."

    def why(self, count: int = 5) -> tuple[list[Label], list[tuple[str, float]]]:
        """Tags with their probabilities, and the memory's captions nearest to the sound. Errors: SilenceError;
        UsageError."""
        if self.hearing is None or self.hearing.embedding is None:
            raise SilenceError("nothing is heard.")
        tags = self.tags.best(self.hearing.embedding, count, 0.0) if self.tags else []
        return tags, self.mats.santa.near_texts(self.hearing.embedding, count)


def statements(said: str) -> list[str]:
    """What an answer says, part by part."""
    return [part for part in (part.strip(" .,;") for part in _PARTS.split(said)) if part]


def _times(found: list[Event]) -> str:
    """How many, and when."""
    when = ", ".join(f"{clock(each.start)}-{clock(each.end)}" for each in found[:6])
    count = "once" if len(found) == 1 else "twice" if len(found) == 2 else f"{len(found)} times"
    return f"{count}, at {when}" + (f" and {len(found) - 6} more" if len(found) > 6 else "")


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text[-1:] in ".!?" else ".")
