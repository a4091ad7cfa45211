"""Distil the teacher into the audio tower: its standardised feature by smooth L1, its tag scores by cross entropy.

Everything is seeded; a checkpoint is written after each pass and the same command goes on from it.
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
from torch import nn
from torch.nn import functional as F

from mats_model.clap.tower import AudioTower
from mats_model.device import fast_bf16
from mats_model.teach.pool import Pool
from mats_model.train import make_optimiser, write_state


@dataclass(frozen=True)
class ListenSettings:
    """What decides the weights, besides the pool."""

    passes: int = 15
    batch: int = 64
    rate: float = 2e-3
    warmup: int = 500
    weight_decay: float = 0.02
    ema: float = 0.999
    seed: int = 1
    first: int = 0  # examples taken from the beginning of the pool; 0 takes all


@dataclass(frozen=True)
class ListenStep:
    """Means over the last hundred steps."""

    step: int
    steps: int
    feature_loss: float
    tag_loss: float
    seconds: float


def augment(mels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Another place in time (rolled) and another level, -30 to +3 dB with the floor kept: the tags stay the same."""
    count, frames, _ = mels.shape
    shifts = torch.randint(0, frames, (count, 1), generator=generator)
    where = (torch.arange(frames) + shifts) % frames
    rolled = mels.gather(1, where[:, :, None].expand_as(mels))
    gain = torch.rand(count, 1, 1, generator=generator) * 33.0 - 30.0
    keep = torch.rand(count, 1, 1, generator=generator) < 0.5
    return (rolled + torch.where(keep, torch.zeros(()), gain)).clamp(min=-100.0)


def train_tower(pool: Pool, folder: Path, settings: ListenSettings, start: Path | None = None) -> Iterator[ListenStep]:
    """Train and write `folder`/tower.pt ({"tower", "mean", "std"}) after each pass; the weights kept are the running mean.

    `start` is the tower.pt of an earlier run to go on from, with its mean and std.
    """
    torch.manual_seed(settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    count = settings.first or len(pool.mels)
    mels = np.array(pool.mels[:count])
    target = torch.from_numpy(np.array(pool.feature[:count])).float()
    mean, std = target.mean(0), target.std(0) + 1e-3
    scores = torch.from_numpy(np.array(pool.logits[:count])).float().sigmoid().half()
    tower = AudioTower().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is None:
        tower.tags.bias.data.copy_(torch.logit(scores.float().mean(0).clamp(1e-5, 0.5)))
    else:
        earlier = torch.load(start, weights_only=True)
        tower.load_state_dict(earlier["tower"])
        mean, std = earlier["mean"], earlier["std"]
    target = (target - mean) / std
    averaged = copy.deepcopy(tower).requires_grad_(False)
    optimiser = make_optimiser(tower, settings.rate, settings.weight_decay, 0.99)
    per_pass = len(mels) // settings.batch
    steps = settings.passes * per_pass
    state_file, done = folder / "state.pt", 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        tower.load_state_dict(state["tower"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["passes"])
    losses: list[tuple[float, float]] = []
    began = time.monotonic()
    for number in range(done, settings.passes):
        generator = torch.Generator().manual_seed(settings.seed * 1000 + number)
        order = torch.randperm(len(mels), generator=generator)
        for at in range(per_pass):
            step = number * per_pass + at
            rows = order[at * settings.batch : (at + 1) * settings.batch]
            batch = augment(torch.from_numpy(mels[rows.numpy()]).float(), generator)
            ramp = min(1.0, (step + 1) / settings.warmup)
            for group in optimiser.param_groups:
                group["lr"] = settings.rate * ramp * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-6
            tower.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16()):
                feature, logits = tower(batch)
            feature_loss = F.smooth_l1_loss(feature.float(), target[rows], beta=0.5)
            wanted = scores[rows].float()
            tag_loss = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none").sum(1).mean()
            optimiser.zero_grad(set_to_none=True)
            (feature_loss + 0.1 * tag_loss).backward()
            torch.nn.utils.clip_grad_norm_(tower.parameters(), 5.0)
            optimiser.step()
            decay = min(settings.ema, (step + 1) / (step + 10))
            blend_into(averaged, tower, decay)
            losses.append((float(feature_loss.detach()), float(tag_loss.detach())))
            if len(losses) == 100:
                a, b = np.mean(losses, 0)
                yield ListenStep(step + 1, steps, float(a), float(b), time.monotonic() - began)
                losses.clear()
        state = {"tower": tower.state_dict(), "averaged": averaged.state_dict(), "optimiser": optimiser.state_dict(), "passes": number + 1}
        write_state(state, state_file)
        write_state({"tower": averaged.state_dict(), "mean": mean, "std": std}, folder / "tower.pt")


@torch.inference_mode()
def hear_pool(tower: AudioTower, pool: Pool) -> tuple[torch.Tensor, torch.Tensor]:
    """The trained tower's feature (count, 384) and tag logits (count, 527) for every example, without augmentation."""
    tower.eval()
    parts = [tower(torch.from_numpy(np.array(pool.mels[at : at + 64])).float()) for at in range(0, len(pool.mels), 64)]
    return torch.cat([feature for feature, _ in parts]), torch.cat([logits for _, logits in parts])


@torch.no_grad()
def blend_into(averaged: nn.Module, fresh: nn.Module, decay: float) -> None:
    """averaged = decay * averaged + (1 - decay) * fresh, counters copied."""
    for kept, new in zip(averaged.state_dict().values(), fresh.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1.0 - decay)
        else:
            kept.copy_(new)
