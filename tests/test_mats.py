"""The two lines on real recordings: the same bytes give the same answer, in any company and any container."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import EXAMPLES, encoded, noise

import mats_model
from mats_model.audio import source, windows
from mats_model.errors import SilenceError, UsageError
from mats_model.mats import Mats
from mats_model.vectors import unit


def samples(path: Path) -> tuple[np.ndarray, int]:
    wave, sample_rate = soundfile.read(path, dtype="float32")
    return np.round(wave * 32767) / 32768, sample_rate


def test_public_door(dog: Path) -> None:
    text = mats_model.load().caption(dog)
    assert text[0].isupper() and text.endswith(".") and "dog" in text.lower()


def test_unit_length_everywhere(nano: Mats, dog: Path) -> None:
    heard = nano.embed_audio(dog)
    assert heard.shape == (256,) and heard.dtype == np.float32 and abs(float(np.linalg.norm(heard)) - 1) < 1e-5
    assert abs(float(np.linalg.norm(nano.santa(heard[None]))) - 1) < 1e-5
    assert nano.hear(heard[None]).shape == (1, nano.config.mapper.prefix_length, nano.config.decoder.width)
    assert (
        nano.read(torch.from_numpy(nano.clap.embed_text(["a dog barks"])), torch.Generator().manual_seed(0)).shape
        == nano.hear(heard[None]).shape
    )


def test_same_bytes_same_answer(nano: Mats, dog: Path) -> None:
    assert np.array_equal(nano.embed_audio(dog), nano.embed_audio(dog.read_bytes()))
    assert nano.caption(dog) == nano.caption(dog)


def test_containers_and_channels_agree(nano: Mats, dog: Path) -> None:
    wave, sample_rate = samples(dog)
    mono = encoded(wave, sample_rate, "WAV", "PCM_16")
    heard = nano.embed_audio(mono)
    assert np.array_equal(heard, nano.embed_audio(encoded(wave, sample_rate, "FLAC", "PCM_16")))
    assert np.array_equal(heard, nano.embed_audio(encoded(np.stack([wave, wave], 1), sample_rate, "WAV", "PCM_16")))
    lossy = encoded(wave, sample_rate, "OGG", "VORBIS")
    assert float(heard @ nano.embed_audio(lossy)) > 0.98 and all(
        "dog bark" in nano.caption(each) for each in (mono, lossy)
    )


def test_threads_and_batches_change_nothing(nano: Mats, dog: Path) -> None:
    alone = nano.embed_audio(dog)
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(nano.embed_audio(dog))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(alone, other) for other in results)
    vectors = np.stack([alone, *(nano.embed_audio(path) for path in sorted(EXAMPLES.glob("*.ogg")))])
    assert nano.answer(vectors)[0] == nano.answer(alone[None])[0] == nano.caption(dog)


def test_level_matters_little(nano: Mats, dog: Path) -> None:
    wave, sample_rate = samples(dog)
    assert float(nano.embed_audio(encoded(wave / 10, sample_rate)) @ nano.embed_audio(encoded(wave, sample_rate))) > 0.8


def test_stretches_carry_times_and_silence(nano: Mats) -> None:
    wave = np.concatenate([noise(2), np.zeros(64_000, np.float32), noise(1.5)])
    heard = list(nano.listen(encoded(wave), every=2))
    assert [(h.start, h.end, h.embedding is None) for h in heard] == [(0, 2, False), (2, 4, True), (4, 5.5, False)]
    assert np.array_equal(heard[0].embedding, nano.embed_audio(encoded(noise(2))))


def test_clip_is_the_mean_of_its_windows(nano: Mats) -> None:
    data = encoded(noise(12))
    waves = np.stack([w.samples for w in windows(source(data), 32_000, 160_000)])
    expected = unit(nano.clap.embed_windows(waves).sum(0))
    assert np.allclose(nano.embed_audio(data), expected, atol=1e-5)


def test_silence_is_said(nano: Mats) -> None:
    with pytest.raises(SilenceError, match="is silent"):
        nano.caption(encoded(np.zeros(32_000, np.float32)))


def test_click_is_heard(nano: Mats) -> None:
    click = np.zeros(1600, np.float32)
    click[:40] = 0.8
    assert nano.caption(encoded(click)).endswith(".")


def test_classify(nano: Mats, dog: Path) -> None:
    labels = nano.classify(dog, ["rain", "dog bark", "helicopter"])
    assert labels[0].name == "dog bark" and abs(sum(label.score for label in labels) - 1) < 1e-5
    assert nano.classify(dog, ["rain", "dog bark", "helicopter"], template="the sound of a {}")[0].name == "dog bark"
    each = nano.classify(dog, ["rain", "dog bark", "helicopter"], multi=True)
    assert each[0].name == "dog bark" and each[0].score > 0.5 > each[1].score


@pytest.mark.parametrize("template", ["no place", "{} and {}"])
def test_bad_template(nano: Mats, template: str) -> None:
    with pytest.raises(UsageError, match=r"write \{\} once"):
        nano.label_embeddings(["dog"], template)


def test_bad_labels_and_length(nano: Mats, dog: Path) -> None:
    with pytest.raises(UsageError, match="no labels"):
        nano.label_embeddings([])
    with pytest.raises(UsageError, match="no words"):
        nano.label_embeddings([" "])
    with pytest.raises(UsageError, match="between"):
        list(nano.listen(dog, every=0.0))
