"""Tower and head together: the contrast of `align` and the distillation of `listen` in one loss, for a few passes.

Examples are drawn so that rare subjects come oftener; the running mean of the weights is kept.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from mats_model.clap.nano import AudioHead
from mats_model.clap.tower import AudioTower
from mats_model.teach.align import Heard, texts_for
from mats_model.teach.listen import ListenStep, augment, blend_into, write
from mats_model.teach.pool import Pool


@dataclass(frozen=True)
class TuneSettings:
    """What decides the weights, besides what `listen` and `align` left."""

    steps: int = 1400
    batch: int = 128
    rate: float = 7e-4
    warmup: int = 100
    weight_decay: float = 0.02
    temperature: float = 0.07
    labels: float = 0.5  # share of the clips told by their file label where it can be trusted
    distil: float = 1.0  # weight of the distillation against the contrast
    ema: float = 0.995
    threads: int = 2
    seed: int = 3


def tune(
    pool: Pool, listened: Path, head: AudioHead, names: torch.Tensor, labels: torch.Tensor, labelled: torch.Tensor, out: Path, settings: TuneSettings
) -> Iterator[ListenStep]:
    """Go on from `listened` (tower.pt) and `head`; write `out` ({"tower", "head", "mean", "std"}) at the end.

    Yields the distillation's feature loss and, as `tag_loss`, the contrast.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    generator = torch.Generator().manual_seed(settings.seed)
    state = torch.load(listened, weights_only=True)
    tower = AudioTower().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tower.load_state_dict(state["tower"])
    both = torch.nn.ModuleDict({"tower": tower, "head": copy.deepcopy(head).requires_grad_(True)})
    averaged = copy.deepcopy(both).requires_grad_(False)
    mels = np.array(pool.mels)
    target = (torch.from_numpy(np.array(pool.feature)).float() - state["mean"]) / state["std"]
    teacher = torch.from_numpy(np.array(pool.logits)).float()
    scores = teacher.sigmoid()
    prior = scores.mean(0)
    heard = Heard(target, teacher, teacher, np.array(pool.clips))
    subject = (scores / prior**0.5).argmax(1)
    odds = torch.bincount(subject, minlength=len(prior)).float()[subject] ** -0.5
    optimiser = torch.optim.AdamW(both.parameters(), settings.rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay)
    diagonal, order = torch.eye(settings.batch, dtype=torch.bool), torch.arange(settings.batch)
    bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    losses: list[tuple[float, float]] = []
    began = time.monotonic()
    for step in range(settings.steps):
        rows = torch.multinomial(odds, settings.batch, replacement=True, generator=generator)
        batch = augment(torch.from_numpy(mels[rows.numpy()]).float(), generator)
        for group in optimiser.param_groups:
            ramp = min(1.0, (step + 1) / settings.warmup)
            group["lr"] = settings.rate * ramp * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
        both.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            feature, logits = tower(batch)
        feature, logits = feature.float(), logits.float()
        audio = F.normalize(both["head"](feature, logits), dim=-1)
        told = texts_for(heard, rows, names, labels, labelled, scores, prior, settings.labels, generator)
        likeness = (audio @ told.T / settings.temperature).masked_fill((told @ told.T > 0.8) & ~diagonal, -1e9)
        contrast = (F.cross_entropy(likeness, order) + F.cross_entropy(likeness.T, order)) / 2
        distance = F.smooth_l1_loss(feature, target[rows], beta=0.5)
        tags = F.binary_cross_entropy_with_logits(logits, scores[rows], reduction="none").sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        (contrast + settings.distil * (distance + 0.1 * tags)).backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 5.0)
        optimiser.step()
        blend_into(averaged, both, min(settings.ema, (step + 1) / (step + 10)))
        losses.append((float(distance.detach()), float(contrast.detach())))
        if len(losses) == 100:
            a, b = np.mean(losses, 0)
            yield ListenStep(step + 1, settings.steps, float(a), float(b), time.monotonic() - began)
            losses.clear()
    kept = {"tower": averaged["tower"].state_dict(), "head": averaged["head"].state_dict()}
    write({**kept, "mean": state["mean"], "std": state["std"]}, out)
