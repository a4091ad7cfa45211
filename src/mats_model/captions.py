"""Captions, class names and questions -> Example(text, prompt, answer): all that text-only training ever sees.

`text` is what the text tower hears, `prompt` what the language model is asked, `answer` what it learns to say.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CAPTION = "<caption>"
QUESTION = "<question>"
ANSWER = "<answer>"


@dataclass(frozen=True)
class Example:
    """One training example."""

    text: str
    prompt: str
    answer: str


def tidy(caption: str) -> str:
    """Lower case, one space between words, no final stop: what the small decoder is taught to write."""
    text = re.sub(r"\s+", " ", caption.replace("\u2019", "'").strip().lower())
    text = re.sub(r"\s+([,.;])", r"\1", text)
    return text.strip(" .,;\"'")


# words that may come twice in a caption that is taught
_PLAIN = frozenset(
    "a an the and as with while in on of to is are by then followed from at it its another other some near nearby background"
    " over up out into off for that".split()
)


def repeats(caption: str) -> bool:
    """A word that carries meaning comes twice: such captions are not taught."""
    words = [word for word in re.findall(r"[a-z']+", caption) if word not in _PLAIN]
    return len(words) != len(set(words))


_SPEECH = re.compile(r"\b(speak|speech|talk|convers|voice|man|men|woman|women|people|person|male|female|child|kid|boy|girl|crowd|adult)")
_JOINED = re.compile(r"\b(and|while|as|with|then|followed|before|after)\b|,")


def adds_speech(caption: str) -> bool:
    """Somebody speaks beside another sound: two captions in five do, which teaches a small model to say it of everything."""
    return bool(_SPEECH.search(caption) and _JOINED.search(caption))


def of_one_sound(caption: str) -> bool:
    """At most seven words, and nobody speaks beside the sound."""
    return len(caption.split()) <= 7 and not adds_speech(caption)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a header, UTF-8 with or without a byte-order mark."""
    with path.open(newline="", encoding="utf-8-sig") as handle:
        return list(csv.DictReader(handle))


def audiocaps(path: Path, left_out: Iterable[Path] = ()) -> list[Example]:
    """Captions of sounds; whatever a left-out file also says, word for word, is dropped."""
    never = {tidy(row["caption"]) for other in left_out for row in read_rows(other)}
    captions = dict.fromkeys(tidy(row["caption"]) for row in read_rows(path))
    return [Example(text, CAPTION, text) for text in captions if 2 <= len(text.split()) <= 28 and text not in never]


_OPENING = re.compile(
    r"^(?:the|this|a|an)?\s*(?:low quality|amateur|poor quality|noisy|mono|live|medium quality|low fidelity|\W)*\s*"
    r"(?:recording|audio|clip|audio clip|track|song|music|piece|music piece|musical piece)?\s*"
    r"(?:features|contains|consists of|is)\s+"
)


def musiccaps(path: Path) -> list[Example]:
    """Music: the first sentence of each caption, shortened, told from the caption and from its list of aspects."""
    made = []
    for row in read_rows(path):
        text = tidy(re.split(r"(?<=[a-z])\. ", row["caption"])[0])
        short = _OPENING.sub("", text)
        short = re.sub(r"^(song|music|melody)\b", r"a \1", short)
        words = short.split()
        if len(words) > 22:
            cut = re.split(r", | and (?=[^,]*$)", " ".join(words[:22]))
            short = ", ".join(cut[:-1])
        if 4 <= len(short.split()) <= 22 and "quality" not in short and "recording" not in short:
            aspects = re.findall(r"'([^']+)'", row["aspect_list"])
            kept = [aspect for aspect in aspects if "quality" not in aspect and "recording" not in aspect][:6]
            made.append(Example(tidy(row["caption"])[:300], CAPTION, short))
            if kept:
                made.append(Example("music, " + ", ".join(kept), CAPTION, short))
    return made


def vggsound(path: Path) -> list[Example]:
    """309 names in plain English, most of them already a caption ("dog barking")."""
    made = []
    with path.open(newline="", encoding="utf-8") as handle:
        for row in csv.reader(handle):
            first, *others = (tidy(name) for name in row[0].split(","))
            said = re.sub(r"^playing ", "someone playing ", first)
            made += [Example(name, CAPTION, said) for name in (first, *others)]
    return made


def audioset_names(path: Path) -> list[str]:
    """The 527 class names in the order of the tags."""
    return [row["display_name"] for row in read_rows(path)]


def class_labels(ontology: Path, ucs: Path) -> list[Example]:
    """(description, what is it, label) from AudioSet's descriptions and the Universal Category System's explanations."""
    ask = f"{QUESTION} what makes this sound? {ANSWER}"
    made = []
    for entry in json.loads(ontology.read_text(encoding="utf-8")):
        label = tidy(entry["name"].split("(")[0])
        if not entry["restrictions"]:
            made.append(Example(label, ask, label.split(",")[0]))
            made.append(Example(f"{label}. {tidy(entry['description'])}"[:300], ask, label.split(",")[0]))
    for row in json.loads(ucs.read_text(encoding="utf-8")):
        if row["SubCategory"] != "MISC":
            label = tidy(f"{row['Category']} {row['SubCategory']}")
            made.append(Example(f"{label}. {tidy(row['Explanations'])}"[:300], ask, label))
    return made


def yes_or_no(captions: list[Example], names: list[str], seed: int) -> list[Example]:
    """ "is there a dog?" for captions that say "dog", and as often for ones that do not."""
    rng = np.random.default_rng(seed)
    words = sorted({tidy(part) for name in names for part in re.split(r"[,(]", name) if part.strip(" )")})
    words = [word for word in words if re.fullmatch(r"[a-z]+( [a-z]+)?", word)]
    said: Callable[[str, str], bool] = lambda word, text: re.search(rf"\b{word}", text) is not None  # noqa: E731
    common = [word for word in words if sum(said(word, e.text) for e in captions[::50]) >= 2]
    made = []
    for example in captions:
        present = [word for word in common if said(word, example.text)]
        if not present:
            continue
        word = present[int(rng.integers(len(present)))]
        other = words[int(rng.integers(len(words)))]
        made.append(Example(example.text, f"{QUESTION} is there {word}? {ANSWER}", "yes"))
        if not said(other, example.text):
            made.append(Example(example.text, f"{QUESTION} is there {other}? {ANSWER}", "no"))
    return made
