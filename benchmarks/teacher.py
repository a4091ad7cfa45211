"""The teacher on ESC-10, its classes mapped to tags by hand; and should a short sound be padded or repeated?

    python benchmarks/teacher.py --data DATA

Short: under 2.5 s without the silence around it.
"""

from __future__ import annotations

import numpy as np
import torch
from common import arguments, esc10

from mats_model.audio import blocks, source
from mats_model.teach.teacher import RATE, Teacher
from mats_model.training.sources import read_names

WINDOW = 5 * RATE
TAGS = [
    "Dog",
    "Rain",
    "Waves, surf",
    "Baby cry, infant cry",
    "Clock",
    "Sneeze",
    "Helicopter",
    "Chainsaw",
    "Chicken, rooster",
    "Fire",
]


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()  # type: ignore[union-attr]
    teacher = Teacher.load(options.data / "teachers" / "mn04_as_mAP_432.pt")
    names = read_names(options.data / "teachers" / "audioset_527_labels.csv")
    places = [names.index(tag) for tag in TAGS]
    right, short, whole = {"padded": 0, "repeated": 0}, 0, 0

    def hit(wave: np.ndarray, target: int) -> bool:
        with torch.inference_mode():
            return int(teacher(torch.from_numpy(wave)[None])[1][0, places].argmax()) == target

    for clip in esc10(options.data):
        wave = np.concatenate(list(blocks(source(clip.path), RATE)))
        whole += hit(np.pad(wave[:WINDOW], (0, max(0, WINDOW - len(wave)))), clip.target)
        heard = np.nonzero(np.abs(wave) > 1e-3)[0]
        wave = wave[heard[0] : heard[-1] + 1]
        if len(wave) >= 2.5 * RATE:
            continue
        short += 1
        for way, cut in (("padded", np.pad(wave, (0, WINDOW - len(wave)))), ("repeated", np.resize(wave, WINDOW))):
            right[way] += hit(cut, clip.target)
    print(f"top-1 {whole / 400:.4f}")
    print(f"{short} clips under 2.5 s; right when padded: {right['padded']}, when repeated: {right['repeated']}")


if __name__ == "__main__":
    main()
