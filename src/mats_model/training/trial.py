"""One step of a small decoder, tried: how long a step of a run will take here, before there is anything to train."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from mats_model.config import MatsConfig
from mats_model.device import fast_bf16
from mats_model.llm.decoder import Decoder
from mats_model.llm.protocol import Tokens
from mats_model.llm.small import SmallLLM
from mats_model.llm.words import Words
from mats_model.mapper import make_mapper
from mats_model.training.recipe import LoopSettings
from mats_model.training.step import make_optimiser

_ROWS = 16  # examples at once, at most: more of them take as much longer
_SECONDS = 0.4  # for so long steps are repeated, by the clock; the fastest counts, since the others were disturbed
_PROMPT = 3  # tokens between prefix and answer


class _NoWords(Words):
    """Tokens are given as numbers."""

    def __init__(self) -> None:
        pass


def step_seconds(config: MatsConfig, settings: LoopSettings, positions: int, device: torch.device) -> float:
    """A whole batch of examples of so many positions behind the prefix, its pieces and the optimiser's part.

    On processors it is tried on one thread, by the time that it works, and on all, by the clock, and the less counts:
    where other programs run, threads that wait for each other would make it many times too much.
    """
    threads = torch.get_num_threads()
    alone = device.type == "cpu" and threads > 1
    try:
        if alone:
            torch.set_num_threads(1)
        least = _tried(config, settings, positions, device, time.process_time if alone else time.monotonic)
    finally:
        torch.set_num_threads(threads)
    return min(least, _tried(config, settings, positions, device, time.monotonic)) if alone else least


def _tried(
    config: MatsConfig, settings: LoopSettings, positions: int, device: torch.device, clock: Callable[[], float]
) -> float:
    rows = min(settings.micro_batch or settings.batch, _ROWS)
    llm = SmallLLM(Decoder(config.decoder), _NoWords(), settings.dropout).to(device)
    mapper = make_mapper(config.mapper, config.width, llm.width).to(device)
    both = torch.nn.ModuleList([mapper, llm])
    optimiser = make_optimiser(both, settings.learning_rate, settings.weight_decay, settings.beta2)
    answer = [1] * max(1, positions - _PROMPT)
    batch = [Tokens([], [0] * _PROMPT, answer) for _ in range(rows)]
    bf16 = settings.bf16 and fast_bf16(device)
    meant = torch.nn.functional.normalize(torch.ones(rows, config.width, device=device), dim=-1)
    forward: list[float] = []
    update: list[float] = []
    ends = time.monotonic() + _SECONDS
    while len(forward) < 2 or time.monotonic() < ends:  # the first one makes room that the others use again
        began = clock()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss, count = llm.loss(mapper(meant), batch)
        (loss / count).backward()
        loss.item()
        turned = clock()
        torch.nn.utils.clip_grad_norm_(both.parameters(), settings.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        forward.append(turned - began)
        update.append(clock() - turned)
    return min(forward) * settings.batch / rows + min(update)
