"""The checkpoint of MATS' authors in miniature, in their layout, against the numbers of their code."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run
from formula import FIXTURES

from mats_model.clap.protocol import Clap
from mats_model.config import SearchSettings
from mats_model.errors import MismatchError, ModelError
from mats_model.llm import lora
from mats_model.llm.prompts import Question
from mats_model.mats import Mats
from mats_model.vectors import unit
from mats_model.weights import loading
from mats_model.weights.authors import convert_authors, is_authors
from mats_model.weights.encoders import read_tensors
from mats_model.weights.folder import read_config
from mats_model.weights.loading import load_folder

transformers = pytest.importorskip("transformers", reason="pip install 'mats[llm]'")
pytest.importorskip("peft", reason="pip install 'mats[llm]'")

TINY = FIXTURES / "mats_tiny_1"
FILE = TINY / "checkpoint_0.pth"
GOLDEN = np.load(TINY / "expected.npz")
ASKED = Question("the golden one")


class NoEars(Clap):
    """In the place of an encoder of this width, which the fixture does not have."""

    rate, window, dim, space, id = 16_000, 16_000, 64, "none", "none"

    def embed_windows(self, waves: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def embed_alone(self, wave: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def embed_text(self, texts: list[str]) -> np.ndarray:
        raise NotImplementedError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frozen Llama, with a tokenizer whose token n is written tn."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = Path(shutil.copytree(TINY / "llm", tmp_path_factory.mktemp("base") / "llm"))
    raw = Tokenizer(models.WordLevel({f"t{number}": number for number in range(160)}, unk_token="t0"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="t1", eos_token="t2").save_pretrained(
        str(folder)
    )
    return folder


@pytest.fixture(scope="module")
def tiny(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Mats:
    out = tmp_path_factory.mktemp("model")
    convert_authors(read_tensors(FILE), out, "tiny", str(base))
    exact = replace(read_config(out).llm, quantize="none", dtype="float32")
    made = load_folder(out, clap=NoEars(), llm=exact)
    made.llm._asked[ASKED] = ([1, *GOLDEN["ids_before"][0].tolist()], GOLDEN["ids_after"][0].tolist())  # type: ignore[union-attr]
    return made


def test_prefix_and_logits(tiny: Mats) -> None:
    with torch.inference_mode():
        prefix = tiny.hear(unit(GOLDEN["z"]))
        assert float((prefix - torch.from_numpy(GOLDEN["prefix"])).abs().max()) < 1e-4
        before, after = tiny.llm._asked[ASKED]  # type: ignore[union-attr]
        inputs = tiny.llm._inputs(prefix, before, torch.tensor([after] * len(prefix)))  # type: ignore[union-attr]
        logits = tiny.llm.base(inputs_embeds=inputs).logits[:, -1]  # type: ignore[union-attr]
    assert float((logits - torch.from_numpy(GOLDEN["last_logits"])).abs().max()) < 1e-4


def ids(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]


def test_greedy_and_beams(tiny: Mats) -> None:
    prefix = tiny.hear(unit(GOLDEN["z"]))
    plain = SearchSettings(beams=1, max_new_tokens=12, min_new_tokens=0, no_repeat_ngram_size=0, repetition_penalty=1.0)
    assert [ids(row[0].text) for row in tiny.llm.answers(prefix, ASKED, plain)] == GOLDEN["greedy"].tolist()
    assert ids("".join(tiny.llm.stream(prefix[:1], ASKED, plain))) == GOLDEN["greedy"][0].tolist()
    # the settings that come with the checkpoint are the published ones
    theirs = tiny.config.search
    assert (theirs.beams, theirs.no_repeat_ngram_size, theirs.repetition_penalty, theirs.max_new_tokens) == (
        4,
        2,
        2.0,
        200,
    )
    found = tiny.llm.answers(prefix, ASKED, replace(theirs, max_new_tokens=12, min_new_tokens=0))
    assert [ids(row[0].text) for row in found] == GOLDEN["beam"].tolist()


def test_merged_says_the_same(tiny: Mats) -> None:
    prefix = tiny.hear(unit(GOLDEN["z"]))
    plain = SearchSettings(beams=1, max_new_tokens=12, min_new_tokens=0, no_repeat_ngram_size=0, repetition_penalty=1.0)
    lora.merge(tiny.llm.base)
    try:
        assert [ids(row[0].text) for row in tiny.llm.answers(prefix, ASKED, plain)] == GOLDEN["greedy"].tolist()
    finally:
        lora.unmerge(tiny.llm.base)


def test_what_is_said_of_it(tiny: Mats) -> None:
    config = tiny.config
    assert (config.mapper.clip_length, config.mapper.prefix_length, config.mapper.layers, config.mapper.heads) == (
        6,
        6,
        2,
        8,
    )
    assert (config.llm.rank, config.llm.alpha, config.llm.targets, config.llm.prompt) == (
        8,
        32,
        ["q_proj", "v_proj"],
        "paper",
    )
    assert config.clap == "msclap-2023" and config.noise_variance == pytest.approx(0.015 * 1024 / 64) and config.id


def test_every_way_the_file_may_be_written(tmp_path: Path, base: Path) -> None:
    """`module.` before the names, no `.default` in them, a bare state dict, safetensors: the same folder comes out."""
    from safetensors.torch import save_file

    state = read_tensors(FILE)
    told = read_config(written(tmp_path / "0", state, base)).id
    bare = {key.replace(".default", ""): value for key, value in state.items()}
    torch.save({f"module.{key}": value for key, value in bare.items()}, tmp_path / "a.pth")
    torch.save(bare, tmp_path / "b.pt")
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "c.safetensors")
    for number, name in enumerate(("a.pth", "b.pt", "c.safetensors"), 1):
        assert read_config(written(tmp_path / str(number), read_tensors(tmp_path / name), base)).id == told


def written(folder: Path, state: dict[str, torch.Tensor], base: Path) -> Path:
    assert is_authors(state)
    convert_authors(state, folder, "tiny", str(base))
    return folder


def test_missing_left_over_and_of_another_size(tmp_path: Path) -> None:
    state = read_tensors(FILE)
    gone = {key: value for key, value in state.items() if "layers.1.norm2.bias" not in key}
    alone = {key: value for key, value in state.items() if "layers.0.self_attn.q_proj.lora_B" not in key}
    for given, said in (
        (gone, r"lacks mapper.transformer.layers.1.norm2.bias \(1 missing, 0 left over\)"),
        (
            state | {"extra.weight": torch.zeros(1)},
            r"holds extra.weight, which no part of MATS has \(0 missing, 1 left over\)",
        ),
        (alone, "lacks llm.model.layers.0.self_attn.q_proj.lora_B"),
        (state | {"audio_mapper.linear.bias": torch.zeros(3)}, r"mapper.linear.bias is \(3,\) where \(384,\)"),
        ({"audio_mapper.x": torch.zeros(1)}, "lacks audio_mapper.prefix_const"),
    ):
        with pytest.raises(ModelError, match=said):
            convert_authors(given, tmp_path / "out", "tiny")
    assert not (tmp_path / "out").exists()


def test_another_language_model(tiny: Mats, base: Path, tmp_path: Path) -> None:
    """A copy of the same one fits; one of other sizes does not, and why is said."""
    out = written(tmp_path / "model", read_tensors(FILE), base)
    trained = read_config(out).llm
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    other = load_folder(out, clap=NoEars(), llm=replace(trained, base=str(copy), fingerprint=""))
    assert other.llm.width == 32
    config = transformers.LlamaConfig(
        vocab_size=160, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    transformers.LlamaForCausalLM(config).save_pretrained(str(copy))
    with pytest.raises(MismatchError, match=r"speaks to 32 numbers a token, .* reads 48; train it for that one"):
        load_folder(out, clap=NoEars(), llm=replace(trained, base=str(copy), fingerprint=""))
    config = transformers.LlamaConfig(
        vocab_size=160, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    transformers.LlamaForCausalLM(config).save_pretrained(str(copy))
    with pytest.raises(MismatchError, match="LoRA has no place there"):
        load_folder(out, clap=NoEars(), llm=replace(trained, base=str(copy), fingerprint=""))


def test_convert_on_the_command_line(mats: Run, base: Path, tmp_path: Path) -> None:
    done = mats("models", "convert", FILE, "-o", "tiny", "--llm", base)
    assert done.returncode == 0 and done.stdout.startswith(b"tiny: MATS of its authors, id ") and not done.stderr
    again = mats("models", "convert", FILE, "-o", "tiny")
    assert again.returncode == 2 and b"tiny holds a model already: choose another folder." in again.stderr
    told = mats("models", "info", "./tiny").stdout.decode()
    assert "hears with:  msclap-2023" in told and f"answers with: {base} (lora)" in told
    # what it needs is said by name
    lacks = mats("caption", "--offline", "--model", "./tiny", FILE)
    assert lacks.returncode == 5 and b"msclap-2023 is not here" in lacks.stderr, lacks.stderr
    with pytest.raises(ModelError, match="msclap-2023 is not here: `mats models pull msclap-2023`"):
        loading.load(str(tmp_path / "tiny"))
