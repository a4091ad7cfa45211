"""What is asked of the language model, and how its answer becomes a sentence."""

from __future__ import annotations

from mats_model.captions import ANSWER, CAPTION, QUESTION


def caption_prompt() -> str:
    """Describe the sound."""
    return CAPTION


def question_prompt(question: str) -> str:
    """Answer a question about the sound."""
    return f"{QUESTION} {question.strip().lower()} {ANSWER}"


def sentence(answer: str) -> str:
    """A capital first, a full stop last; the rest is left as the model wrote it."""
    text = " ".join(answer.split()).strip(" ,;")
    return text if not text else text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
