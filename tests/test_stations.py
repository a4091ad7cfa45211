"""Noise, Santa, mapper, text tower: shapes first, then numbers against a slower obvious version."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mats_model.clap.text import TextTower
from mats_model.config import MapperConfig, SantaSettings
from mats_model.errors import UsageError
from mats_model.gap.kmeans import kmeans
from mats_model.gap.noise import add_noise
from mats_model.gap.santa import Santa
from mats_model.mapper import make_mapper
from mats_model.mats import Mats
from mats_model.numpy_mapper import KINDS, NumpyMapper, mapper_shapes
from mats_model.teach.minilm import distil_table
from mats_model.vectors import unit


def units(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_noise_has_the_cosine_of_the_method() -> None:
    clean = units(2000, 1024)
    noised = add_noise(clean, 0.015, torch.Generator().manual_seed(1))
    assert torch.allclose(noised.norm(dim=-1), torch.ones(2000), atol=1e-5)
    assert abs(float((clean * noised).sum(-1).mean()) - 0.247) < 0.01
    assert torch.equal(noised, add_noise(clean, 0.015, torch.Generator().manual_seed(1)))


def test_kmeans_is_lloyd() -> None:
    vectors = units(300, 8).numpy()
    centres, assign = kmeans(vectors, 5, 40, 3)
    assert (assign == np.square(vectors[:, None] - centres).sum(-1).argmin(1)).all()
    for cluster in range(5):
        assert np.allclose(centres[cluster], vectors[assign == cluster].mean(0), atol=1e-5)
    again, _ = kmeans(vectors, 5, 40, 3)
    assert np.array_equal(centres, again)


def test_kmeans_fills_emptied_clusters() -> None:
    vectors = np.concatenate([np.zeros((50, 2)), [[5.0, 5.0], [9.0, 0.0]]]).astype(np.float32)
    _, assign = kmeans(vectors, 3, 10, 0)
    assert len(np.unique(assign)) == 3


def slow_santa(z: np.ndarray, santa: Santa) -> np.ndarray:
    s = santa.settings
    cluster = min(range(len(santa.centres)), key=lambda c: float(np.linalg.norm(z - santa.centres[c])))
    members = [m for m, a in zip(santa.memory, santa.assign.tolist(), strict=True) if a == cluster]
    members.sort(key=lambda m: float(np.linalg.norm(z - m)))
    near = np.stack(members[: s.neighbours])
    weight = np.exp(near @ z / s.temperature)
    return unit((1 - s.blend) * z + s.blend * (weight[:, None] / weight.sum() * near).sum(0))


@pytest.mark.parametrize("neighbours", [4, 200])
def test_santa_is_equations_6_and_7(neighbours: int) -> None:
    settings = SantaSettings(blend=0.3, temperature=0.1, neighbours=neighbours, size=120, clusters=6)
    santa = Santa.build(units(120, 16).numpy(), settings, rounds=10, seed=2)
    heard = units(9, 16, 5).numpy()
    got = santa(heard)
    assert got.dtype == np.float32 and np.allclose(np.linalg.norm(got, axis=-1), 1, atol=1e-5)
    for z, blended in zip(heard, got, strict=True):
        assert np.allclose(slow_santa(z, santa), blended, atol=1e-5)


def test_second_look_is_at_the_nearest_names() -> None:
    texts, names, heard = units(20, 16, 1).numpy(), units(6, 16, 2).numpy(), units(3, 16, 3).numpy()
    plain = Santa.build(texts, SantaSettings(1.0, 0.05, 4, len(texts), 1))
    assert len(plain.looks(heard)) == 1 and "names" not in plain.kept()
    santa = Santa.build(texts, SantaSettings(1.0, 0.05, 4, len(texts), 1, names=6, near_names=2), names=names)
    first, second = santa.looks(heard)
    assert np.array_equal(first, plain(heard))
    for z, look in zip(heard, second, strict=True):
        near = sorted(range(6), key=lambda k: -float(z @ names[k]))[:2]
        weight = np.exp(np.array([z @ names[k] for k in near]) / 0.05)
        assert np.allclose(look, unit(weight[0] * names[near[0]] + weight[1] * names[near[1]]), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_mapper_shapes_and_rows(kind: str) -> None:
    torch.manual_seed(0)
    mapper = make_mapper(MapperConfig(kind, width=16, clip_length=3, prefix_length=5, layers=2, heads=4), 12, 20)
    prefix = mapper(units(4, 12))
    assert prefix.shape == (4, 5, 20)
    assert torch.allclose(mapper(units(4, 12)[2:3]), prefix[2:3], atol=1e-6)
    told = mapper.prefix(units(4, 12).numpy())
    assert torch.equal(told, prefix) and not told.requires_grad and prefix.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_mapper_answers_as_it_was_trained(kind: str) -> None:
    config = MapperConfig(kind, width=16, clip_length=3, prefix_length=5, layers=2, heads=4)
    trained, ours = make_mapper(config, 12, 20), NumpyMapper(config, 12, 20)
    assert {name: tuple(value.shape) for name, value in trained.state_dict().items()} == mapper_shapes(config, 12, 20)
    for name, value in trained.state_dict().items():
        ours.weights[name][:] = value.numpy()
    heard = units(4, 12).numpy()
    made = ours.prefix(heard)
    np.testing.assert_allclose(made, trained.prefix(heard).numpy(), atol=1e-5)
    assert np.array_equal(ours.prefix(heard[2:3]), made[2:3])


def test_text_tower_reads_anything(nano: Mats) -> None:
    tower = nano.clap.text
    vectors = tower(["dog bark", "Dog  bark", "DOG BARK", "\u72ac", "x" * 5000, "rain " * 3000])
    assert vectors.shape == (6, 256) and np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    assert vectors.dtype == np.float32 and (vectors[0] == vectors[1]).all() and (vectors[0] == vectors[2]).all()
    with pytest.raises(UsageError, match="has no words in it"):
        tower(["dog", "  "])


def test_text_tower_knows_what_is_alike(nano: Mats) -> None:
    dog, puppy, violin = nano.clap.embed_text(["dog", "puppy", "violin"])
    assert dog @ puppy > dog @ violin + 0.2


def test_table_survives_eight_bits(nano: Mats) -> None:
    pieces = torch.randn(30_522, 64, generator=torch.Generator().manual_seed(0))
    table = distil_table(pieces, width=32)
    tower = TextTower(nano.clap.text.tokenizer_json, width=32)
    tower.set_table(table.numpy())
    back = torch.from_numpy(tower.table())
    assert float(F.cosine_similarity(back, table).min()) > 0.999
    # rows keep their weights against each other
    ratio = back.norm(dim=1) / table.norm(dim=1)
    assert float(ratio[2000:].std() / ratio[2000:].mean()) < 0.01
