"""Scores that can be believed: shares, probabilities, what is known of words, labels that are shown, and company."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mats_model.config import MatsConfig, from_dict, to_dict
from mats_model.errors import ModelError
from mats_model.labels import LEAST, Label, Scales, background, none_fits, ranked
from mats_model.mats import Mats
from mats_model.teach.calibrate import Trial, calibrate, calibrated, calibration_error, draw, reliability
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
    import io

    import soundfile

    sink = io.BytesIO()
    soundfile.write(sink, 0.5 * np.sin(2 * np.pi * 440 * np.arange(5 * 32_000) / 32_000), 32_000, format="WAV")
    labels = ["sea waves", "rain", "dog bark", "helicopter", "fire crackling"]
    assert none_fits(nano.classify(sink.getvalue(), labels))


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
