"""What may be said of a recording or a tag: recipes/nano/phrases.csv and words/tags.csv, which were written for this
project.

phrases.csv: source, label (of the manifest), phrases; tags.csv: index, name, phrases. Phrases are parted by "; ".
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from mats_model.teach.clips import Clip
from mats_model.weights.data_sets import WORDS


@dataclass(frozen=True)
class Phrases:
    """All phrases once, and which of them fit a recording or a tag."""

    texts: list[str]
    of_clips: list[list[int]]  # places in texts for each clip, the best one first; empty where its name says nothing
    of_tags: list[list[int]]  # the same for each of the teacher's tags, its own name first


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split("; ") if part.strip()]


def read_phrases(folder: Path, clips: list[Clip]) -> Phrases:
    """The phrases of `folder` for these clips."""
    places: dict[str, int] = {}

    def keep(texts: list[str]) -> list[int]:
        return [places.setdefault(text, len(places)) for text in dict.fromkeys(texts)]

    labels = {(row["source"], row["label"]): _split(row["phrases"]) for row in _read(folder / "phrases.csv")}
    of_tags = []
    for row in _read(WORDS / "tags.csv"):
        name = row["name"].lower()
        parts = [part.strip() for part in re.split(r"[,()]", name) if part.strip()]
        of_tags.append(keep([name, *parts, *_split(row["phrases"])]))
    of_clips = [keep(labels.get((clip.source, clip.label), [])) for clip in clips]
    return Phrases(list(places), of_clips, of_tags)
