"""Text-only training on a handful of captions: it learns, it repeats itself, and it goes on as if it had never stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mats_model.batches import tell_as_tags
from mats_model.captions import Example
from mats_model.config import DecoderConfig, MapperConfig, MatsConfig
from mats_model.llm.decoder import learn_tokenizer
from mats_model.mats import Mats
from mats_model.teach.decoder import Encoded, Step, TrainSettings, encode, train_text

TEXTS = [
    f"a {size} {thing} {does}"
    for size in ("small", "big")
    for thing, does in [("dog", "barks"), ("cat", "meows"), ("clock", "ticks"), ("car", "passes")]
]
CONFIG = MatsConfig(mapper=MapperConfig(width=32, layers=1), decoder=DecoderConfig(vocabulary=300, width=32, layers=1, heads=2, hidden=48))
SETTINGS = TrainSettings(passes=4, draws=160, batch=8, warmup=5, rate=5e-3, plain_from=2)


@pytest.fixture
def data(nano: Mats) -> tuple[Encoded, torch.Tensor]:
    torch.set_num_threads(1)
    examples = [Example(text, "<caption>", text) for text in TEXTS]
    tokenizer = learn_tokenizer([example.answer for example in examples], 300)
    odds = torch.ones(len(examples))
    return encode(examples, nano.clap.text, tokenizer, odds, odds), nano.clap.text(["dog", "cat", "clock", "car", "rain", "a", "b", "c", "d"])


def run(data: tuple[Encoded, torch.Tensor], nano: Mats, folder: Path, settings: TrainSettings = SETTINGS, stop: int | None = None) -> list[Step]:
    steps = []
    for step in train_text(data[0], data[0], nano.clap.text, data[1], folder, CONFIG, settings):
        steps.append(step)
        if stop and step.held_out is not None and step.step >= stop:
            break
    return steps


def test_it_learns_and_repeats(data: tuple[Encoded, torch.Tensor], nano: Mats, tmp_path: Path) -> None:
    steps = run(data, nano, tmp_path / "one")
    held_out = [step.held_out for step in steps if step.held_out is not None]
    assert len(held_out) == 4 and held_out[-1] < held_out[0] - 0.3
    assert run(data, nano, tmp_path / "two")[-1].held_out == held_out[-1]
    assert run(data, nano, tmp_path / "three", replace(SETTINGS, seed=2))[-1].held_out != held_out[-1]


def test_stopped_run_ends_the_same(data: tuple[Encoded, torch.Tensor], nano: Mats, tmp_path: Path) -> None:
    run(data, nano, tmp_path / "whole")
    run(data, nano, tmp_path / "parts", stop=41)
    run(data, nano, tmp_path / "parts")
    whole, parts = (torch.load(tmp_path / name / "text.pt", weights_only=True) for name in ("whole", "parts"))
    for part in ("mapper", "decoder"):
        assert all(torch.equal(whole[part][key], parts[part][key]) for key in whole[part])


def test_padding_and_prompt_do_not_count(data: tuple[Encoded, torch.Tensor], nano: Mats) -> None:
    from mats_model.llm.decoder import Decoder
    from mats_model.mapper import TransformerMapper
    from mats_model.teach.decoder import TextOnly

    torch.manual_seed(0)
    model = TextOnly(TransformerMapper(256, 32, 4, 4, 1, 4, 32), Decoder(CONFIG.decoder), 0.0).eval()
    embedding = data[1][:2]
    tokens = torch.tensor([[2, 9, 8, 7, 1, 0, 0], [2, 9, 8, 1, 0, 0, 0]])
    asked = torch.tensor([2, 1])
    single = [float(model.loss(embedding[i : i + 1], tokens[i : i + 1, :length], asked[i : i + 1])) for i, length in ((0, 5), (1, 4))]
    # three answer tokens each, <end> included
    assert abs(float(model.loss(embedding, tokens, asked)) - (single[0] * 3 + single[1] * 3) / 6) < 1e-5


def test_told_as_tags(nano: Mats) -> None:
    names = nano.clap.text(["dog", "cat", "clock", "car", "rain", "wind", "music", "speech", "bell"])
    meant = nano.clap.text(["a dog barks", "rain falls"])
    told = tell_as_tags(meant, names)
    assert torch.allclose(told.norm(dim=-1), torch.ones(2), atol=1e-5)
    assert (told @ names.T).argmax(1).tolist() == [0, 4]
