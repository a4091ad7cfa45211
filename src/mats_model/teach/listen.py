"""Distil the teacher into the audio tower, section by section, then all of it together.

Each section of the tower ends where a map of the teacher does. A section is given the teacher's own map and taught the
next one: it does not wait for the sections before it, nor learn from their mistakes, and what it must learn is so local
that a few hours of sound decide it. Then each is given what the section before it makes, and the aim itself counts: the
teacher's feature (384, at 16 places in time and in all) and its 527 tags. Everything is seeded; a checkpoint is written
after each pass and the same command goes on from it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mats_model.clap.layers import LATE
from mats_model.clap.tower import AudioTower, fold
from mats_model.device import fast_bf16
from mats_model.teach.parts import DEPTHS, Parts, decibels
from mats_model.training.checkpoints import write_state
from mats_model.training.step import make_optimiser

_LATE_CHANNELS = 64  # of the teacher
_GROUP = 4  # parts read side by side
Losses = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LessonSettings:
    """One section's lesson, or the common one."""

    passes: int = 4
    learning_rate: float = 2e-3
    batch: int = 64
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.995
    seed: int = 5

    FORMER: ClassVar[Mapping[str, str]] = {"rate": "learning_rate"}


@dataclass(frozen=True)
class Pass:
    """One pass over the parts: means of the parts of the loss."""

    lesson: str
    number: int
    passes: int
    losses: dict[str, float]
    seconds: float


class Pupil(nn.Module):
    """The tower with what is thrown away afterwards: a hint, and the statistics by which the teacher's maps are
    measured."""

    def __init__(self, part: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.tower = AudioTower(norm=True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.hint = nn.Conv2d(LATE, _LATE_CHANNELS, 1)
        for name in DEPTHS:
            some = torch.from_numpy(np.array(part[name][:1024])).float()
            self.register_buffer(f"{name}_std", some.std((0, 2, 3))[:, None, None] + 1e-3)
        feature = torch.from_numpy(np.array(part["local"])).float().mean(2)
        logits = torch.from_numpy(np.array(part["logits"])).float()
        self.register_buffer("logits_std", logits.std(0) + 1e-3)
        self.tower.mean.copy_(feature.mean(0))
        self.tower.std.copy_(feature.std(0) + 1e-3)
        last = self.tower.tags[-1]
        assert isinstance(last, nn.Linear)
        last.bias.data.copy_(torch.logit(logits.sigmoid().mean(0).clamp(1e-5, 0.5)))

    def run(self, section: str, x: torch.Tensor) -> torch.Tensor:
        """The first two sections in bfloat16 where that is fast; convolutions of one channel each are slower in it."""
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16() and section != "late"):
            return getattr(self.tower, section)(x).float()

    def map_loss(self, made: torch.Tensor, wanted: torch.Tensor, name: str) -> torch.Tensor:
        """Squared error in units of each channel's deviation."""
        std = self.get_buffer(f"{name}_std")
        return F.mse_loss(made / std, wanted / std)

    def feature_losses(self, late: torch.Tensor, told: dict[str, torch.Tensor]) -> tuple[torch.Tensor, Losses]:
        """The last section's map -> standardised feature (n, 384), and how far it is from the teacher's."""
        local = self.tower.standard(self.tower.last(late).mean(2).transpose(1, 2))
        wanted = self.tower.standard(told["local"].transpose(1, 2))
        feature = local.mean(1)
        return feature, {
            "late": self.map_loss(self.hint(late), told["late"], "late"),
            "local": F.smooth_l1_loss(local, wanted, beta=1.0),
            "feature": 2.0 * F.smooth_l1_loss(feature, wanted.mean(1), beta=0.5),
        }

    def tag_losses(self, feature: torch.Tensor, told: dict[str, torch.Tensor]) -> Losses:
        """Cross entropy of the tags above its least, and squared error of their logits."""
        logits, goal = self.tower.tags(feature), told["logits"]
        scores, std = goal.sigmoid(), self.get_buffer("logits_std")
        least = F.binary_cross_entropy_with_logits(goal, scores, reduction="none").sum(1).mean()
        excess = F.binary_cross_entropy_with_logits(logits, scores, reduction="none").sum(1).mean() - least
        return {"tags": 0.1 * excess, "logits": F.mse_loss(logits / std, goal / std)}


def _early(pupil: Pupil, told: dict[str, torch.Tensor]) -> Losses:
    return {"early": pupil.map_loss(pupil.run("early", pupil.tower.scaled(told["mels"])), told["early"], "early")}


def _middle(pupil: Pupil, told: dict[str, torch.Tensor]) -> Losses:
    return {"middle": pupil.map_loss(pupil.run("middle", told["early"]), told["middle"], "middle")}


def _late(pupil: Pupil, told: dict[str, torch.Tensor]) -> Losses:
    return pupil.feature_losses(pupil.run("late", told["middle"]), told)[1]


def _tags(pupil: Pupil, told: dict[str, torch.Tensor]) -> Losses:
    return pupil.tag_losses(pupil.tower.standard(told["local"].mean(2)), told)


def _together(pupil: Pupil, told: dict[str, torch.Tensor]) -> Losses:
    """All of it: the maps count less than the aim."""
    early = pupil.run("early", pupil.tower.scaled(told["mels"]))
    middle = pupil.run("middle", early)
    feature, losses = pupil.feature_losses(pupil.run("late", middle), told)
    hints = {"early": 0.3 * pupil.map_loss(early, told["early"], "early")}
    hints["middle"] = 0.3 * pupil.map_loss(middle, told["middle"], "middle")
    losses |= {"late": 0.3 * losses["late"], "local": 0.5 * losses["local"]}
    return hints | losses | pupil.tag_losses(feature, told)


# lesson -> its losses, what of a part it reads, and which modules learn
_LESSONS: dict[str, tuple[Callable[[Pupil, dict[str, torch.Tensor]], Losses], tuple[str, ...], tuple[str, ...]]] = {
    "early": (_early, ("mels", "early"), ("tower.early",)),
    "middle": (_middle, ("early", "middle"), ("tower.middle",)),
    "late": (_late, ("middle", "late", "local"), ("tower.late", "tower.last", "hint")),
    "tags": (_tags, ("local", "logits"), ("tower.tags",)),
    "together": (_together, ("mels", *DEPTHS, "local", "logits"), ("tower", "hint")),
}
LESSONS = tuple(_LESSONS)


def _rows(parts: list[dict[str, np.ndarray]], rows: np.ndarray, name: str) -> torch.Tensor:
    """Some rows of several parts laid end to end, `rows` rising, as the lessons want them."""
    size = len(parts[0][name])
    some = np.concatenate([part[name][rows[rows // size == at] - at * size] for at, part in enumerate(parts)])
    if name == "mels":
        return decibels(some)
    told = torch.from_numpy(some).float()
    return told.contiguous(memory_format=torch.channels_last) if told.ndim == 4 else told


def teach(lesson: str, pupil: Pupil, parts: Parts, folder: Path, settings: LessonSettings) -> Iterator[Pass]:
    """One lesson, after which `pupil` holds the running mean of the weights; `folder`/LESSON.pt goes on where it was
    killed."""
    losses_of, names, learns = _LESSONS[lesson]
    file = folder / f"{lesson}.pt"
    averaged = copy.deepcopy(pupil).requires_grad_(False)
    pupil.requires_grad_(False)
    for name in learns:
        pupil.get_submodule(name).requires_grad_(True)
    optimiser, done = make_optimiser(pupil, settings.learning_rate, settings.weight_decay, 0.99), 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        pupil.load_state_dict(state["pupil"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["passes"])
    each = sum(min(_GROUP, parts.count - at) * parts.size // settings.batch for at in range(0, parts.count, _GROUP))
    began, step = time.monotonic(), done * each
    for number in range(done, settings.passes):
        rng = np.random.default_rng([settings.seed, number])
        order, seen = rng.permutation(parts.count), []
        for at in range(0, parts.count, _GROUP):
            group = [parts[int(place)] for place in order[at : at + _GROUP]]
            rows = rng.permutation(parts.size * len(group))
            for start in range(0, len(rows) - settings.batch + 1, settings.batch):
                some = np.sort(rows[start : start + settings.batch])
                for module in learns:
                    pupil.get_submodule(module).train()
                ramp = min(1.0, (step + 1) / settings.warmup)
                for group_of in optimiser.param_groups:
                    group_of["lr"] = (
                        settings.learning_rate
                        * ramp
                        * (0.5 + 0.5 * math.cos(math.pi * step / (each * settings.passes)))
                        + 1e-6
                    )
                losses = losses_of(pupil, {name: _rows(group, some, name) for name in names})
                optimiser.zero_grad(set_to_none=True)
                torch.stack(list(losses.values())).sum().backward()
                nn.utils.clip_grad_norm_(pupil.parameters(), 5.0)
                optimiser.step()
                step += 1
                blend_into(averaged, pupil, min(settings.ema, step / (step + 9)))
                seen.append({name: float(loss.detach()) for name, loss in losses.items()})
        state = {"pupil": pupil.state_dict(), "averaged": averaged.state_dict(), "optimiser": optimiser.state_dict()}
        write_state({**state, "passes": number + 1}, file)
        means = {name: float(np.mean([row[name] for row in seen])) for name in seen[0]}
        yield Pass(lesson, number + 1, settings.passes, means, time.monotonic() - began)
    pupil.load_state_dict(averaged.state_dict())
    pupil.eval()


def taught(pupil: Pupil, file: Path) -> None:
    """Write the tower as it ships."""
    write_state(dict(fold(pupil.tower).state_dict()), file)


@torch.inference_mode()
def hear_codes(tower: AudioTower, codes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The tower's feature (n, 384) and tag logits (n, 527) for 8-bit log-mels (n, frames, mels)."""
    tower.eval()
    parts = [tower(decibels(codes[at : at + 64])) for at in range(0, len(codes), 64)]
    return torch.cat([feature for feature, _ in parts]), torch.cat([logits for _, logits in parts])


@torch.no_grad()
def blend_into(averaged: nn.Module, fresh: nn.Module, decay: float) -> None:
    """averaged = decay * averaged + (1 - decay) * fresh, counters copied."""
    for kept, new in zip(averaged.state_dict().values(), fresh.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1.0 - decay)
        else:
            kept.copy_(new)
