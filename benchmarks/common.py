"""What the benchmarks share: where the data is, and a line about the machine."""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from mats_model.evaluate.naming import names_it, synonyms_of
from mats_model.tables import cells

ROOT = Path(__file__).parent.parent
SYNONYMS = ROOT / "benchmarks" / "esc10.csv"
CLASSES = [
    "dog bark",
    "rain",
    "sea waves",
    "baby cry",
    "clock tick",
    "person sneeze",
    "helicopter",
    "chainsaw",
    "rooster",
    "fire crackling",
]
# twenty labels, none of them a tag or a file label of the training clips (some hold a word of one): two other ways to
# say each class
NEW_LABELS = [
    ["hound baying", "downpour on a roof", "surf at the seaside", "infant wailing", "pocket watch", "achoo",
    "chopper hovering", "lumberjack at work",
     "cockerel at dawn", "campfire"],
    ["puppy yapping", "drizzle", "breakers rolling ashore", "newborn sobbing", "grandfather clock", "hay fever",
    "rotorcraft overhead",
     "felling trees with a power saw", "bantam on the farm", "burning logs in a hearth"],
]  # fmt: skip


@dataclass(frozen=True)
class Clip:
    path: Path
    target: int  # place in CLASSES


def esc10(data: Path) -> list[Clip]:
    """The 400 clips of ESC-10, in the order of their names; folders are numbered in the order of CLASSES."""
    clips = [Clip(path, int(path.parent.name[:3]) - 1) for path in sorted((data / "esc10").glob("*/*.ogg"))]
    if len(clips) != 400:
        raise SystemExit(f"{data}/esc10 holds {len(clips)} clips instead of 400: give the data folder with --data.")
    return clips


def named(caption: str, label: str) -> bool:
    """The caption holds a word for the sound, as `mats evaluate --synonyms benchmarks/esc10.csv` counts."""
    return names_it(caption, synonyms_of(cells(SYNONYMS), str(SYNONYMS), CLASSES)[label])


def arguments(description: str, answers: bool = False) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder that holds esc10/ and captions/"
    )
    parser.add_argument("--model", default="nano")
    if answers:
        parser.add_argument("--quantize", default="", help="how the language model is kept, as of `mats caption`")
    return parser


def machine() -> str:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    return (
        f"{os.cpu_count()} cores ({model or platform.processor()}), Python {platform.python_version()}, torch "
        f"{torch.__version__}"
    )
