"""What labels gain by sounds that show them, and what a folder gains by being sorted as a whole.

    python benchmarks/company.py --data DATA --work FOLDER [--model nano]

Shown: a home-made set, the recordings of six held sources whose phrase has six or more of them; so many are shown, the
others are told apart, over twenty draws. As a whole: the same set, ESC-10 by its class names and by ten new labels, and
twenty draws of each with class sizes from 20 to 1.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from common import CLASSES, NEW_LABELS, arguments, esc10, machine
from honest import held

from mats_model.labels import LEAST
from mats_model.mats import Mats
from mats_model.teach.clips import prepare
from mats_model.together import together
from mats_model.vectors import unit
from mats_model.weights.loading import load

LEAST_OF_A_CLASS, DRAWS, UNEVEN = 6, 20, 20


def per_class(right: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean([right[target == each].mean() for each in np.unique(target)]))


def shown(mats: Mats, heard: np.ndarray, target: np.ndarray, texts: np.ndarray, count: int) -> list[float]:
    """Told and shown: the mean of the classes' top-1; and for labels told and shown that are not there, how often they
    are taken to be."""
    rows = []
    for seed in range(DRAWS):
        rng, labels, test = np.random.default_rng(seed), texts.copy(), np.ones(len(heard), bool)
        for each in range(len(texts)):
            some = rng.permutation(np.flatnonzero(target == each))[:count]
            test[some] = False
            labels[each] = unit(texts[each] + unit(heard[some].mean(0)))
        row = [per_class((heard[test] @ each.T).argmax(1) == target[test], target[test]) for each in (texts, labels)]
        absent = np.arange(len(texts)) != target[test][:, None]
        ground = mats.background(heard[test])[:, None]
        for each in (texts, labels):
            taken = mats.scales.probabilities(heard[test] @ each.T, ground) >= LEAST
            row += [float(taken[absent].mean()), float(taken[~absent].mean())]
        rows.append(row)
    return np.mean(rows, 0).tolist()


def uneven(target: np.ndarray, seed: int) -> np.ndarray:
    """Recordings in which the classes' shares fall from 20 to 1, in an order drawn anew."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(target))
    rows = []
    for place, each in enumerate(order):
        some = rng.permutation(np.flatnonzero(target == each))
        rows.append(some[: max(1, round(len(some) / UNEVEN ** (place / (len(order) - 1))))])
    return np.concatenate(rows)


def whole(name: str, heard: np.ndarray, target: np.ndarray, texts: np.ndarray) -> None:
    def both(rows: np.ndarray) -> tuple[float, float]:
        alone, company = (heard[rows] @ texts.T).argmax(1), together(heard[rows], texts).argmax(1)
        return float((alone == target[rows]).mean()), float((company == target[rows]).mean())

    even, drawn = both(np.arange(len(heard))), np.array([both(uneven(target, seed)) for seed in range(DRAWS)])
    worse, least = int((drawn[:, 1] < drawn[:, 0]).sum()), float((drawn[:, 1] - drawn[:, 0]).min())
    means = drawn.mean(0)
    print(
        f"| {name} | {even[0]:.3f} -> {even[1]:.3f} | {means[0]:.3f} -> {means[1]:.3f} | {worse} of {DRAWS} | "
        f"{min(least, 0.0):.3f} |"
    )


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of decoded recordings, as of benchmarks/honest.py"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    mats = load(options.model)
    vectors, said, _ = held(mats, prepare(options.data / "audio", options.work / "clips"))
    first = [phrases[0] for phrases in said]
    classes = [name for name, count in sorted(Counter(first).items()) if count >= LEAST_OF_A_CLASS]
    rows = [at for at, name in enumerate(first) if name in classes]
    heard, target = vectors[rows], np.array([classes.index(first[at]) for at in rows])
    texts = mats.label_embeddings(classes)
    print(f"model {mats.config.name} {mats.config.id}; {machine()}\n\n{len(classes)} labels, {len(rows)} recordings\n")
    print("| shown | top-1, mean of the classes | not there, taken to be | there, taken to be |\n|---|---|---|---|")
    for count in (2, 3, 5):
        told, by_sound, absent, there, absent_by_sound, there_by_sound = shown(mats, heard, target, texts, count)
        print(
            f"| {count} of each | {told:.3f} -> {by_sound:.3f} | {absent:.3f} -> {absent_by_sound:.3f} | "
            f"{there:.3f} -> {there_by_sound:.3f} |"
        )
    print("\n| sorted as a whole | all | sizes 20 to 1 | worse in | at worst |\n|---|---|---|---|---|")
    whole("the home-made set", heard, target, texts)
    clips = esc10(options.data)
    sounds, mine = np.stack([mats.embed_audio(clip.path) for clip in clips]), np.array([clip.target for clip in clips])
    for name, labels in (("ESC-10", CLASSES), ("ESC-10, new labels", NEW_LABELS[0]), ("and others", NEW_LABELS[1])):
        whole(name, sounds, mine, mats.label_embeddings(labels))


if __name__ == "__main__":
    main()
