"""A model folder: what is saved comes back, and anything that is not right is said by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mats_model.errors import ModelError
from mats_model.mats import Mats
from mats_model.weights import folder as checkpoints
from mats_model.weights import loading, resolve


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve.EMBEDDED, tmp_path / "copy"))


def test_saved_comes_back(nano: Mats, tmp_path: Path, dog: Path) -> None:
    config = checkpoints.save(nano, tmp_path / "new")
    # saving what was loaded changes nothing, so the id stays
    assert config.id == nano.config.id and not list((tmp_path / "new").glob("*.tmp"))
    again = loading.load_folder(tmp_path / "new")
    assert again.caption(dog) == nano.caption(dog) and np.array_equal(again.embed_audio(dog), nano.embed_audio(dog))


def test_embedded_model_keeps_its_promises(nano: Mats) -> None:
    assert sum(file.stat().st_size for file in resolve.EMBEDDED.iterdir()) < 40e6
    audio = sum(array.size for part in (nano.clap.tower, nano.clap.head) for array in part.values())
    decoder = sum(array.size for array in nano.llm.kept().values())
    text = sum(array.nbytes for array in nano.clap.text.kept().values()) + len(nano.clap.text.tokenizer_json.encode())
    assert audio <= 3e6 and 6e6 <= decoder <= 12e6 and text <= 12e6
    assert 4000 <= nano.config.decoder.vocabulary <= 8192 and len(nano.santa.memory) == nano.config.santa.size > 1000
    assert (resolve.EMBEDDED / "CARD.md").is_file()


@pytest.mark.parametrize("name", ("config.json", "model.safetensors", "tokenizer.json", "clap_tokenizer.json"))
def test_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        loading.load_folder(copy)


def test_cut_in_half(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    with pytest.raises(ModelError, match="cannot be read"):
        loading.load_folder(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("mapper.prefix_const"), r"lacks mapper.prefix_const \(1 missing, 0 left over\)"),
        (lambda s: s.update(more=torch.zeros(1)), r"holds more, which no part of the model has"),
        (
            lambda s: s.update({"mapper.prefix_const": torch.zeros(2, 2)}),
            r"mapper.prefix_const is \(2, 2\) where \(4, 256\) is expected",
        ),
    ],
)
def test_weights_of_another_model(copy: Path, change: object, said: str) -> None:
    state = load_file(copy / "model.safetensors")
    change(state)  # type: ignore[operator]
    save_file(state, copy / "model.safetensors")
    with pytest.raises(ModelError, match=said):
        loading.load_folder(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "has format 99"),
        ({"santta": {}}, "unknown setting santta; did you mean santa?"),
        ({"santa": {"blend": "much"}}, "santa.blend should be a number, not 'much'"),
    ],
)
def test_config_is_read_strictly(copy: Path, change: dict[str, object], said: str) -> None:
    config = copy / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(ModelError) as error:
        loading.load_folder(copy)
    assert said in str(error.value)


def test_texts_of_the_memory(copy: Path, nano: Mats) -> None:
    assert (
        len(nano.santa.captions) == 12_000
        and nano.santa.name_texts[0] == "Speech"
        and len(nano.santa.name_texts) == 527
    )
    (copy / "memory.txt").write_text("a dog\n")
    with pytest.raises(ModelError, match=r"memory.txt has 1 lines where the memory has 12000 embeddings"):
        loading.load_folder(copy)
    (copy / "memory.txt").unlink()
    assert loading.load_folder(copy).santa.captions == []
