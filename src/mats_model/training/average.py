"""The running mean of the weights, which is what is kept where a recipe asks for it (`train.ema`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from mats_model.training.step import Learner


class Average:
    """Of what a learner trains; with `ema` 0 there is none, and the weights themselves are kept."""

    def __init__(self, learner: Learner, ema: float) -> None:
        self.learner, self.ema = learner, ema
        self.mean = {key: value.detach().float().clone() for key, value in learner.trained().items()} if ema else {}

    def update(self, step: int) -> None:
        """After a step, counted from 0; the first ones weigh more, so that the beginning is soon forgotten."""
        if not self.mean:
            return
        fresh, share = self.learner.trained(), 1 - min(self.ema, (step + 1) / (step + 10))
        for key, value in self.mean.items():
            value.lerp_(fresh[key].float(), share)

    def kept(self) -> dict[str, torch.Tensor]:
        """The weights that will be kept, by name."""
        return self.mean or self.learner.trained()

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The learner answers with the weights that will be kept, for as long as this lasts."""
        own, was = self.learner.trained(), self.learner.training
        fresh = {key: value.detach().clone() for key, value in own.items()} if self.mean else {}
        self.learner.eval()
        try:
            with torch.no_grad():
                for key, value in self.mean.items():
                    own[key].copy_(value)
                yield
        finally:
            with torch.no_grad():
                for key, value in fresh.items():
                    own[key].copy_(value)
            self.learner.train(was)
