"""What is asked of the language model, in three styles, and how its answer becomes a sentence.

nano    the small decoder's own marks: <caption>, or <question> ... <answer>
paper   USER: <Speech> prefix </Speech> [task tag] instruction / ASSISTANT:      (MATS, section 3)
chat    the base's own chat template, the prefix at the beginning of the user's turn; no tags
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mats_model.captions import ANSWER, CAPTION, QUESTION

DESCRIBE = "Describe the following audio in a caption."
CAPTION_TAG = "[audio caption]"
QUESTION_TAG = "[audio qa]"
# stands for the prefix while a chat template is written out; no caption holds it
_PLACE = "\u241f"


@dataclass(frozen=True)
class Prompt:
    """Text before and after the prefix."""

    before: str
    after: str


def question_prompt(question: str) -> str:
    """A question about the sound, asked of the small decoder."""
    return f"{QUESTION} {question.strip().lower()} {ANSWER}"


def ask(style: str, tag: str, instruction: str, template: Callable[[str], str] | None = None) -> Prompt:
    """One instruction in a style; `template` writes a user's turn as the base's chat format has it."""
    if style == "nano":
        return Prompt("", CAPTION if not instruction or instruction == CAPTION else question_prompt(instruction))
    if style == "paper":
        text = " ".join(part for part in (tag, instruction) if part)
        return Prompt("USER: <Speech>", f"</Speech> {text}\nASSISTANT:")
    if template is None:
        raise ValueError("the style chat needs the template of a base")
    before, after = template(f"{_PLACE} {instruction}").split(_PLACE)
    return Prompt(before, after)


def sentence(answer: str) -> str:
    """A capital first, a full stop last; the rest is left as the model wrote it."""
    text = " ".join(answer.split()).strip(" ,;")
    return text if not text else text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
