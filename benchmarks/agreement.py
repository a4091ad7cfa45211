"""The yardstick for nano's ears and words: six whole sources of recordings that nothing was trained on, and ESC-10
beside it.

    python benchmarks/agreement.py --data DATA [--model nano] [--work FOLDER]

Ears: the first 5 s of each recording, heard by the tower and by its teacher: how often both name the same loudest tag,
the cross entropy of the tags above its least, and R2 of the feature. Words: the first phrase of
recipes/nano/phrases.csv among those of all recordings. Captions: those that hold a word of the recording's phrases (the
first five letters of a word of four or more decide).
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from common import CLASSES, ROOT, arguments, esc10, machine
from torch.nn import functional as F

from mats_model.clap.nano import NanoClap
from mats_model.clap.nano_audio import NanoAudio
from mats_model.mats import Mats
from mats_model.teach.clips import Clips, prepare
from mats_model.teach.parts import openings
from mats_model.teach.phrases import read_phrases
from mats_model.teach.teacher import Teacher
from mats_model.weights.loading import load

COMMON = frozenset(
    "with from into over that this sound sounds small large long short loud soft someone person being".split()
)

SHORT = frozenset("dog cat cow car owl pig bee bat jet saw".split())


@torch.inference_mode()
def ears(clap: NanoClap, teacher: Teacher, clips: Clips, rows: list[int]) -> tuple[dict[str, float], torch.Tensor]:
    """Agreement, excess and R2; and the embeddings (n, d), unit length."""
    audio = NanoAudio.of(clap)
    parts: list[tuple[torch.Tensor, ...]] = []
    for at in range(0, len(rows), 32):
        waves = openings(clips, rows[at : at + 32])
        parts.append((*audio.tower(audio.front(waves)), *teacher(waves)))
    feature, logits, aim, goal = (torch.cat(side) for side in zip(*parts, strict=True))
    scores, aim = goal.sigmoid(), audio.tower.standard(aim)
    loss = F.binary_cross_entropy_with_logits(logits, scores, reduction="none").sum(1).mean()
    least = F.binary_cross_entropy_with_logits(goal, scores, reduction="none").sum(1).mean()
    figures = {
        "same loudest tag as the teacher": float((logits.argmax(1) == goal.argmax(1)).float().mean()),
        "excess cross entropy of the tags": float(loss - least),
        "R2 of the feature": float(1 - (feature - aim).square().mean() / (aim - aim.mean(0)).square().mean()),
    }
    return figures, F.normalize(audio.head(feature, logits), dim=-1)


def named(caption: str, phrases: list[str]) -> bool:
    """The caption holds a word of the phrases."""
    words = {word[:5] for phrase in phrases for word in re.findall(r"[a-z]{4,}", phrase) if word not in COMMON}
    short = {word for phrase in phrases for word in re.findall(r"\b[a-z]{3}\b", phrase)} & SHORT
    said = set(re.findall(r"[a-z]+", caption.lower()))
    return any(word[:5] in words for word in said) or any(word in said or f"{word}s" in said for word in short)


def words(mats: Mats, vectors: torch.Tensor, said: list[list[str]]) -> dict[str, float]:
    names = sorted({phrases[0] for phrases in said})
    target = torch.tensor([names.index(phrases[0]) for phrases in said])
    top = (vectors @ torch.from_numpy(mats.label_embeddings(names)).T).topk(5, 1).indices
    hit, per = top[:, 0] == target, defaultdict(list)
    for name, right in zip(target.tolist(), hit.tolist(), strict=True):
        per[name].append(right)
    captions = mats.answer(vectors.numpy())
    return {
        f"own phrase among {len(names)}, top-1": float(hit.float().mean()),
        "the same, mean of the phrases": float(np.mean([np.mean(right) for right in per.values()])),
        "the same, top-5": float((top == target[:, None]).any(1).float().mean()),
        "captions that hold a word of the phrases": float(
            np.mean([named(*pair) for pair in zip(captions, said, strict=True)])
        ),
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--work", type=Path, help="folder of decoded recordings, as of `mats train recipes/nano/nano.yaml --work`"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    mats = load(options.model)
    assert isinstance(mats.clap, NanoClap)
    teacher = Teacher.load(options.data / "teachers" / "mn04_as_mAP_432.pt")
    with tempfile.TemporaryDirectory() as made:
        clips = prepare(options.data / "audio", (options.work or Path(made)) / "clips")
        held = [at for at, row in enumerate(clips.rows) if row.split == "held"]
        figures, vectors = ears(mats.clap, teacher, clips, held)
        phrases = read_phrases(ROOT / "recipes" / "nano", clips.rows)
    known = [at for at, row in enumerate(held) if phrases.of_clips[row]]
    said = [[phrases.texts[place] for place in phrases.of_clips[held[at]]] for at in known]
    figures |= words(mats, vectors[known], said)
    print(
        f"{len(held)} held recordings, {len(known)} with phrases, model {mats.config.name} {mats.config.id}; "
        f"{machine()}\n"
    )
    print("| | |\n|---|---|")
    for name, value in figures.items():
        print(f"| {name} | {value:.3f} |")
    sounds = esc10(options.data)
    heard = np.stack([mats.embed_audio(clip.path) for clip in sounds])
    right = (heard @ mats.label_embeddings(CLASSES).T).argmax(1) == [clip.target for clip in sounds]
    print(f"| beside it, and deciding nothing: ESC-10 top-1 | {float(right.float().mean()):.4f} |")


if __name__ == "__main__":
    main()
