"""A conversation: what was heard answers, the rest is declined or left to a language model, and what nothing supports
is withheld."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLES, noise

from mats_model.audio import AudioSource, source
from mats_model.captions import Turn
from mats_model.errors import InputError, SilenceError, UsageError
from mats_model.live.events import Event, Tags
from mats_model.live.hearing import take
from mats_model.live.talk import Conversation
from mats_model.llm import prompts
from mats_model.llm.prompts import CAPTION_TAG, QUESTION_TAG, Question
from mats_model.mats import Mats


def about(nano: Mats, name: str, **more: bool) -> Conversation:
    chat = Conversation(nano, Tags(nano, nano.santa.name_texts), **more)
    chat.listen_to(take(nano, source(EXAMPLES / f"{name}.ogg")))
    return chat


def ask(chat: Conversation, question: str) -> str:
    return "".join(chat.ask(question))


def test_nano_answers_what_it_heard(nano: Mats) -> None:
    chat = about(nano, "dog")
    assert (
        "dog" in ask(chat, "What do you hear?").lower()
        and chat.last
        and chat.last.kind == "what"
        and chat.last.labels[0].name in ("Bark", "Dog")
    )
    assert ask(chat, "Is there a dog?").startswith("Yes, dog: 0.9") and chat.last.times[0].start == 0.0
    assert ask(chat, "Is it raining?").startswith("No, raining is not heard: 0.0")
    assert ask(chat, "When does the dog bark?").startswith("At 0.0-5.0 s: dog bark, ")
    assert ask(chat, "Is it a cat, a dog or a bell?").startswith("Dog: ")
    assert ask(chat, "a piano or a violin?").startswith("None of them fits; ")
    assert ask(chat, "How long is it?") == "5.0 seconds were heard." and ask(chat, "How loud?").startswith(
        "Its loudest moment is at -9 dB"
    )
    declined = ask(chat, "What is the dog's name?")
    assert declined.startswith("nano cannot say that") and chat.last.kind == "beyond"
    assert [turn.question for turn in chat.turns][:2] == ["What do you hear?", "Is there a dog?"] and len(
        chat.turns
    ) == 9
    # the same question is answered the same
    assert ask(chat, "Is there  a dog? ") == chat.turns[1].answer


def test_times_within_a_recording(nano: Mats) -> None:
    """Rain, then a dog, then rain: the dog is found where it is."""
    parts = [
        soundfile.read(EXAMPLES / f"{name}.ogg", dtype="float32", always_2d=True) for name in ("rain", "dog", "rain")
    ]
    wave = np.concatenate([part[:, :1] for part, _ in parts])
    chat = Conversation(nano)
    chat.listen_to(take(nano, AudioSource("x", samples=wave, sample_rate=parts[0][1])))
    ask(chat, "When does the dog bark?")
    assert chat.last and len(chat.last.times) == 1
    stretch = chat.last.times[0]
    assert 2.4 <= stretch.start <= 5.1 and 9.9 <= stretch.end <= 12.6 and stretch.score > 0.9


def test_silence_is_not_described(nano: Mats) -> None:
    chat = Conversation(nano)
    chat.listen_to(take(nano, AudioSource("mic", samples=noise(3, level=1e-4), sample_rate=32_000), gate=-55))
    assert ask(chat, "What do you hear?").startswith("It is quiet (-") and chat.last and chat.last.kind == "silence"
    assert ask(chat, "Is there a dog?").startswith("It is quiet") and ask(chat, "How long is it?").startswith(
        "3.0 seconds"
    )
    with pytest.raises(SilenceError):
        chat.why()
    # a quiet file is heard all the same: somebody recorded it
    assert take(nano, AudioSource("file", samples=noise(3, level=1e-4), sample_rate=32_000)).embedding is not None


def test_questions_that_are_none(nano: Mats) -> None:
    with pytest.raises(UsageError, match="nothing was heard yet"):
        ask(Conversation(nano), "What is it?")
    chat = about(nano, "dog")
    for question, said in (
        (" ", "there is no question"),
        ("why " * 600, "the question has 2399 letters; at most 2000 are read"),
    ):
        with pytest.raises(UsageError, match=said):
            ask(chat, question)
    assert chat.turns == []
    with pytest.raises(InputError, match=r"nowhere\.wav is not there"):
        take(nano, source(Path("nowhere.wav")))


def test_why(nano: Mats) -> None:
    tags, near = about(nano, "dog").why(4)
    assert (
        tags[0].name in ("Bark", "Dog")
        and len(tags) == len(near) == 4
        and "dog" in near[0][0]
        and near[0][1] >= near[1][1] > 0.3
    )


class Speaker:
    """A language model that says what it is told to, and keeps what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), list[Question]()

    def stream(self, embedding: object, asked: Question) -> Iterator[str]:
        self.asked.append(asked)
        for word in self.answers.pop(0).split(" "):
            yield word + " "


def spoken(
    nano: Mats, monkeypatch: pytest.MonkeyPatch, *answers: str, strict: bool = False
) -> tuple[Conversation, Speaker]:
    speaker, chat = Speaker(*(answer.strip() for answer in answers)), about(nano, "dog", strict=strict)
    chat.free = True
    monkeypatch.setattr(nano, "stream", speaker.stream)
    return chat, speaker


def test_turns_reach_the_language_model(nano: Mats, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, speaker = spoken(nano, monkeypatch, "a dog barks", "yes", "it rains", "nobody")
    assert ask(chat, "What do you hear?") == "A dog barks ." or chat.turns[0].answer.startswith("A dog barks")
    ask(chat, "Is it big?")
    chat.listen_to(take(nano, source(EXAMPLES / "rain.ogg")))
    ask(chat, "And now?")
    # heard a little longer, it is the same sound
    chat.listen_to(chat.hearing, same=True)  # type: ignore[arg-type]
    ask(chat, "Who?")
    assert [(len(asked.history), asked.since) for asked in speaker.asked] == [(0, 0), (1, 0), (2, 2), (3, 2)]
    assert [asked.tag for asked in speaker.asked] == [CAPTION_TAG, QUESTION_TAG, QUESTION_TAG, QUESTION_TAG]
    assert speaker.asked[1].history[0].question == "What do you hear?"
    # what can be measured is measured
    assert ask(chat, "How long is it?").endswith("seconds were heard.") and len(speaker.asked) == 4
    chat.clear()
    assert chat.turns == [] and chat.since == 0


def test_a_stopped_answer_is_no_turn(nano: Mats, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, _ = spoken(nano, monkeypatch, "a dog barks and barks", "yes")
    pieces = chat.ask("What do you hear?")
    assert next(pieces) == "A "
    pieces.close()
    assert chat.turns == [] and chat.last and chat.last.text == "A "
    ask(chat, "Is there a dog?")
    assert len(chat.turns) == 1


def test_strict_withholds_what_nothing_supports(nano: Mats, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = (
        "a dog barks, and an orchestra plays a waltz",
        "yes there is",
        "no",
        "yes",
        "a priest sings in a cathedral",
    )
    chat, _ = spoken(nano, monkeypatch, *answers, strict=True)
    assert (
        ask(chat, "What do you hear?") == "A dog barks."
        and chat.last
        and chat.last.withheld == ["an orchestra plays a waltz"]
    )
    assert ask(chat, "Is there a piano?").startswith("I cannot say so: piano is heard at 0.0")
    assert ask(chat, "Is there a dog?").startswith("I cannot say so: dog is heard at 0.9")
    assert ask(chat, "Is there a dog?") == "Yes."
    assert ask(chat, "Who is there?") == "I cannot say that: nothing that was heard supports it."
    # without it, all is said
    chat, _ = spoken(nano, monkeypatch, answers[0])
    assert "orchestra" in ask(chat, "What do you hear?")


def test_strict_nano_says_tags_where_the_caption_is_unsupported(nano: Mats, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = about(nano, "dog", strict=True)
    assert "dog" in ask(chat, "What is it?").lower()
    monkeypatch.setattr(nano, "answer", lambda embeddings: ["A priest sings in a cathedral."])
    assert (
        re.match(r"Nothing that can be said with confidence\. \((Bark|Dog), ", ask(chat, "What is it?")) and chat.last
    )
    assert chat.last.withheld == ["A priest sings in a cathedral."]


@pytest.mark.parametrize("style", ["paper", "chat"])
def test_any_text_may_be_asked(style: str) -> None:
    """Also the letter that stands for the prefix while a prompt is made, in a question, a turn and its answer."""
    mark = "\u241f"
    asked = Question(f"what is {mark}?", QUESTION_TAG, (Turn(mark, f"it is {mark}{mark}"), Turn("and?", mark)), since=1)
    made = prompts.ask(style, asked, "\n".join)
    whole = f"{made.before}|{made.after}"
    assert made.before.count(mark) == 3 and made.after.count(mark) == 2
    assert "| and?" in whole.replace("</Speech>", "").replace(f"{QUESTION_TAG} ", "")


def test_the_whole_answer_at_once(nano: Mats) -> None:
    chat = Conversation(nano)
    assert chat.hear(EXAMPLES / "dog.ogg").seconds == pytest.approx(5.0, abs=0.01)
    answer = chat.answer("Is there a dog?")
    assert answer is chat.last and answer.kind == "present" and answer.text.startswith("Yes, dog")
    assert answer.times == [Event(0.0, answer.times[0].end, "dog", answer.times[0].score)]
