"""Noise, Santa, mapper, text tower: shapes first, then numbers against a slower obvious version."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mats_model.clap.text import TextTower, distil_table
from mats_model.config import MapperConfig, SantaSettings
from mats_model.errors import UsageError
from mats_model.gap.noise import add_noise
from mats_model.gap.santa import Santa, kmeans
from mats_model.mapper import KINDS, make_mapper
from mats_model.mats import Mats


def units(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_noise_has_the_cosine_of_the_method() -> None:
    clean = units(2000, 1024)
    noised = add_noise(clean, 0.015, torch.Generator().manual_seed(1))
    assert torch.allclose(noised.norm(dim=-1), torch.ones(2000), atol=1e-5)
    assert abs(float((clean * noised).sum(-1).mean()) - 0.247) < 0.01
    assert torch.equal(noised, add_noise(clean, 0.015, torch.Generator().manual_seed(1)))


def test_kmeans_is_lloyd() -> None:
    vectors = units(300, 8)
    centres, assign = kmeans(vectors, 5, 40, 3)
    assert torch.equal(assign, torch.cdist(vectors, centres).argmin(1))
    for cluster in range(5):
        assert torch.allclose(centres[cluster], vectors[assign == cluster].mean(0), atol=1e-5)
    again, _ = kmeans(vectors, 5, 40, 3)
    assert torch.equal(centres, again)


def test_kmeans_fills_emptied_clusters() -> None:
    vectors = torch.cat([torch.zeros(50, 2), torch.tensor([[5.0, 5.0], [9.0, 0.0]])])
    _, assign = kmeans(vectors, 3, 10, 0)
    assert len(assign.unique()) == 3


def slow_santa(z: torch.Tensor, santa: Santa) -> torch.Tensor:
    s = santa.settings
    cluster = min(range(len(santa.centres)), key=lambda c: float((z - santa.centres[c]).norm()))
    members = [m for m, a in zip(santa.memory, santa.assign.tolist(), strict=True) if a == cluster]
    members.sort(key=lambda m: float((z - m).norm()))
    near = torch.stack(members[: s.neighbours])
    weight = torch.softmax(near @ z / s.temperature, 0)
    return F.normalize((1 - s.blend) * z + s.blend * (weight[:, None] * near).sum(0), dim=-1)


@pytest.mark.parametrize("neighbours", [4, 200])
def test_santa_is_equations_6_and_7(neighbours: int) -> None:
    settings = SantaSettings(blend=0.3, temperature=0.1, neighbours=neighbours, size=120, clusters=6)
    santa = Santa.build(units(120, 16), settings, rounds=10, seed=2)
    heard = units(9, 16, 5)
    got = santa(heard)
    assert torch.allclose(got.norm(dim=-1), torch.ones(9), atol=1e-5)
    for z, blended in zip(heard, got, strict=True):
        assert torch.allclose(slow_santa(z, santa), blended, atol=1e-5)


def test_second_look_is_at_the_nearest_names() -> None:
    texts, names, heard = units(20, 16, 1), units(6, 16, 2), units(3, 16, 3)
    plain = Santa.build(texts, SantaSettings(1.0, 0.05, 4, len(texts), 1))
    assert len(plain.looks(heard)) == 1 and "names" not in plain.state_dict()
    santa = Santa.build(texts, SantaSettings(1.0, 0.05, 4, len(texts), 1, names=6, near_names=2), names=names)
    first, second = santa.looks(heard)
    assert torch.equal(first, plain(heard))
    for z, look in zip(heard, second, strict=True):
        near = sorted(range(6), key=lambda k: -float(z @ names[k]))[:2]
        weight = torch.softmax(torch.stack([z @ names[k] for k in near]) / 0.05, 0)
        assert torch.allclose(
            look, F.normalize(weight[0] * names[near[0]] + weight[1] * names[near[1]], dim=-1), atol=1e-5
        )


@pytest.mark.parametrize("kind", KINDS)
def test_mapper_shapes_and_rows(kind: str) -> None:
    torch.manual_seed(0)
    mapper = make_mapper(MapperConfig(kind, width=16, clip_length=3, prefix_length=5, layers=2, heads=4), 12, 20)
    prefix = mapper(units(4, 12))
    assert prefix.shape == (4, 5, 20)
    assert torch.allclose(mapper(units(4, 12)[2:3]), prefix[2:3], atol=1e-6)


def test_text_tower_reads_anything(nano: Mats) -> None:
    tower = nano.clap.text
    vectors = tower(["dog bark", "Dog  bark", "DOG BARK", "\u72ac", "x" * 5000, "rain " * 3000])
    assert vectors.shape == (6, 256) and torch.allclose(vectors.norm(dim=-1), torch.ones(6), atol=1e-5)
    assert torch.allclose(vectors[0], vectors[1]) and torch.allclose(vectors[0], vectors[2])
    with pytest.raises(UsageError, match="has no words in it"):
        tower(["dog", "  "])


def test_text_tower_knows_what_is_alike(nano: Mats) -> None:
    dog, puppy, violin = nano.clap.embed_text(["dog", "puppy", "violin"])
    assert dog @ puppy > dog @ violin + 0.2


def test_table_survives_eight_bits(nano: Mats) -> None:
    pieces = torch.randn(30_522, 64, generator=torch.Generator().manual_seed(0))
    table = distil_table(pieces, width=32)
    tower = TextTower(nano.clap.text.tokenizer_json, width=32)
    tower.set_table(table)
    back = tower.codes.float() * tower.scales.float()
    assert float(F.cosine_similarity(back, table).min()) > 0.999
    # rows keep their weights against each other
    ratio = back.norm(dim=1) / table.norm(dim=1)
    assert float(ratio[2000:].std() / ratio[2000:].mean()) < 0.01
