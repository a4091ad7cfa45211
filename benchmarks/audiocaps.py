"""Held-out AudioCaps test captions, text to text: caption -> text tower -> mapper -> decoder -> caption, against five references.

    python benchmarks/audiocaps.py --data DATA

No sound is involved: it measures mapper and decoder. ROUGE-L is the F measure with beta 1.2, the best of the references.
"""

from __future__ import annotations

import re
from collections import defaultdict

import torch
from common import arguments, machine

from mats_model import load
from mats_model.captions import read_rows


def tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def rouge_l(said: list[str], reference: list[str], beta: float = 1.2) -> float:
    """F measure of the longest common subsequence."""
    lengths = [0] * (len(reference) + 1)
    for word in said:
        before = 0
        for place, other in enumerate(reference, 1):
            kept = lengths[place]
            lengths[place] = before + 1 if word == other else max(lengths[place], lengths[place - 1])
            before = kept
    if not lengths[-1]:
        return 0.0
    precision, recall = lengths[-1] / len(said), lengths[-1] / len(reference)
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()  # type: ignore[union-attr]
    torch.set_num_threads(1)
    mats = load(options.model)
    clips: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(options.data / "captions" / "audiocaps_v1_test.csv"):
        clips[row["youtube_id"]].append(row["caption"])
    references = list(clips.values())
    vectors = mats.clap.embed_text([captions[0] for captions in references])
    said = mats.answer(vectors)
    # the caption that was read is no reference for itself
    scores = [max(rouge_l(tokens(one), tokens(other)) for other in captions[1:] or captions) for one, captions in zip(said, references, strict=True)]
    people = [max(rouge_l(tokens(captions[0]), tokens(other)) for other in captions[1:] or captions) for captions in references]
    print(f"{len(said)} clips of the AudioCaps test set, model {mats.config.id}; {machine()}\n")
    print(f"ROUGE-L: {sum(scores) / len(scores):.3f} (the caption that was read, itself: {sum(people) / len(people):.3f})")


if __name__ == "__main__":
    main()
