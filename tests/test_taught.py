"""Words that a user taught by descriptions: heard where they fit, said, and known; all else as before."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Run

from mats_model.config import SantaSettings
from mats_model.errors import ModelError, UsageError
from mats_model.gap.santa import Santa
from mats_model.gap.taught import Taught
from mats_model.judge import Judge
from mats_model.llm.answering import Candidate
from mats_model.mats import Mats
from mats_model.training.events import Note
from mats_model.training.prepare import Prepared, prepare
from mats_model.training.recall import gathered
from mats_model.training.recipe import MemorySettings, RecallSettings, TextRecipe, text_recipe
from mats_model.training.sources import SourceSettings, TextExample
from mats_model.training.values import read_values
from mats_model.vectors import unit
from mats_model.weights import loading
from mats_model.weights.folder import identified, read, save
from mats_model.weights.resolve import EMBEDDED

WORDS = {
    "kalimba": ["soft plucked metal tines ring like a music box", "thumbs pluck gentle bell like notes"],
    "bowling alley": ["a heavy ball rolls along wood and pins crash", "pins are knocked over by a ball"],
}


@pytest.fixture(scope="module")
def taught(nano: Mats, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano with two words beside what it knows; its language model was told nothing of them."""
    means = np.stack([nano.clap.embed_text(texts).mean(0) for texts in WORDS.values()])
    own = nano.santa
    settings = replace(own.settings, taught=len(WORDS))
    santa = Santa.build(own.memory, settings, names=own.names, taught=means)
    santa.captions, santa.name_texts, santa.taught_texts = own.captions, own.name_texts, list(WORDS)
    config = replace(nano.config, name="taught", santa=settings, clap="nano", space=nano.clap.space)
    folder = tmp_path_factory.mktemp("taught") / "model"
    save(Mats(config, nano.clap, santa, nano.mapper, nano.llm), folder)
    return folder


def test_odds_are_those_of_two_bells_of_one_shape() -> None:
    """Beside scipy-free arithmetic: the logarithm of the ratio of two normal densities with one covariance."""
    rng = np.random.default_rng(0)
    memory = (rng.normal(size=(4000, 3)) * [0.3, 0.2, 0.1] + [1, 0, 0]).astype(np.float32)
    means = np.array([[0, 1, 0], [0, 0, 1]], np.float32)
    spread = np.cov(memory.astype(np.float64).T)
    spread += 0.1 * np.trace(spread) / 3 * np.eye(3)
    heard = np.array([0.5, 0.5, 0.1], np.float32)

    def density(mean: np.ndarray) -> float:
        apart = heard - mean
        return float(-0.5 * apart @ np.linalg.inv(spread) @ apart)

    wanted = [density(mean) - density(memory.astype(np.float64).mean(0)) for mean in means]
    assert np.allclose(Taught(means, memory).odds(heard), wanted, rtol=1e-4)


def test_a_word_is_heard_where_its_odds_are_good_and_nothing_is_much_nearer() -> None:
    rng = np.random.default_rng(1)
    memory = unit(rng.normal(size=(500, 8)) * 0.3 + np.eye(8)[0])
    own = Taught(np.eye(8, dtype=np.float32)[1:3], memory)
    near = unit(np.eye(8, dtype=np.float32)[2] + 0.1)
    assert own.place(near, 0.0) == 1 and own.place(near, 1e6) == -1
    assert own.place(memory[0], 0.0) == -1
    # what a text of the memory tells plainly is no new word, whatever the odds are against all of it
    assert Taught(np.eye(8, dtype=np.float32)[1:3], np.concatenate([memory, near[None]])).place(near, 0.0) in (-1, 1)
    far = unit(np.eye(8, dtype=np.float32)[2] + 0.9 * np.eye(8, dtype=np.float32)[5])
    told = Taught(np.eye(8, dtype=np.float32)[1:3], np.concatenate([memory, far[None]]))
    assert Taught(np.eye(8, dtype=np.float32)[1:3], memory).place(far, 0.0) == 1 and told.place(far, 0.0) == -1


def test_a_folder_keeps_them(taught: Path, nano: Mats) -> None:
    mats = loading.load(str(taught))
    assert (taught / "taught.txt").read_text() == "kalimba\nbowling alley\n" and list(mats.taught) == list(WORDS)
    heard = mats.clap.embed_text(["a ball rolls and pins crash", "a dog barks"])
    assert [mats.santa.taught_place(z) for z in heard] == [1, -1]
    moved = mats.santa(heard)
    assert np.array_equal(moved[0], mats.taught["bowling alley"]) and np.array_equal(moved[1], nano.santa(heard)[1])
    # an answer does not depend on its neighbours
    assert np.array_equal(mats.santa(heard[1:])[0], moved[1])
    with pytest.raises(ModelError, match=r"taught\.txt has 1 lines where the memory has 2"):
        other = shutil.copytree(taught, taught.parent / "cut")
        (other / "taught.txt").write_text("kalimba\n")
        read(other)


def test_models_without_words_keep_their_ids() -> None:
    config = read(EMBEDDED).config
    assert identified(config, EMBEDDED / "model.safetensors") == identified(
        replace(config, santa=replace(config.santa, taught_odds=9.0)), EMBEDDED / "model.safetensors"
    )


def test_a_word_is_said_where_it_is_heard_and_nowhere_else(taught: Path) -> None:
    mats = loading.load(str(taught))
    judge = Judge(mats.clap, mats.santa, mats.config.search, None)
    bowling, dog = mats.clap.embed_text(["a ball rolls and pins crash", "a dog barks"])
    candidates = [Candidate("bowling alley", -0.1), Candidate("a dog barks", -5.0), Candidate("Kalimba.", 0.0)]
    assert judge.best(bowling, candidates) == "bowling alley"
    assert judge.best(dog, candidates) == "a dog barks"
    # nothing else to say
    assert judge.best(dog, candidates[:1]) == "bowling alley"


def test_classify_knows_them(taught: Path, mats: Run, nano: Mats) -> None:
    ears = loading.load_ears(str(taught))
    assert ears.known() == [*nano.clap.names, *WORDS] and nano.known() == list(nano.clap.names)
    vectors = ears.label_embeddings(["kalimba", "dog"])
    assert np.array_equal(vectors[0], ears.taught["kalimba"]) and np.allclose(
        vectors[1], nano.label_embeddings(["dog"])[0]
    )
    said = mats("classify", ROOT / "examples" / "dog.ogg", "--model", taught, "--json", "--top-k", "600")
    assert said.returncode == 0, said.stderr
    text = said.stdout.decode()
    assert all(json.dumps(word) in text for word in WORDS)


def test_all_descriptions_of_a_word_come_as_one_text_too() -> None:
    recipe = TextRecipe(
        sources=[SourceSettings(name="w"), SourceSettings(name="o")], memory=MemorySettings(taught=["w"])
    )
    told = [[TextExample("a", "", "", "x"), TextExample("b", "", "", "x")], [TextExample("c", "", "", "c")]]
    words, others = gathered(recipe, told)
    assert [each.text for each in words] == ["a", "b", *["a; b"] * 3] and others == told[1]


def test_recall_is_what_the_model_says_of_its_memory(
    nano: Mats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    torch.set_num_threads(1)
    values, where = read_values(ROOT / "recipes" / "custom-labels.yaml")
    recipe = text_recipe(values, where)
    recipe = replace(recipe, recall=RecallSettings(6, 2.0))
    *notes, ready = prepare(recipe, ROOT / "recipes", "cpu")
    assert isinstance(ready, Prepared) and Note("recall: 6 texts of the memory, as nano tells them") in notes
    recalled = ready.data.examples[ready.data.starts[-2] :]
    assert len(recalled) == 6 and ready.data.sources[-1].ratio == 2.0
    known = set(nano.santa.captions)
    assert all(each.text in known and each.answer and not each.instruction for each in recalled)
    # a taught word is no text of the memory, which stays as it was
    assert ready.mats.santa.settings.size == 12_000 and len(ready.mats.santa.taught_texts) == 20
    with pytest.raises(UsageError, match=r"memory\.taught: there is no source of the name nope"):
        list(prepare(replace(recipe, memory=MemorySettings(taught=["nope"])), ROOT / "recipes", "cpu"))


def test_odds_may_be_asked_for(taught: Path) -> None:
    from mats_model.gap.santa import changed

    mats = loading.load(str(taught))
    mats.santa.cross(changed(mats.santa.settings, "taught_odds=1000000"))
    assert mats.santa.taught_place(mats.clap.embed_text(["a ball rolls and pins crash"])[0]) == -1
    mats.santa.cross(replace(mats.santa.settings, way="none", taught_odds=-1e6))
    assert mats.santa.taught_place(mats.clap.embed_text(["a ball rolls and pins crash"])[0]) == -1
    assert SantaSettings().taught == 0


def test_a_source_is_known_by_its_data_set() -> None:
    recipe = TextRecipe(sources=[SourceSettings(data="ucs", task="labels")], memory=MemorySettings(taught=["ucs"]))
    told = [[TextExample(text, "", "", "bell") for text in ("a bell", "it rings")]]
    assert "a bell; it rings" in [example.text for example in gathered(recipe, told)[0]]
