"""Questions, and what a small model may answer."""

from __future__ import annotations

import pytest

from mats_model.live.questions import KINDS, Asked, understand


@pytest.mark.parametrize(
    "question",
    """What do you hear?|what is this|What's that sound?|Describe the sound.|What's happening?|What is going on here?
    |what animal is it?
    |What else?|Please tell me what you hear|What kind of music is this?|What are you hearing?|what was that noise
    |What can you hear in the background?|What is it?|What instruments are playing?|Caption this""".split("|"),
)
def test_descriptions(question: str) -> None:
    assert understand(question) == Asked("what")


@pytest.mark.parametrize(
    ("question", "thing"),
    [
        ("Is there a dog?", "dog"),
        ("Is anyone speaking?", "a person speaking"),
        ("Do you hear any music in the background?", "music"),
        ("Are there birds?", "birds"),
        ("is that glass breaking?", "glass breaking"),
        ("Is a baby crying?", "baby crying"),
        ("any footsteps?", "footsteps"),
        ("Does it sound like a helicopter?", "helicopter"),
        ("Are people talking?", "people talking"),
        ("is it raining", "raining"),
        ("Can you hear the sound of a bell in this recording?", "bell"),
        ("Hey mats, is there somebody here?", "a person"),
        ("IS  THERE\tA   DOG ??", "dog"),
    ],
)
def test_presence(question: str, thing: str) -> None:
    assert understand(question) == Asked("present", (thing,))


@pytest.mark.parametrize(
    ("question", "things"),
    [
        ("Is it a dog or a cat?", ("dog", "cat")),
        ("Which of dog, cat and cow is it?", ("dog", "cat", "cow")),
        ("Which of these: rain, wind or sea?", ("rain", "wind", "sea")),
        ("dog or cat", ("dog", "cat")),
        ("Is it a dog, a cat or a bird?", ("dog", "cat", "bird")),
    ],
)
def test_choices(question: str, things: tuple[str, ...]) -> None:
    assert understand(question) == Asked("which", things)


def test_times_and_measures() -> None:
    assert understand("When does the dog bark?") == Asked("when", ("dog bark",))
    assert understand("When do you hear a siren?") == Asked("when", ("siren",))
    assert understand("How loud is it?") == Asked("loud") and understand("what is the volume?") == Asked("loud")
    assert understand("How long is this recording?") == Asked("long")
    assert understand("how long does it last?") == Asked("long")


@pytest.mark.parametrize(
    "question",
    """What is the name of the song?|Who is speaking?|What did she say?|Is it dangerous?|What colour is it?|Why?|hello
    |When was this recorded?
    |Is he speaking?|qu'est-ce que c'est|Tell me a joke|?|   |Ist da ein Hund?|How many dogs are there?|which""".split(
        "|"
    ),
)
def test_what_no_ear_can_tell(question: str) -> None:
    assert understand(question) == Asked("beyond")


def test_any_text_is_some_kind() -> None:
    for text in (
        "or " * 500,
        "which of " * 50,
        "a" * 2000,
        "is there " + "a " * 900,
        "\x00\x1b[31m",
        "what of or",
        "," * 100,
        "is there the",
    ):
        assert understand(text).kind in KINDS


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("what happens at 1:30?", Asked("during", (), (90.0, 90.0))),
        ("What do you hear at 90 seconds?", Asked("during", (), (90.0, 90.0))),
        ("what is in the first minute?", Asked("during", (), (0.0, 60.0))),
        ("What can be heard in the last 30 seconds?", Asked("during", (), (-30.0, float("inf")))),
        ("What happens between 1:00 and 1:02:03.5?", Asked("during", (), (60.0, 3723.5))),
        ("which sounds are there?", Asked("sounds")),
        ("What sounds do you hear?", Asked("sounds")),
        ("how often does the dog bark?", Asked("often", ("dog bark",))),
        ("How many times do you hear a siren?", Asked("often", ("siren",))),
        ("summarise", Asked("summary")),
        ("Summarize the recording, please", Asked("summary")),
    ],
)
def test_questions_about_time(question: str, asked: Asked) -> None:
    assert understand(question) == asked
