"""Scores that can be believed: shares, probabilities, what is known of words, labels that are shown, and company."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES, Run, encoded, noise

from mats_cli.formats import Result, Row
from mats_cli.labels import read_labels
from mats_model.config import MatsConfig, from_dict, to_dict
from mats_model.english import unknown
from mats_model.errors import ModelError, UsageError
from mats_model.labels import LEAST, Label, Scales, background, none_fits, ranked
from mats_model.mats import Mats
from mats_model.teach.calibrate import Trial, calibrate, calibrated, calibration_error, draw, reliability
from mats_model.together import together
from mats_model.vectors import sigmoid, unit
from mats_model.weights.folder import identified


def drawn(count: int, seed: int = 0) -> Trial:
    """Cosines that spread by .15 around .3 where the label is there and around 0 where not, and lie .4 of the
    background higher: the best logit there is goes up by .3 / .15 ** 2 = 13.3 with the cosine, and down by 5.3."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(0.5, 0.2, count)
    noise = rng.normal(0.0, 0.15, (count, 10)) + 0.4 * ground[:, None]
    return Trial(noise[:, 0] + 0.3, noise[:, 1:], ground)


def test_calibration_finds_the_best_scales() -> None:
    found = calibrate(drawn(3000))
    assert found.multi == pytest.approx(13.3, rel=0.1) and found.background == pytest.approx(5.3, rel=0.2)
    cosines, grounds, there = drawn(2000, seed=1).pairs()
    said = found.probabilities(cosines, grounds)
    assert calibration_error(said, there) < 0.02 < calibration_error(said**3, there)
    assert sum(row[2] for row in reliability(said, there)) == pytest.approx(1.0)


def test_without_names_the_cosine_alone_is_calibrated() -> None:
    trial = drawn(500)
    assert calibrate(Trial(trial.there, trial.absent, np.zeros(500))).background == 0.0


def test_labels_that_mean_the_same_are_not_held_against_each_other(nano: Mats) -> None:
    said = [["dog barking", "a dog barks"], ["dog barks"], *([name] for name in nano.clap.names[100:140])]
    texts = nano.clap.embed_text([phrases[0] for phrases in said])
    trial = draw(texts, said, nano.clap.embed_text, nano.clap.names)
    assert trial.there == pytest.approx(1.0, abs=1e-5) and trial.absent.max() <= 0.8 and trial.absent.shape[1] == 9


def test_background_is_a_soft_maximum() -> None:
    names = np.eye(4, dtype=np.float32)
    one, blend = unit(np.array([[1.0, 0, 0, 0], [1, 1, 1, 1]], np.float32))
    assert background(one, names) == pytest.approx(1.0, abs=0.01)
    assert background(np.stack([one, blend]), names)[1] == pytest.approx(0.5 + np.log(4) / 20)


def test_a_probability_is_the_labels_own(nano: Mats, dog: Path) -> None:
    heard = nano.embed_audio(dog)
    few = nano.rank(heard, ["dog bark", "rain"], nano.label_embeddings(["dog bark", "rain"]))
    many = nano.classify(dog, ["dog bark", "rain", "violin", "sea waves"])
    assert few[0].name == many[0].name == "dog bark"
    assert few[0].probability == pytest.approx(many[0].probability, abs=1e-6) and few[0].score != many[0].score
    cosine = float(nano.label_embeddings(["dog bark"])[0] @ heard)
    names = nano.clap.embed_text(list(nano.clap.names))
    logit = (
        nano.config.multi_scale * cosine
        - nano.config.background * float(background(heard, names))
        + nano.config.multi_bias
    )
    assert few[0].probability == pytest.approx(float(sigmoid(np.array(logit))), abs=1e-5)


def test_none_fits(nano: Mats, dog: Path) -> None:
    assert none_fits(nano.classify(dog, ["violin"])) and nano.classify(dog, ["violin"])[0].score == 1.0
    assert not none_fits(nano.classify(dog, ["violin", "dog bark"]))
    assert none_fits([Label("a", 0.9, LEAST - 0.01)]) and not none_fits([Label("a", 0.1, LEAST)])
    # nothing is said where nobody asked
    assert not none_fits(ranked(["a"], [1.0]))


def test_a_pure_tone_is_no_sea(nano: Mats) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(5 * 32_000) / 32_000)
    labels = ["sea waves", "rain", "dog bark", "helicopter", "fire crackling"]
    assert none_fits(nano.classify(encoded(tone.astype(np.float32)), labels))


def test_an_old_config_keeps_its_id(tmp_path: Path) -> None:
    old = to_dict(MatsConfig())
    del old["background"]
    config = from_dict(old, "config.json")
    assert config.background == 0.0
    plain = identified(config, b"weights")
    assert identified(replace(config, background=3.0), b"weights") != plain
    assert calibrated(config, Scales(1.0, 2.0, 3.0, 4.0)).background == 4.0
    assert json.dumps(old)


def test_names_that_are_needed_and_missing_are_said(nano: Mats) -> None:
    from mats_model.clap.nano import NanoClap
    from mats_model.ears import Ears

    assert isinstance(nano.clap, NanoClap)
    bare = NanoClap(nano.clap.text.tokenizer_json)
    with pytest.raises(ModelError, match="names that its encoder knows"):
        Ears(bare, Scales(1.0, 1.0, 0.0, 1.0)).background(np.zeros(256, np.float32))


# ---- words of no language that the encoder knows


GERMAN = "Hundegebell,Regen,Katze,Vogelgesang,Kirchenglocke,Gewitter,Staubsauger,Tür,Hubschrauber,Schritte".split(",")


def test_german_is_unknown_and_english_is_not(nano: Mats) -> None:
    assert unknown(GERMAN) == GERMAN
    assert unknown(nano.clap.names) == []
    rare = "drizzle,campfire,lumberjack at work,bantam on the farm,chainsawing trees,my kettle,2x4,3D printer,theremin"
    assert unknown(rare.split(",")) == []
    # half of the words are enough, and what has none is nobody's
    assert unknown(["Kirchenglocke bell", "123", "Kirchenglocke Hund bell"]) == ["Kirchenglocke Hund bell"]


def test_unknown_labels_are_said_and_not_scored(nano: Mats, dog: Path, tmp_path: Path) -> None:
    assert [label.name for label in nano.classify(dog, ["Regen", "rain", "Hund"])] == ["rain"]
    with pytest.raises(UsageError, match=r"no words that the encoder knows \(Regen, Hund\)"):
        nano.classify(dog, ["Regen", "Hund"])
    labels = read_labels("Regen,rain,Hund")
    assert labels.names == ["rain"] and "(Hund, Regen)" in labels.notes[0]
    assert read_labels("Regen,Hund", any_words=True).names == ["Regen", "Hund"]


# ---- labels that are shown


@pytest.fixture
def kettle(tmp_path: Path) -> Path:
    """A label file in a folder with two sounds of one of its labels."""
    (tmp_path / "kettle").mkdir()
    for seed in range(2):
        (tmp_path / "kettle" / f"{seed}.wav").write_bytes(encoded(noise(2, seed=seed)))
    (tmp_path / "kettle" / "notes.txt").write_text("no sound")
    (tmp_path / "labels.txt").write_text("my kettle: kettle/*.wav\nrain\nspeech: male\nKessel: kettle\n")
    return tmp_path


def test_a_label_is_shown_by_sounds(nano: Mats, kettle: Path) -> None:
    labels = read_labels(str(kettle / "labels.txt"))
    assert labels.names == ["my kettle", "rain", "speech: male", "Kessel"] and labels.notes == []
    sounds = [kettle / "kettle" / f"{seed}.wav" for seed in range(2)]
    assert labels.examples == {"my kettle": sounds, "Kessel": sounds}
    vectors = nano.label_embeddings(labels.names, examples=labels.examples)
    mean = unit(np.mean([nano.embed_audio(sound) for sound in sounds], axis=0))
    told = nano.label_embeddings(labels.names)
    assert vectors[0] == pytest.approx(unit(told[0] + mean), abs=1e-6) and (vectors[1:3] == told[1:3]).all()
    # where the words say nothing, the sounds stand alone
    assert vectors[3] == pytest.approx(mean, abs=1e-6)
    other = encoded(noise(2, seed=7))
    assert nano.classify(other, labels.names, examples=labels.examples)[0].name in ("my kettle", "Kessel")


def test_examples_that_are_not_there_are_said(kettle: Path) -> None:
    for line, said in (("x: kettle/*.flac", "holds no such sound"), ("x: lost.wav", "holds no such sound")):
        (kettle / "labels.txt").write_text(line)
        with pytest.raises(UsageError, match=said):
            read_labels(str(kettle / "labels.txt"))
    for seed in range(101):
        (kettle / "kettle" / f"more{seed}.wav").write_bytes(b"")
    (kettle / "labels.txt").write_text("x: kettle")
    with pytest.raises(UsageError, match="at most 100"):
        read_labels(str(kettle / "labels.txt"))


def test_an_example_that_cannot_be_heard_is_a_usage_error(kettle: Path, mats: Run, dog: Path) -> None:
    (kettle / "kettle" / "bad.wav").write_bytes(b"RIFFnothing")
    done = mats("classify", dog, "--labels", kettle / "labels.txt")
    assert done.returncode == 2 and b"a label is shown by a sound that cannot be heard" in done.stderr
    assert b"bad.wav" in done.stderr and done.stdout == b""


# ---- company


def test_a_folder_as_a_whole_is_never_worse_on_average_nor_balanced() -> None:
    alone, company = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        labels = unit(rng.normal(size=(10, 64)).astype(np.float32))
        # sounds of a class lie around a point that its words only hint at; sizes fall from 40 to 2
        points = unit(labels + 2.0 * unit(rng.normal(size=(10, 64))))
        target = np.repeat(np.arange(10), np.round(40 / 20 ** (np.arange(10) / 9)).astype(int))
        heard = unit(points[target] + 0.14 * rng.normal(size=(len(target), 64))).astype(np.float32)
        shares = together(heard, labels)
        assert shares.sum(1) == pytest.approx(1.0) and shares.shape == (len(target), 10)
        alone.append(((heard @ labels.T).argmax(1) == target).mean())
        company.append((shares.argmax(1) == target).mean())
    assert (np.array(company) >= np.array(alone)).all() and np.mean(company) > np.mean(alone) + 0.1


def test_one_sound_alone_is_its_own_company(nano: Mats, dog: Path) -> None:
    heard, names = nano.embed_audio(dog)[None], ["dog bark", "rain", "violin"]
    labels = nano.label_embeddings(names)
    assert together(heard, labels).argmax() == (heard @ labels.T).argmax()
    # the order of the recordings changes nothing
    some = np.concatenate([heard, labels])
    assert together(some[::-1], labels)[::-1] == pytest.approx(together(some, labels), abs=1e-6)


# ---- the program


def test_the_program_says_where_none_fits(mats: Run, dog: Path) -> None:
    line = mats("classify", dog, "--labels", "violin").stdout.decode().rstrip("\n").split("\t")
    assert line[:2] == ["(none fits)", "violin"] and float(line[2]) > 0.5 and float(line[3]) < LEAST
    (found,) = json.loads(mats("classify", dog, "--labels", "violin,dog bark", "--json", "--top-k", "2").stdout)
    (segment,) = found["segments"]
    assert segment["none_fits"] is False and [row["label"] for row in segment["labels"]] == ["dog bark", "violin"]
    assert segment["labels"][0]["probability"] > 0.5 > LEAST > segment["labels"][1]["probability"]
    head, row = mats("classify", dog, "--labels", "violin", "--csv").stdout.decode().splitlines()
    told = dict(zip(head.split(","), row.split(","), strict=True))
    assert told["text"] == "(none fits)" and told["nearest"] == "violin" and told["score"] == "1.0000"
    assert mats("classify", dog, "--labels", "violin", "--format", "srt").stdout.endswith(b"(none fits)\n")
    # with several labels at once too no row is lost
    row = mats("classify", dog, "--labels", "violin", "--multi").stdout.decode().rstrip("\n").split("\t")
    assert row[1:3] == ["(none fits)", "violin"] and len(row) == 4


def test_without_labels_the_names_it_knows_are_the_labels(mats: Run, dog: Path) -> None:
    done = mats("classify", dog, "--top-k", "3")
    assert done.returncode == 0 and b"Dog\t" in done.stdout and len(done.stdout.splitlines()) == 3
    done = mats("classify", "--examples")
    assert done.returncode == 0 and b"my kettle: kettle/*.wav" in done.stdout


def test_a_folder_together(mats: Run) -> None:
    labels = "dog bark,rain,rooster,clock tick,baby cry,sneeze"
    done = mats("classify", EXAMPLES, "--labels", labels, "--together")
    chosen = dict(line.split("\t")[:2] for line in done.stdout.decode().splitlines())
    assert {Path(path).stem: name for path, name in chosen.items()} == {
        "dog": "dog bark", "rain": "rain", "rooster": "rooster", "clock": "clock tick", "baby": "baby cry",
        "sneeze": "sneeze",
    }  # fmt: skip
    assert mats("classify", EXAMPLES, "--together", "--multi").returncode == 2


def test_captions_have_a_score(mats: Run, dog: Path) -> None:
    (found,) = json.loads(mats("caption", dog, "--json").stdout)
    assert 0.2 < found["segments"][0]["score"] <= 1.0
    head, row = mats("caption", dog, "--csv").stdout.decode().splitlines()
    assert row.split(",")[head.split(",").index("score")] == f"{found['segments'][0]['score']:.4f}"


def test_results_come_back_as_they_were() -> None:
    rows = [
        Row(0.0, 1.0, labels=[("a", 0.9)], probabilities={"a": 0.1}, none_fits=True),
        Row(1.0, 2.0, "A dog barks.", score=0.5),
        Row(2.0, 3.0, silent=True),
        Row(3.0, 4.0, labels=[("a", 0.1)], none_fits=True),
    ]
    assert Result.from_json(Result("x.wav", rows).to_json()).rows == rows
