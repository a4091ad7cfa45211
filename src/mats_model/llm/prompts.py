"""What is asked of the language model, in four styles, and how its answer becomes a sentence.

nano    the small decoder's own marks: <caption>, or <question> ... <answer>
paper   USER: <Speech> prefix </Speech> [task tag] instruction / ASSISTANT:      (MATS, section 3)
chat    the base's own chat template, the prefix at the beginning of the user's turn; no tags
none    the prefix and no text at all: a caption is all that can be asked for

In a conversation the prefix stands in the first turn about the sound; turns about an earlier one come before it, as
text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mats_model.captions import ANSWER, CAPTION, QUESTION, Turn
from mats_model.errors import UsageError

DESCRIBE = "Describe the following audio in a caption."
CAPTION_TAG = "[audio caption]"
QUESTION_TAG = "[audio qa]"
# stands for the prefix while a chat template is written out; repeated where a text holds it
_PLACE = "\u241f"
_ANOTHER = "Now another sound:"


@dataclass(frozen=True)
class Question:
    """What is asked: "" asks for a caption. Turns of `history` come before it; those from `since` on are about the same
    sound.

    The small decoder knows two tasks, no tags and no history.
    """

    text: str = ""
    tag: str = ""
    history: tuple[Turn, ...] = ()
    since: int = 0


@dataclass(frozen=True)
class Prompt:
    """Text before and after the prefix."""

    before: str
    after: str


def is_caption(tag: str) -> bool:
    """Whether a task tag asks for a caption, of whatever set: [audio caption clotho]."""
    return tag.startswith(CAPTION_TAG.rstrip("]"))


def question_prompt(question: str) -> str:
    """A question about the sound, asked of the small decoder."""
    return f"{QUESTION} {question.strip().lower()} {ANSWER}"


def ask(style: str, asked: Question, template: Callable[[list[str]], str] | None = None) -> Prompt:
    """A question in a style; `template` writes the turns of user and assistant as the base's chat format has them.

    Errors: UsageError for a question to a model that was taught none.
    """
    if style == "none":
        if asked.text or asked.history:
            raise UsageError("this model only captions, it was taught no questions: take the model mini to ask one.")
        return Prompt("", "")
    if style == "nano":
        return Prompt("", question_prompt(asked.text) if asked.text else CAPTION)
    users = [turn.question for turn in asked.history] + [asked.text or DESCRIBE]
    said = [turn.answer for turn in asked.history]
    place = _PLACE
    while any(place in text for text in (*users, *said)):
        place += _PLACE
    if style == "paper":
        users = [" ".join(part for part in (asked.tag, each) if part) for each in users]
        heard = f"<Speech>{place}</Speech>"
    else:
        heard = f"{_ANOTHER} {place}" if asked.since else place
    users[asked.since] = f"{heard} {users[asked.since]}"
    if style == "paper":
        text = "".join(f"USER: {user}\nASSISTANT: {answer}\n" for user, answer in zip(users, said, strict=False))
        before, after = f"{text}USER: {users[-1]}\nASSISTANT:".split(place)
        return Prompt(before, after)
    if template is None:
        raise ValueError("the style chat needs the template of a base")
    turns = [text for pair in zip(users, said, strict=False) for text in pair]
    before, after = template([*turns, users[-1]]).split(place)
    return Prompt(before, after)


def sentence(answer: str) -> str:
    """A capital first, a full stop last; the rest is left as the model wrote it."""
    text = " ".join(answer.split()).strip(" ,;")
    return text if not text else text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
