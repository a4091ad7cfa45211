"""The makers of nano, each in miniature and on made-up sounds; the real run is recipes/nano/nano.yaml."""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, encoded, noise

from mats_cli.train import nano_recipe
from mats_model.clap.tower import AudioTower
from mats_model.mats import Mats
from mats_model.recipe import read_values
from mats_model.teach.align import AlignSettings, Heard, calibrate, file_label, fit_head
from mats_model.teach.clips import Clip, prepare
from mats_model.teach.listen import ListenSettings, hear_pool, train_tower
from mats_model.teach.nano import NanoRecipe
from mats_model.teach.pool import fill
from mats_model.teach.teacher import CLASSES, Teacher, kaldi_mel_bank
from mats_model.teach.wild import texture, vary


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Two shards of eight short clips."""
    folder = tmp_path / "audio"
    folder.mkdir()
    rows = []
    for shard in range(2):
        with tarfile.open(folder / f"shard-{shard}.tar", "w") as tar:
            for number in range(4):
                name = f"{shard}{number}.opus"
                data = encoded(noise(1 + number, 48_000, seed=shard * 4 + number), 48_000, "OGG", "OPUS")
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                rows.append({"clip": name, "shard": str(shard), "source": "deb/scratch", "family": "sfx", "label": f"noise {number}"})
    with (folder / "manifest.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """Random weights in the published layout: for tests only."""
    torch.manual_seed(0)
    path = tmp_path / "teacher.pt"
    torch.save(Teacher().state_dict(), path)
    return path


def test_clips_pool_and_tower(audio: Path, teacher: Path, tmp_path: Path) -> None:
    clips = prepare(audio, tmp_path / "clips")
    assert [row.label for row in clips.rows] == [f"noise {n}" for n in range(4)] * 2
    assert [abs(len(clips[i]) - (1 + i % 4) * 32_000) < 400 for i in range(8)] == [True] * 8
    pool = fill(tmp_path / "clips", teacher, tmp_path / "pool", 80, 3, wild_from=56)
    again = fill(tmp_path / "clips", teacher, tmp_path / "again", 80, 3, workers=1, wild_from=56)
    for one, other in ((pool.mels, again.mels), (pool.clips, again.clips)):
        np.testing.assert_array_equal(one, other)
    assert pool.mels.shape == (80, 250, 64) and (np.asarray(pool.clips[:8, 0]) == np.arange(8)).all() and (pool.clips[:8, 1] == -1).all()
    assert np.isfinite(np.asarray(pool.mels, dtype=np.float32)).all() and np.asarray(pool.logits).any(1).all()

    # a texture has no clip, and only those that are changed further may be one
    alone = np.asarray(pool.clips[:, 0]) < 0
    assert alone[56:].any() and not alone[:56].any() and (np.asarray(pool.clips[56:, 1])[alone[56:]] < 0).all()

    settings = ListenSettings(passes=2, batch=8, warmup=2, first=56)
    torch.set_num_threads(1)
    list(train_tower(pool, tmp_path / "whole", settings))
    first = torch.load(tmp_path / "whole" / "tower.pt", weights_only=True)
    list(train_tower(pool, tmp_path / "more", replace(settings, first=0, passes=1), tmp_path / "whole" / "tower.pt"))
    second = torch.load(tmp_path / "more" / "tower.pt", weights_only=True)
    # the second round goes on from the first, in the same units
    assert torch.equal(first["mean"], second["mean"]) and not torch.equal(first["tower"]["tags.bias"], second["tower"]["tags.bias"])
    state = second["tower"]
    tower = AudioTower()
    tower.load_state_dict(state)
    feature, logits = hear_pool(tower, pool)
    assert feature.shape == (80, 384) and logits.shape == (80, CLASSES) and torch.isfinite(logits).all()


def test_textures_and_changes_repeat() -> None:
    for seed in range(12):
        one, other = (texture(np.random.default_rng(seed), 20_000) for _ in range(2))
        np.testing.assert_array_equal(one, other)
        assert one.shape == (20_000,) and np.isfinite(one).all() and abs(one.std() - 1) < 1e-6
        changed = vary(noise(1), np.random.default_rng(seed))
        assert changed.shape == (32_000,) and np.isfinite(changed).all() and not np.array_equal(changed, noise(1))
    assert not np.array_equal(texture(np.random.default_rng(1), 2000), texture(np.random.default_rng(2), 2000))


def test_teacher_is_loaded_strictly(teacher: Path, tmp_path: Path) -> None:
    model = Teacher.load(teacher)
    feature, logits = model(torch.from_numpy(noise(1))[None])
    assert feature.shape == (1, 384) and logits.shape == (1, 527)
    assert 900_000 < sum(p.numel() for p in model.parameters()) < 1_100_000
    state = torch.load(teacher, weights_only=True)
    state.pop("classifier.5.bias")
    torch.save(state, tmp_path / "half.pt")
    with pytest.raises(RuntimeError, match=r"classifier\.5\.bias"):
        Teacher.load(tmp_path / "half.pt")


def test_kaldi_bank() -> None:
    bank = kaldi_mel_bank()
    assert bank.shape == (513, 128) and not bank[-1].any() and float(bank.max()) <= 1.0


def test_head_learns_to_point(nano: Mats) -> None:
    generator = torch.Generator().manual_seed(0)
    names = torch.nn.functional.normalize(torch.randn(CLASSES, 256, generator=generator), dim=-1)
    feature = torch.randn(400, 384, generator=generator)
    wrong = torch.randn(400, CLASSES, generator=generator) - 4
    right = torch.arange(400) % 20
    scores = torch.full((400, CLASSES), -8.0)
    scores[torch.arange(400), right] = 4.0
    feature[torch.arange(400), right] += 6.0
    heard = Heard(feature, wrong, scores, np.stack([np.arange(400) % 8, np.full(400, -1)], 1))
    settings = AlignSettings(steps=400, batch=64)
    head = fit_head(heard, names, torch.zeros(8, 256), torch.zeros(8, dtype=torch.bool), settings)
    found = (torch.nn.functional.normalize(head(feature, wrong), dim=-1) @ names.T).argmax(1)
    assert float((found == right).float().mean()) > 0.9
    scale, multi, bias = calibrate(heard, head, names)
    assert scale > 4 and multi > 0 > bias


def test_file_labels() -> None:
    def label(source: str, family: str, text: str) -> str | None:
        return file_label(Clip("x", source, family, text, 0, 1))

    assert label("deb/scratch", "sfx", "sneeze female 2") == "sneeze female"
    assert label("deb/scratch", "music", "cave") is None and label("gh/unknown", "sfx", "dog") is None


def test_recipe_is_what_the_code_expects() -> None:
    assert nano_recipe(*read_values(ROOT / "recipes" / "nano" / "nano.yaml")) == NanoRecipe()
