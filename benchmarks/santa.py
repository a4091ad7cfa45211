"""Ways across the gap, on recordings whose labels were never told to the model, and on ESC-10: the table of
docs/santa.md.

    python benchmarks/santa.py --data DATA --work build/nano [--model mini] [--every 4] [--try lambda=0.5,tau=0.1,k=32]

The first set are recordings of sources that nothing was trained on, with the first of their phrases
(recipes/nano/phrases.csv). It decides; ESC-10 only stands beside it. A caption counts when it holds a word of the label
(its first five letters).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import CLASSES, ROOT, arguments, esc10, machine

from mats_cli.index.tune import head, row
from mats_model import load
from mats_model.mats import Mats
from mats_model.teach.clips import Clips
from mats_model.teach.phrases import read_phrases
from mats_model.training.tune import METHODS, Outcome, Reference, compare, recommend


def recordings(work: Path) -> list[tuple[bytes, Reference]]:
    """(a WAV file, its label)."""
    clips, made = Clips(work / "clips"), []
    phrases = read_phrases(ROOT / "recipes" / "nano", clips.rows)
    for number, entry in enumerate(clips.rows):
        if entry.split == "held" and phrases.of_clips[number]:
            sink = io.BytesIO()
            soundfile.write(sink, clips[number], 32_000, format="WAV", subtype="FLOAT")
            label = phrases.texts[phrases.of_clips[number][0]]
            made.append((sink.getvalue(), Reference(Path(label), (), label)))
    return made


def table(mats: Mats, name: str, sounds: list[tuple[bytes | Path, Reference]], methods: list[str]) -> None:
    heard = np.stack([mats.embed_audio(sound) for sound, _ in sounds])
    outcomes: list[Outcome] = []
    print(f"\n**{name}**, {len(sounds)} recordings\n")
    for outcome in compare(mats, heard, [reference for _, reference in sounds], methods):
        if not outcomes:
            print(head(outcome), end="")
        outcomes.append(outcome)
        print(row(outcome), end="", flush=True)
    print(f"\nRecommended: {recommend(outcomes)}.")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    parser.add_argument("--every", type=int, default=1, help="take every n-th recording")
    parser.add_argument("--try", dest="methods", action="append")
    options = parser.parse_args()
    torch.set_num_threads(2)
    mats = load(options.model)
    print(f"model {mats.config.name} {mats.config.id}; {machine()}", flush=True)
    methods = options.methods or list(METHODS)
    told: list[tuple[bytes | Path, Reference]] = list(recordings(options.work))
    table(mats, "recordings nothing was trained on", told[:: options.every], methods)
    clips: list[tuple[bytes | Path, Reference]] = [
        (clip.path, Reference(clip.path, (), CLASSES[clip.target])) for clip in esc10(options.data)
    ]
    table(mats, "ESC-10", clips[:: options.every], methods)


if __name__ == "__main__":
    main()
