"""ESC-10, which no part of mats was trained on: top-1 over the class names, captions that name the sound, 20 new
labels.

    python benchmarks/esc10.py --data DATA [--samples FILE.md]

A caption names the sound when it holds one of the words of SYNONYMS (whole words, simple endings allowed).
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import torch
from common import CLASSES, arguments, esc10, machine

from mats_model.mats import Mats
from mats_model.weights.loading import load

# words that name the sound; an ending s, es, ing, ed or e is allowed after each
SYNONYMS = {
    "dog bark": "dog puppy hound bark yip woof",
    "rain": "rain raindrop downpour drizzl shower",
    "sea waves": "wave sea ocean surf shore beach",
    "baby cry": "baby babies infant cry crie toddler",
    "clock tick": "clock tick tick-tock ticktock tock",
    "person sneeze": "sneez achoo",
    "helicopter": "helicopter chopper rotor",
    "chainsaw": "chainsaw saw sawing",
    "rooster": "rooster cock cockerel crow crowing",
    "fire crackling": "fire crackl campfire flame burn fireplace",
}
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


def named(caption: str, label: str) -> bool:
    """The caption holds a word for the sound."""
    words = "|".join(re.escape(word) for word in SYNONYMS[label].split())
    return re.search(rf"\b(?:{words})(?:s|es|ing|ed|e)?\b", caption.lower()) is not None


def repeated(caption: str) -> bool:
    """A word of four letters or more comes twice."""
    words = [word for word in re.findall(r"[a-z]+", caption.lower()) if len(word) > 3]
    return len(words) != len(set(words))


def top1(
    mats: Mats, vectors: np.ndarray, target: np.ndarray, labels: list[str], template: str = "{}"
) -> tuple[float, list[float]]:
    chosen = (vectors @ mats.label_embeddings(labels, template).T).argmax(1)
    right = chosen == target
    return float(right.mean()), [float(right[target == k].mean()) for k in range(len(labels))]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], answers=True)  # type: ignore[union-attr]
    parser.add_argument("--samples", type=Path, help="write 50 captions, drawn with seed 0, to this file")
    parser.add_argument("--step", type=int, default=1, help="take every n-th clip, where a model is slow")
    options = parser.parse_args()
    torch.set_num_threads(1)
    mats, clips = load(options.model, quantize=options.quantize), esc10(options.data)[:: options.step]
    vectors = np.stack([mats.embed_audio(clip.path) for clip in clips])
    target = np.array([clip.target for clip in clips])
    accuracy, per_class = top1(mats, vectors, target, CLASSES)
    captions = mats.answer(vectors)
    hits = [named(caption, CLASSES[clip.target]) for clip, caption in zip(clips, captions, strict=True)]
    print(f"ESC-10, {len(clips)} clips, model {mats.config.name} {mats.config.id}; {machine()}\n")
    print("| class | top-1 | caption names it |\n|---|---|---|")
    for k, name in enumerate(CLASSES):
        share = sum(hit for hit, clip in zip(hits, clips, strict=True) if clip.target == k) / int((target == k).sum())
        print(f"| {name} | {per_class[k]:.3f} | {share:.3f} |")
    print(f"| **all** | **{accuracy:.4f}** | **{sum(hits) / len(hits):.4f}** |")
    print(
        f"\ncaptions with a repeated word: {sum(map(repeated, captions))} of {len(clips)}; different captions: "
        f"{len(set(captions))}"
    )
    for number, labels in enumerate(NEW_LABELS, 1):
        score, _ = top1(mats, vectors, target, labels)
        print(f"ten new labels, set {number} (chance .100): top-1 {score:.4f}   {', '.join(labels)}")
    # among all twenty at once, either of a clip's two labels is right
    twenty = [label for pair in zip(*NEW_LABELS, strict=True) for label in pair]
    chosen = (vectors @ mats.label_embeddings(twenty).T).argmax(1) // 2
    print(f"all twenty at once (chance .100): top-1 {float((chosen == target).mean()):.4f}")
    print(
        f"with the template 'the sound of {{}}': top-1 {top1(mats, vectors, target, CLASSES, 'the sound of {}')[0]:.4f}"
    )
    if options.samples:
        drawn = sorted(random.Random(0).sample(range(len(clips)), min(50, len(clips))))
        rows = [
            f"| {clips[i].path.parent.name[6:]} | {clips[i].path.stem} | {captions[i]} | {'yes' if hits[i] else ''} |"
            for i in drawn
        ]
        head = (
            f"# Fifty captions of ESC-10\n\nDrawn with seed 0 by `python benchmarks/esc10.py --samples`, not chosen;"
            f" model {mats.config.name} {mats.config.id}.\n\n| sound | clip | caption | names it |\n|---|---|---|---|\n"
        )
        options.samples.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
