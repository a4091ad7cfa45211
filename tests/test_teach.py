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
from mats_model.clap.logmel import LogMel
from mats_model.clap.tower import AudioTower, fold
from mats_model.mats import Mats
from mats_model.teach.align import AlignSettings, Heard, Words, fit
from mats_model.teach.clips import Clip, prepare
from mats_model.teach.examples import SAMPLES, make
from mats_model.teach.listen import LESSONS, LessonSettings, Pupil, hear_codes, taught, teach
from mats_model.teach.nano import NanoRecipe
from mats_model.teach.parts import Parts, decibels, even_odds, plain
from mats_model.teach.phrases import Phrases, read_phrases
from mats_model.teach.teacher import CLASSES, Teacher, kaldi_mel_bank
from mats_model.teach.wild import texture, vary
from mats_model.training.values import read_values
from mats_model.vectors import unit


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
                rows.append(
                    {
                        "clip": name,
                        "shard": str(shard),
                        "source": "deb/scratch",
                        "family": "sfx",
                        "label": f"noise {number}",
                    }
                )
                rows[-1]["split"] = "held" if number == 3 else "train"
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


def shelf(audio: Path, teacher: Path, tmp_path: Path, name: str) -> Parts:
    clips = prepare(audio, tmp_path / "clips")
    odds = even_odds(clips, plain(clips, Teacher.load(teacher), list(range(8)))["local"].mean(2), clusters=3)
    assert odds[3] == odds[7] == 0 and abs(odds.sum() - 1) < 1e-9  # what is held is never drawn
    return Parts(tmp_path / "clips", teacher, tmp_path / name, odds, 3, count=2, size=24)


def test_examples_repeat_and_are_what_they_say(audio: Path, tmp_path: Path) -> None:
    clips = prepare(audio, tmp_path / "clips")
    assert [row.label for row in clips.rows] == [f"noise {n}" for n in range(4)] * 2
    assert [abs(len(clips[i]) - (1 + i % 4) * 32_000) < 400 for i in range(8)] == [True] * 8
    odds = np.array([0.25, 0.25, 0.5, 0, 0, 0, 0, 0])
    held: set[int] = set()
    for index in range(60):
        wave, ids, levels = make(clips, odds, 5, index)
        again, same, _ = make(clips, odds, 5, index)
        np.testing.assert_array_equal(wave, again)
        assert ids == same and wave.shape == (SAMPLES,) and wave.dtype == np.float32 and np.isfinite(wave).all()
        assert 0.01 < np.abs(wave).max() <= 1.0 and len(ids) == len(levels) == 3
        held |= set(ids)
    assert held == {-1, 0, 1, 2}


def test_lessons_teach_the_tower(audio: Path, teacher: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    with shelf(audio, teacher, tmp_path, "parts") as parts:
        made = [dict(part) for part in parts]
    with shelf(audio, teacher, tmp_path, "parts") as parts:  # opened again: nothing is made twice
        pupil = Pupil(parts[0])
        begun = {name: value.clone() for name, value in pupil.state_dict().items()}
        short = LessonSettings(passes=1, batch=8, warmup=2)
        for lesson in LESSONS:
            (tmp_path / "listen").mkdir(exist_ok=True)
            (said,) = teach(lesson, pupil, parts, tmp_path / "listen", short)
            assert said.lesson == lesson and all(np.isfinite(loss) for loss in said.losses.values())
            if lesson == "early":
                changed = {name for name, value in pupil.state_dict().items() if not torch.equal(value, begun[name])}
                assert changed and all(name.startswith("tower.early.") for name in changed)
        first = made[0]
        assert first["mels"].shape == (24, 500, 128) and first["early"].shape == (24, 16, 16, 63)
        assert (
            first["middle"].shape == (24, 48, 8, 32)
            and first["late"].shape == (24, 64, 4, 16)
            and first["local"].shape == (24, 384, 16)
        )
        # a lesson that is over is not begun again
        assert list(teach("together", pupil, parts, tmp_path / "listen", short)) == []
        # one that was killed after its first pass ends with the same weights
        pupils = []
        for name, killed in (("whole", False), ("killed", True)):
            (tmp_path / name).mkdir()
            for again in range(1 + killed):
                torch.manual_seed(0)
                late = Pupil(parts[0])
                said_of = teach("late", late, parts, tmp_path / name, replace(short, passes=2))
                numbers = [next(said_of).number] if killed and not again else [said.number for said in said_of]
            assert numbers == ([2] if killed else [1, 2])
            pupils.append(late.state_dict())
        assert all(torch.equal(value, pupils[1][name]) for name, value in pupils[0].items())
    taught(pupil, tmp_path / "tower.pt")
    tower = AudioTower()
    tower.load_state_dict(torch.load(tmp_path / "tower.pt", weights_only=True))
    feature, logits = hear_codes(tower, np.array(first["mels"]))
    assert feature.shape == (24, 384) and logits.shape == (24, CLASSES) and torch.isfinite(logits).all()
    # 8 bits are enough of what the front end gives
    wave, _, _ = make(prepare(audio, tmp_path / "clips"), np.array([1, 0, 0, 0, 0, 0, 0, 0]), 3, 1)
    dbs = LogMel()(torch.from_numpy(wave)[None])
    told = plain(prepare(audio, tmp_path / "clips"), Teacher.load(teacher), [0])["mels"]
    assert decibels(told).shape == dbs.shape == (1, 500, 128)


def test_folding_changes_nothing() -> None:
    torch.manual_seed(0)
    tower = AudioTower(norm=True)
    with torch.no_grad():
        for _ in range(3):
            tower(torch.randn(4, 500, 128) * 20 - 40)
        tower.mean.normal_()
        tower.std.uniform_(0.5, 2.0)
    mels, folded = torch.randn(2, 500, 128) * 20 - 40, fold(tower)
    tower.eval()
    with torch.inference_mode():
        for one, other in zip(tower(mels), folded(mels), strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    assert sum(p.numel() for p in folded.parameters()) < 4e6


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


def test_head_and_words_learn_to_meet(nano: Mats) -> None:
    generator = torch.Generator().manual_seed(0)
    texts = "dog cat rain wind bell drum fire saw bird car frog horn".split()
    tags = [[at % len(texts)] for at in range(CLASSES)]
    phrases = Phrases(texts, [[at % len(texts)] for at in range(8)], tags)
    feature = torch.randn(400, 384, generator=generator)
    wrong = torch.randn(400, CLASSES, generator=generator) - 4
    right = torch.arange(400) % len(texts)
    scores = torch.full((400, CLASSES), -40.0)
    scores[torch.arange(400), right] = 4.0
    feature[torch.arange(400), right] += 6.0
    heard = Heard(feature, wrong, scores, np.full((400, 3), -1), np.zeros((400, 3)), single=8)
    settings = AlignSettings(steps=250, batch=64, alike=0.95)
    words = Words(nano.clap.text, phrases, learn=True)  # type: ignore[attr-defined]
    head = fit(heard, words, phrases, settings)
    with torch.no_grad():
        meant = words(list(range(len(texts))))
        audio = torch.nn.functional.normalize(head(feature, wrong), dim=-1)
    assert float(((audio @ meant.T).argmax(1) == right).float().mean()) > 0.9
    assert not head.hidden
    # the words fixed, the head that ships is fitted to them
    ships = fit(
        heard, Words(nano.clap.text, phrases, learn=False), phrases, replace(settings, head_steps=250, hidden=16)
    )  # type: ignore[attr-defined]
    with torch.no_grad():
        audio = torch.nn.functional.normalize(ships(feature, wrong), dim=-1)
        unmoved = Words(nano.clap.text, phrases, learn=False)(list(range(len(texts))))  # type: ignore[attr-defined]
    assert ships.hidden == 16 and float(((audio @ unmoved.T).argmax(1) == right).float().mean()) > 0.9
    # only pieces of the phrases have moved
    before = torch.from_numpy(nano.clap.text.table())  # type: ignore[attr-defined]
    moved = (words.written(nano.clap.text) != before).any(1).nonzero().flatten()  # type: ignore[attr-defined]
    assert set(moved.tolist()) <= set(words.pieces.tolist()) and len(moved)


def test_phrases_of_the_recordings() -> None:
    def clip(source: str, label: str) -> Clip:
        return Clip("x", source, "sfx", label, "train", 0, 1)

    found = read_phrases(ROOT / "recipes" / "nano", [clip("deb/scratch", "sneeze male"), clip("nobody", "dog")])
    assert any("sneez" in found.texts[place] for place in found.of_clips[0]) and found.of_clips[1] == []
    assert len(found.of_tags) == CLASSES and all(len(tag) >= 8 for tag in found.of_tags)
    assert found.texts[found.of_tags[0][0]] == "speech"
    assert len(set(found.texts)) == len(found.texts) and all(text == text.strip().lower() for text in found.texts)


def test_recipe_is_what_the_code_expects() -> None:
    assert nano_recipe(*read_values(ROOT / "recipes" / "nano" / "nano.yaml")) == NanoRecipe()


def test_a_model_is_carried_to_new_words(nano: Mats, tmp_path: Path) -> None:
    from mats_model.clap.nano import NanoClap
    from mats_model.teach.carry import between

    old = nano.clap
    assert isinstance(old, NanoClap)
    new = NanoClap(old.text.tokenizer_json)
    turn = torch.linalg.qr(torch.randn(256, 256, generator=torch.Generator().manual_seed(0))).Q
    new.text.set_table(old.text.table() @ turn.numpy())
    captions = nano.santa.captions[:3000]
    matrix = between(*(torch.from_numpy(clap.embed_text(captions)) for clap in (new, old))).numpy()
    told = ["a small bell rings twice", "wind in the trees", "an engine starts"]
    back = unit(new.embed_text(told) @ matrix)
    assert float((back * old.embed_text(told)).sum(-1).min()) > 0.97


def test_texts_of_the_memory_are_told_anew(nano: Mats) -> None:
    from mats_model.teach.retell import retell

    kept, memory = nano.santa.captions, nano.santa.memory
    try:
        nano.santa.captions, nano.santa.memory = list(kept[:6]), memory[:6]
        ours = {kept[0]}
        first = list(retell(nano, ours, set()))
        told = list(nano.santa.captions)
        assert first == [5] and told[0] == kept[0] and all(told)
        # what somebody else wrote is not kept, even where it is the first thing that comes to mind
        list(retell(nano, ours, set(told[1:])))
        assert not set(nano.santa.captions[1:]) & set(told[1:]) - {kept[0]}
    finally:
        nano.santa.captions, nano.santa.memory = kept, memory
