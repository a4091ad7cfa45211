"""Tie audio to text: fit the audio head so that a recording lands on the words for it, the text tower staying as it is.

Texts come from the teacher's tags and from file labels; the head reads what the student, not the teacher, hears.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from mats_model.clap.nano import AudioHead
from mats_model.teach.clips import Clip

# sources whose file names say what is heard
_TRUSTED = frozenset(
    "gh/Tonejs+audio deb/0ad deb/scratch gh/Fris0uman+CDDA-Soundpacks deb/minetest-data deb/ufoai-sound deb/sonic-pi-samples"
    " gh/ElCeejo+animalia deb/widelands-data deb/unknown-horizons gh/gveres+donateacry-corpus gh/OpenRCT2+OpenSoundEffects"
    " deb/freedroidrpg-data".split()
)
_NO_LABEL_FAMILIES = frozenset(("speech", "music", "salamander", "casio"))
_NO_WORDS = re.compile(r"\b(sounds?|samples?|sfx|fx|casio|salamander|default|env|music|animalia|effects|pl|wh|cp|hp|bm|rc)\b|[^a-z ]")


@dataclass(frozen=True)
class AlignSettings:
    """What decides the head, besides the pool and the tower."""

    steps: int = 3000
    batch: int = 512
    rate: float = 1e-3
    temperature: float = 0.07
    labels: float = 0.5  # share of the clips told by their file label where it can be trusted
    seed: int = 0


def file_label(clip: Clip) -> str | None:
    """Words of a file's name, where they say what is heard."""
    if clip.source not in _TRUSTED or clip.family in _NO_LABEL_FAMILIES:
        return None
    words = _NO_WORDS.sub(" ", clip.label.lower()).split()
    return " ".join(dict.fromkeys(word for word in words if len(word) > 2)) or None


@dataclass(frozen=True)
class Heard:
    """What the student makes of the pool, and what the teacher made of it."""

    feature: torch.Tensor  # (count, 384)
    logits: torch.Tensor  # (count, 527)
    teacher: torch.Tensor  # (count, 527) logits
    clips: np.ndarray  # (count, 2), -1 where there is none


def fit_head(heard: Heard, names: torch.Tensor, labels: torch.Tensor, labelled: torch.Tensor, settings: AlignSettings) -> AudioHead:
    """`names` (527, d) and file labels (clips, d) are text embeddings; `labelled` (clips,) says which of those count.

    Loss: InfoNCE against the texts of the batch, where texts that say nearly the same are not held against each other.
    """
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    head = AudioHead(names.shape[1])
    head.names.data.copy_(names)
    scores = heard.teacher.sigmoid()
    prior = scores.mean(0)
    optimiser = torch.optim.AdamW(head.parameters(), settings.rate, weight_decay=1e-3)
    diagonal = torch.eye(settings.batch, dtype=torch.bool)
    target = torch.arange(settings.batch)
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * (1.0 - step / settings.steps)
        rows = torch.randint(0, len(scores), (settings.batch,), generator=generator)
        audio = F.normalize(head(heard.feature[rows], heard.logits[rows]), dim=-1)
        told = texts_for(heard, rows, names, labels, labelled, scores, prior, settings.labels, generator)
        logits = audio @ told.T / settings.temperature
        logits = logits.masked_fill((told @ told.T > 0.8) & ~diagonal, -1e9)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.requires_grad_(False)


def texts_for(
    heard: Heard, rows: torch.Tensor, names: torch.Tensor, labels: torch.Tensor, labelled: torch.Tensor,
    scores: torch.Tensor, prior: torch.Tensor, share: float, generator: torch.Generator,
) -> torch.Tensor:  # fmt: skip
    """A text embedding for each row: one or two tags drawn by score, or the file labels of its clips."""
    count = len(rows)
    drawn = torch.multinomial(scores[rows] / prior**0.5, 2, generator=generator)
    second = (torch.rand(count, 1, generator=generator) < 0.5).float()
    told = F.normalize(names[drawn[:, 0]] + second * names[drawn[:, 1]], dim=-1)
    pair = torch.from_numpy(heard.clips[rows.numpy()].astype(np.int64))
    mixed = pair[:, 1] >= 0
    known, first, other = pair[:, 0] >= 0, pair[:, 0].clamp(min=0), pair[:, 1].clamp(min=0)
    usable = known & labelled[first] & (~mixed | labelled[other]) & (torch.rand(count, generator=generator) < share)
    by_label = F.normalize(labels[first] + torch.where(mixed[:, None], labels[other], torch.zeros(())), dim=-1)
    return torch.where(usable[:, None], by_label, told)


def calibrate(heard: Heard, head: AudioHead, names: torch.Tensor, seed: int = 0) -> tuple[float, float, float]:
    """cosine -> score: (scale of the softmax over 20 labels, scale and bias of one label's probability).

    The teacher is the judge: its loudest tag among 20 drawn names is the right label, its scores above one half are the
    labels present; those are weighed to be one in ten, as in a list of labels that someone took care to write.
    """
    generator = torch.Generator().manual_seed(seed)
    likeness = F.normalize(head(heard.feature, heard.logits), dim=-1) @ names.T
    scores = heard.teacher.sigmoid()
    drawn = torch.rand(scores.shape, generator=generator).argsort(1)[:, :19]
    top = scores.argmax(1, keepdim=True)
    choices = torch.cat([likeness.gather(1, top), likeness.gather(1, drawn).masked_fill(drawn == top, -1.0)], 1)
    grid = torch.arange(4.0, 60.0, 1.0)
    losses = [-float((choices * scale).log_softmax(1)[:, 0].mean()) for scale in grid]
    label_scale = float(grid[int(np.argmin(losses))])
    present = scores > 0.5
    weight = torch.where(present, 0.1 / present.float().mean(), 0.9 / (~present).float().mean())
    line = torch.tensor([20.0, -10.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(likeness * line[0] + line[1], present.float(), weight=weight)
        loss.backward()
        return loss

    optimiser.step(closure)
    scale, bias = line.tolist()
    return label_scale, round(scale, 2), round(bias, 2)
