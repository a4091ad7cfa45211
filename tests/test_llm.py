"""The decoder and its search, against slower versions of themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mats_model.config import DecoderConfig, SearchSettings
from mats_model.llm.beam import ROWS, beam_search
from mats_model.llm.decoder import Decoder
from mats_model.llm.graph_decoder import GraphDecoder, decoder_shapes
from mats_model.llm.words import Words
from mats_model.mats import Mats

TINY = DecoderConfig(vocabulary=4096, width=32, layers=2, heads=2, hidden=48, positions=64)


@pytest.fixture
def tiny() -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(TINY).eval()
    # random weights say everything with the same ease: make some words likelier
    decoder.embed.weight.data.mul_(12.0)
    return decoder.requires_grad_(False)


def plain(decoder: Decoder) -> GraphDecoder:
    """The same as it answers."""
    return GraphDecoder(decoder.config, {name: value.numpy() for name, value in decoder.state_dict().items()})


@torch.inference_mode()
def test_the_graph_reads_as_torch(tiny: Decoder) -> None:
    inputs, ours = torch.randn(3, 9, 32), plain(tiny)
    expected, past = tiny(inputs[:, :6])
    logits, kept = ours.read(inputs[:, :6].numpy())
    np.testing.assert_allclose(logits, expected[:, -1].numpy(), atol=1e-4)
    for at in range(6, 9):
        expected, past = tiny(inputs[:, at : at + 1], past)
        logits, kept = ours.read(inputs[:, at : at + 1].numpy(), kept)
        np.testing.assert_allclose(logits, expected[:, 0].numpy(), atol=1e-4)
    assert kept.length == 9 and kept.held[0].numpy().shape == past[0][0].shape


def test_rows_keep_no_company(nano: Mats) -> None:
    decoder, rng = nano.llm.decoder, np.random.default_rng(0)
    first, later = (rng.standard_normal((40, t, 256)).astype(np.float32) for t in (5, 1))
    before, past = decoder.read(first)
    together, _ = decoder.read(later, past, np.arange(40)[::-1])
    for rows in ([0], [7, 3], [39, 1, 2], list(range(11)), list(range(33))):
        logits, past = decoder.read(first[::-1][rows])
        assert np.array_equal(logits, before[::-1][rows])
        assert np.array_equal(decoder.read(later[rows], past)[0], together[rows])


def test_shapes_are_those_that_torch_trains(tiny: Decoder) -> None:
    assert {name: tuple(value.shape) for name, value in tiny.state_dict().items()} == decoder_shapes(TINY)


def test_keys_and_values_change_nothing(tiny: Decoder) -> None:
    inputs = torch.randn(3, 9, 32)
    whole, _ = tiny(inputs)
    first, past = tiny(inputs[:, :5])
    steps = [first]
    for at in range(5, 9):
        step, past = tiny(inputs[:, at : at + 1], past)
        steps.append(step)
    assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-4)


def test_positions_are_causal(tiny: Decoder) -> None:
    inputs = torch.randn(1, 6, 32)
    changed = inputs.clone()
    changed[:, 4:] = 0
    assert torch.allclose(tiny(inputs)[0][:, :4], tiny(changed)[0][:, :4], atol=1e-5)


@torch.inference_mode()
def greedy(
    decoder: Decoder, words: Words, prefix: torch.Tensor, prompt: list[int], settings: SearchSettings
) -> list[int]:
    said: list[int] = []
    for length in range(settings.max_new_tokens):
        ids = torch.tensor([prompt + said])
        logits = decoder(torch.cat([prefix[None], decoder.embed(ids)], 1))[0][0, -1].clone()
        banned = [t for t in words.special if t != words.end or length < settings.min_new_tokens]
        logits[banned] = float("-inf")
        for token in said:
            if words.stem[token] >= 0:
                logits[torch.from_numpy(words.stem == words.stem[token])] = float("-inf")
        token = int(logits.argmax())
        if token == words.end:
            break
        said.append(token)
    return said


def test_one_beam_is_greedy(tiny: Decoder, nano: Mats) -> None:
    settings = SearchSettings(beams=1, max_new_tokens=9)
    prefix = torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(4))
    said = beam_search(plain(tiny), nano.llm.words, prefix.numpy(), "<caption>", settings)
    for row in range(3):
        expected = greedy(tiny, nano.llm.words, prefix[row], nano.llm.words.encode("<caption>"), settings)
        assert said[row][0].text == nano.llm.words.decode(expected)


def test_company_changes_nothing(nano: Mats) -> None:
    prefix = nano.hear(nano.clap.embed_text(["a dog barks", "rain falls", "a man speaks"] * 7))
    together = beam_search(nano.llm.decoder, nano.llm.words, prefix, "<caption>", nano.config.search)
    assert len(together) == 21 > ROWS
    for row in (0, 1, 2, 20):
        alone = beam_search(nano.llm.decoder, nano.llm.words, prefix[row : row + 1], "<caption>", nano.config.search)
        assert alone[0] == together[row]


def test_no_word_comes_twice(nano: Mats) -> None:
    texts = [
        "birds chirp and birds sing",
        "dogs bark and a dog barks",
        "music",
        "a man speaks and a man speaks",
        "engines",
    ]
    said = beam_search(
        nano.llm.decoder, nano.llm.words, nano.hear(nano.clap.embed_text(texts)), "<caption>", nano.config.search
    )
    for candidate in itertools.chain(*said):
        stems = [int(nano.llm.words.stem[token]) for token in nano.llm.words.encode(candidate.text)]
        meaningful = [stem for stem in stems if stem >= 0]
        assert len(meaningful) == len(set(meaningful)), candidate.text


def test_more_beams_find_likelier_answers(tiny: Decoder, nano: Mats) -> None:
    prefix = torch.randn(4, 4, 32, generator=torch.Generator().manual_seed(7))
    best = {
        beams: [
            some[0].score
            for some in beam_search(
                plain(tiny),
                nano.llm.words,
                prefix.numpy(),
                "<caption>",
                SearchSettings(beams=beams, max_new_tokens=6, min_new_tokens=1),
            )
        ]
        for beams in (1, 8)
    }
    assert sum(best[8]) >= sum(best[1]) - 1e-4
