"""Text-only training of nano's mapper and decoder: captions in, captions and answers out, noise on the embedding, no audio.

A generator of `Step`; the caller decides what to show. Seeded throughout; a killed run goes on from its last pass.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from mats_model.batches import tell_as_tags
from mats_model.captions import Example
from mats_model.config import MatsConfig
from mats_model.llm.decoder import Decoder
from mats_model.mapper import Mapper, make_mapper
from mats_model.noise import add_noise

PAD, END = 0, 1


@dataclass(frozen=True)
class TrainSettings:
    """What decides the weights, besides the examples and the text tower."""

    passes: int = 12
    draws: int = 40_960  # examples drawn in a pass, by their odds
    batch: int = 128
    rate: float = 1.5e-3
    warmup: int = 300
    weight_decay: float = 0.05
    dropout: float = 0.1  # of the logits' input, the one place where a decoder this small overfits
    variance: float = 0.0078  # noise per dimension: 2/256, so that the cosine to the clean embedding is .58
    keywords: float = 0.3  # share of the batch whose text loses words at random before it is embedded
    tags: float = 0.3  # share of the batch told as a blend of class names, the way the audio tower speaks
    plain_from: int = 7  # the pass from which `plain_odds` are drawn by: language first, then one sound at a time
    seed: int = 1


@dataclass(frozen=True)
class Step:
    """Mean loss over the last fifty steps."""

    step: int
    steps: int
    loss: float
    held_out: float | None
    seconds: float


@dataclass(frozen=True)
class Encoded:
    """Examples as tensors: what the text tower reads and what the decoder reads, both ragged and flattened."""

    pieces: list[torch.Tensor]  # word pieces of the text
    tokens: list[torch.Tensor]  # prompt, answer, <end>
    asked: list[int]  # length of the prompt
    odds: torch.Tensor  # of being drawn in the first passes
    plain_odds: torch.Tensor  # and in the later ones


def encode(examples: list[Example], table: nn.Module, tokenizer_json: str, odds: torch.Tensor, plain_odds: torch.Tensor) -> Encoded:
    """Tokenize everything once."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    reader = table.tokenizer
    pieces = [
        torch.tensor(e.ids)
        for e in reader.encode_batch([x.text for x in examples], add_special_tokens=False)  # type: ignore[operator, union-attr]
    ]
    prompts = [e.ids for e in tokenizer.encode_batch([x.prompt for x in examples])]
    answers = [e.ids for e in tokenizer.encode_batch([x.answer for x in examples])]
    tokens = [torch.tensor([*p, *a, END]) for p, a in zip(prompts, answers, strict=True)]
    return Encoded(pieces, tokens, [len(p) for p in prompts], odds, plain_odds)


class TextOnly(nn.Module):
    """The two trained parts as one module."""

    def __init__(self, mapper: Mapper, decoder: Decoder, dropout: float) -> None:
        super().__init__()
        self.mapper, self.decoder, self.dropout = mapper, decoder, dropout

    def loss(self, embedding: torch.Tensor, tokens: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """(n, d), (n, t) padded with 0, (n,) -> mean cross entropy of answers and their <end>."""
        prefix = self.mapper(embedding)
        inputs = torch.cat([prefix, self.decoder.embed(tokens[:, :-1]).to(prefix.dtype)], 1)
        hidden = self.decoder.hidden(F.dropout(inputs, self.dropout, self.training))
        place = torch.arange(1, tokens.shape[1])
        answer = (place >= asked[:, None]) & (tokens[:, 1:] != PAD)
        # only the positions whose next token is part of an answer reach the output matrix
        logits = self.decoder.logits(hidden[:, prefix.shape[1] :][answer])
        return F.cross_entropy(logits.float(), tokens[:, 1:][answer])


def _embed(table: nn.Module, pieces: list[torch.Tensor], keep: float, generator: torch.Generator) -> torch.Tensor:
    flat = torch.cat(pieces)
    owner = torch.repeat_interleave(torch.arange(len(pieces)), torch.tensor([len(p) for p in pieces]))
    rows = table.codes[flat].float() * table.scales[flat].float()  # type: ignore[index]
    kept = (torch.rand(len(flat), 1, generator=generator) < keep).float()
    # a text that lost every word keeps them all
    alive = torch.zeros(len(pieces), 1).index_add_(0, owner, kept) > 0
    summed = torch.zeros(len(pieces), rows.shape[1]).index_add_(0, owner, rows * torch.where(alive[owner], kept, 1.0))
    return F.normalize(summed, dim=-1)


def _batch(data: Encoded, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = nn.utils.rnn.pad_sequence([data.tokens[i] for i in rows.tolist()], batch_first=True, padding_value=PAD)
    return tokens, torch.tensor([data.asked[i] for i in rows.tolist()])


def train_text(
    data: Encoded, held_out: Encoded, table: nn.Module, names: torch.Tensor, folder: Path, config: MatsConfig, settings: TrainSettings
) -> Iterator[Step]:
    """Train and write `folder`/text.pt ({"mapper", "decoder"}) after each pass."""
    torch.manual_seed(settings.seed)
    folder.mkdir(parents=True, exist_ok=True)
    mapper = make_mapper(config.mapper, config.width, config.decoder.width)
    model = TextOnly(mapper, Decoder(config.decoder), settings.dropout)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98))
    per_pass = settings.draws // settings.batch
    steps = settings.passes * per_pass
    state_file, done = folder / "state.pt", 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["passes"])
    bf16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    began, losses = time.monotonic(), []
    for number in range(done, settings.passes):
        generator = torch.Generator().manual_seed(settings.seed * 1000 + number)
        torch.manual_seed(settings.seed * 1000 + number)  # dropout
        odds = data.odds if number < settings.plain_from else data.plain_odds
        order = torch.multinomial(odds, per_pass * settings.batch, replacement=True, generator=generator)
        # batches of like length waste no padding; their order is random
        lengths = torch.tensor([len(data.tokens[i]) for i in order.tolist()])
        rows_of = []
        for chunk in torch.split(torch.arange(len(order)), settings.batch * 16):
            ranked = order[chunk[lengths[chunk].argsort(stable=True)]]
            rows_of += [b for b in torch.split(ranked, settings.batch) if len(b) == settings.batch]
        rows_of = [rows_of[i] for i in torch.randperm(len(rows_of), generator=generator).tolist()]
        for at, rows in enumerate(rows_of):
            step = number * per_pass + at
            for group in optimiser.param_groups:
                ramp = min(1.0, (step + 1) / settings.warmup)
                group["lr"] = settings.rate * ramp * max(0.01, 0.5 + 0.5 * math.cos(math.pi * step / steps))
            tokens, asked = _batch(data, rows)
            shuffled = torch.randperm(len(rows), generator=generator)
            fewer = int(settings.keywords * len(rows))
            pieces = [data.pieces[i] for i in rows.tolist()]
            meant = _embed(table, pieces, 1.0, generator)
            some = shuffled[:fewer]
            meant[some] = _embed(table, [pieces[i] for i in some.tolist()], 0.6, generator)
            told = torch.rand(len(rows), generator=generator) < settings.tags
            meant[told] = tell_as_tags(meant[told], names)
            noised = add_noise(meant, settings.variance, generator)
            model.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model.loss(noised, tokens, asked)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
            if len(losses) == 50:
                yield Step(step + 1, steps, sum(losses) / 50, None, time.monotonic() - began)
                losses.clear()
        yield Step((number + 1) * per_pass, steps, float("nan"), evaluate(model, held_out, table, settings), time.monotonic() - began)
        _write({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "passes": number + 1}, state_file)
        _write({"mapper": model.mapper.state_dict(), "decoder": model.decoder.state_dict()}, folder / "text.pt")


@torch.inference_mode()
def evaluate(model: TextOnly, data: Encoded, table: nn.Module, settings: TrainSettings) -> float:
    """Mean loss on held-out examples, with the same noise each time."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    batches = torch.split(torch.arange(len(data.tokens)), settings.batch)
    for rows in batches:
        meant = _embed(table, [data.pieces[i] for i in rows.tolist()], 1.0, generator)
        total += float(model.loss(add_noise(meant, settings.variance, generator), *_batch(data, rows))) * len(rows)
    return total / len(data.tokens)


def _write(state: dict[str, object], path: Path) -> None:
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)
