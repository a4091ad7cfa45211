"""Looking at a run: its loss on held-out examples, how well some are answered, and what it says now."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mats_model.errors import MatsError
from mats_model.evaluate.metrics import rouge_l
from mats_model.training.average import Average
from mats_model.training.events import Sample
from mats_model.training.prepare import Prepared
from mats_model.training.sources import TextExample
from mats_model.training.step import Learner, less_memory, memory_said

_CHUNK = 64  # examples that share a seed of noise, whatever the pieces are
_FEWER_ANSWERS = ": set held_out.answers=0, or train.sample_every above train.steps."


class Looks:
    """With the weights that will be kept. Errors: DeviceError when memory runs out, with the setting to lower."""

    def __init__(self, prepared: Prepared, learner: Learner, average: Average) -> None:
        self.mats, self.recipe, self.data = prepared.mats, prepared.recipe, prepared.held_out
        self.told = prepared.data.examples
        self.learner, self.average = learner, average

    def loss(self, micro: int, stop: Callable[[], bool] = lambda: False) -> float | None:
        """Mean per token of an answer, `micro` examples at once, the noise the same each time. None where `stop` came
        first."""
        assert self.data is not None
        size = min(self.recipe.train.batch, _CHUNK)
        total, count = 0.0, 0
        with self.average.in_place(), memory_said(less_memory(micro)):
            for at in range(0, len(self.data.tokens), size):
                if stop():
                    return None
                batch = self.data.batch(at, size, torch.Generator().manual_seed(at))
                for piece in range(0, len(batch.tokens), micro):
                    part = batch.part(piece, micro)
                    loss, tokens = self.learner(part.meant, part.noise, part.tokens)
                    total, count = total + float(loss), count + tokens
        return total / count

    def rouge(self) -> float | None:
        """ROUGE-L of the answers to some of them; None where the recipe asks for none."""
        some = self._examples(self.recipe.held_out.answers)
        if not some:
            return None
        with self.average.in_place(), torch.inference_mode(), memory_said(_FEWER_ANSWERS):
            return sum(rouge_l(self._answer(example), [example.answer]) for example in some) / len(some)

    def samples(self, step: int, count: int = 3) -> list[Sample]:
        """Answers to held-out texts, or where there are none to some that are trained on, and to the sounds that the
        recipe names."""
        with self.average.in_place(), torch.inference_mode(), memory_said(_FEWER_ANSWERS):
            told = [
                Sample(step, e.text, e.answer, self._answer(e))
                for e in self._examples(count) or self.told[:: -(-len(self.told) // count)]
            ]
            return told + [Sample(step, path, "", self._heard(path)) for path in self.recipe.held_out.audio]

    def _examples(self, count: int) -> list[TextExample]:
        return self.data.examples[:count] if self.data else []

    def _answer(self, example: TextExample) -> str:
        prefix = self.mats.mapper.prefix(self.mats.clap.embed_text([example.text]))
        return self.mats.llm.answers(prefix, example.asked, self.mats.config.search)[0][0].text

    def _heard(self, path: str) -> str:
        try:
            return self.mats.caption(path)
        except MatsError as error:
            return f"({error})"
