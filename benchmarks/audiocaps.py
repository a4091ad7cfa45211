"""Held-out AudioCaps test captions, text to text: caption -> text tower -> mapper -> language model -> caption, against
four references.

    python benchmarks/audiocaps.py --data DATA [--model mini]

No sound is involved: it measures mapper and language model. The caption that was read is no reference for itself.
"""

from __future__ import annotations

import torch
from common import arguments, machine

from mats_model.evaluate.metrics import cider_d, references, rouge_l, text_to_text
from mats_model.weights.loading import load


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], answers=True)  # type: ignore[union-attr]
    parser.add_argument("--clips", type=int, default=975)
    options = parser.parse_args()
    torch.set_num_threads(1)
    mats = load(options.model, quantize=options.quantize)
    groups = references(options.data / "captions" / "audiocaps_v1_test.csv", "youtube_id", "caption", options.clips)
    *_, (_, scores) = text_to_text(mats, groups)
    others = [some[1:] for some in groups]
    people = cider_d([some[0] for some in groups], others)
    alike = [rouge_l(some[0], some[1:]) for some in groups]
    print(f"{scores.clips} clips of the AudioCaps test set, model {mats.config.name} {mats.config.id}; {machine()}\n")
    print(f"CIDEr-D {scores.cider_d:.3f} (the caption that was read, itself: {sum(people) / len(people):.3f})")
    print(f"ROUGE-L {scores.rouge_l:.3f} (itself: {sum(alike) / len(alike):.3f})")


if __name__ == "__main__":
    main()
