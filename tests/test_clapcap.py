"""clapcap in miniature, in the layout of its file: against a slow mapper, transformers' own GPT-2 and a plain loop;
then as a user meets it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run
from torch.nn import functional as F
from webserver import Site

from mats_model.clap.htsat import HTSAT
from mats_model.clap.msclap import MsClap, Projection
from mats_model.config import SearchSettings
from mats_model.errors import MismatchError, ModelError, UsageError
from mats_model.live.hearing import take
from mats_model.live.talk import Conversation
from mats_model.llm.prompts import Question
from mats_model.mats import Mats
from mats_model.weights.clapcap import convert_clapcap, is_clapcap
from mats_model.weights.encoders import read_tensors
from mats_model.weights.folder import read_config
from mats_model.weights.loading import load_ears, load_folder

transformers = pytest.importorskip("transformers", reason="pip install 'mats[llm]'")

WIDTH, D, CLIP, PREFIX, LAYERS, HEADS = 64, 48, 5, 6, 2, 8
State = dict[str, torch.Tensor]


def moved(module: torch.nn.Module, prefix: str, scale: float = 0.1) -> State:
    """Its tensors under names that begin so, none of them as it was made."""
    state = {prefix + key: value.clone() for key, value in module.state_dict().items()}
    return {
        key: value + scale * torch.randn_like(value) if value.is_floating_point() else value
        for key, value in state.items()
    }


def audio(prefix: str) -> State:
    """An audio side, and what else lies beside it in the published files."""
    htsat = HTSAT(8, (1, 1), (1, 2))
    torch.nn.init.constant_(htsat.bn0.running_mean, -40.0)  # type: ignore[arg-type]
    torch.nn.init.constant_(htsat.bn0.running_var, 200.0)  # type: ignore[arg-type]
    unused = (
        "tscam_conv.weight",
        "head.bias",
        "spectrogram_extractor.stft.conv_real.weight",
        "layers.0.blocks.0.attn.relative_position_index",
    )
    more = {f"{prefix}base.htsat.{name}": torch.zeros(2) for name in unused}
    return moved(htsat, f"{prefix}base.htsat.") | moved(Projection(16, D), f"{prefix}projection.") | more


def make(folder: Path) -> None:
    """gpt2/ with a tokenizer of bytes, and beside it both files of the hub repository."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    end = "<|endoftext|>"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=end, eos_token=end, unk_token=end
    ).save_pretrained(str(folder / "gpt2"))
    sizes = {
        "n_embd": WIDTH,
        "n_layer": 2,
        "vocab_size": 257,
        "n_positions": 128,
        "bos_token_id": 256,
        "eos_token_id": 256,
    }
    gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, n_head=4, initializer_range=0.3))
    gpt.save_pretrained(str(folder / "gpt2"))
    # GPT-2 as fine-tuned: other numbers than the base has, and letters, spaces and ends are likelier than other bytes
    state = {key: value for key, value in moved(gpt, "gpt.").items() if key != "gpt.lm_head.weight"}
    said = torch.tensor([(letter.isascii() and letter.isalpha()) or letter == "Ġ" for letter in letters] + [True])
    state["gpt.transformer.wte.weight"][:, 0], state["gpt.transformer.ln_f.bias"][0] = said.float() * 2 - 1, 10.0
    state["gpt.transformer.wte.weight"][letters.index("Ġ"), 0] = 1.5
    state["gpt.lm_head.weight"] = state["gpt.transformer.wte.weight"]
    state |= {
        "gpt.transformer.h.0.attn.bias": torch.ones(1, 1, 128, 128),
        "gpt.transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
    }
    names = {"prefix_const": (PREFIX, WIDTH), "linear.weight": (CLIP * WIDTH, D), "linear.bias": (CLIP * WIDTH,)}
    for layer in range(LAYERS):
        below = f"transformer.layers.{layer}."
        names |= {f"{below}{norm}.{side}": (WIDTH,) for norm in ("norm1", "norm2") for side in ("weight", "bias")}
        names |= {
            f"{below}attn.to_queries.weight": (WIDTH, WIDTH),
            f"{below}attn.to_keys_values.weight": (2 * WIDTH, WIDTH),
        }
        names |= {f"{below}attn.project.weight": (WIDTH, WIDTH), f"{below}attn.project.bias": (WIDTH,)}
        names |= {f"{below}mlp.fc1.weight": (2 * WIDTH, WIDTH), f"{below}mlp.fc1.bias": (2 * WIDTH,)}
        names |= {f"{below}mlp.fc2.weight": (WIDTH, 2 * WIDTH), f"{below}mlp.fc2.bias": (WIDTH,)}
    state |= {f"clap_project.{key}": torch.randn(shape) / shape[-1] ** 0.5 for key, shape in names.items()}
    # so that what is heard matters to what is said
    state["clap_project.linear.weight"] *= 10
    torch.save({"model": state | audio("clap.")}, folder / "clapcap_weights_2023.pth")
    text = transformers.GPT2Model(transformers.GPT2Config(**sizes | {"n_layer": 1}, n_head=1))
    texts = moved(text, "caption_encoder.base.") | moved(Projection(WIDTH, D), "caption_encoder.projection.")
    torch.save(
        {"model": audio("audio_encoder.") | texts | {"logit_scale": torch.tensor(2.0)}},
        folder / "CLAP_weights_2023.pth",
    )
    (folder / "tokenizer.json").write_bytes((folder / "gpt2" / "tokenizer.json").read_bytes())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make` makes them."""
    folder = tmp_path_factory.mktemp("clapcap")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def state(files: Path) -> State:
    return read_tensors(files / "clapcap_weights_2023.pth")


@pytest.fixture(scope="module")
def tiny(files: Path, state: State, tmp_path_factory: pytest.TempPathFactory) -> Mats:
    out = tmp_path_factory.mktemp("model")
    assert is_clapcap(state)
    convert_clapcap(state, out, "tiny", str(files / "gpt2"), str(files / "CLAP_weights_2023.pth"))
    # against numbers of float32, also where the processor multiplies bfloat16
    return load_folder(out, llm=replace(read_config(out).llm, dtype="float32"))


@pytest.fixture(scope="module")
def heard() -> torch.Tensor:
    return F.normalize(torch.randn(6, D, generator=torch.Generator().manual_seed(1)), dim=-1)


def slow_prefix(state: State, z: torch.Tensor) -> torch.Tensor:
    """(n, d) -> (n, p, h), as the formulas are written."""
    own = {key.removeprefix("clap_project."): value for key, value in state.items() if key.startswith("clap_project.")}
    made = (z @ own["linear.weight"].T + own["linear.bias"]).view(len(z), CLIP, WIDTH)
    x = torch.cat([made, own["prefix_const"][None].repeat(len(z), 1, 1)], 1)
    for layer in range(LAYERS):
        part = {key.removeprefix(f"transformer.layers.{layer}."): value for key, value in own.items()}
        y = F.layer_norm(x, (WIDTH,), part["norm1.weight"], part["norm1.bias"])
        q = (y @ part["attn.to_queries.weight"].T).view(len(z), -1, HEADS, WIDTH // HEADS)
        k, v = (y @ part["attn.to_keys_values.weight"].T).view(len(z), -1, 2, HEADS, WIDTH // HEADS).unbind(2)
        share = (torch.einsum("nihc,njhc->nhij", q, k) / (WIDTH // HEADS) ** 0.5).softmax(-1)
        mixed = torch.einsum("nhij,njhc->nihc", share, v).reshape(x.shape)
        x = x + mixed @ part["attn.project.weight"].T + part["attn.project.bias"]
        y = F.layer_norm(x, (WIDTH,), part["norm2.weight"], part["norm2.bias"])
        x = (
            x
            + (y @ part["mlp.fc1.weight"].T + part["mlp.fc1.bias"]).relu() @ part["mlp.fc2.weight"].T
            + part["mlp.fc2.bias"]
        )
    return x[:, CLIP:]


def test_prefix_logits_and_greedy(tiny: Mats, files: Path, state: State, heard: torch.Tensor) -> None:
    gpt = transformers.GPT2LMHeadModel.from_pretrained(str(files / "gpt2"))
    buffers = (".attn.bias", ".attn.masked_bias")
    gpt.load_state_dict(
        {
            key.removeprefix("gpt."): value
            for key, value in state.items()
            if key.startswith("gpt.") and not key.endswith(buffers)
        }
    )
    gpt.eval()
    with torch.inference_mode():
        prefix = tiny.hear(heard.numpy())
        assert float((prefix - slow_prefix(state, heard)).abs().max()) < 1e-5
        before, after = tiny.llm._ask(Question())  # type: ignore[operator]
        assert (before, after) == ([], [])
        inputs = tiny.llm._inputs(prefix, before, torch.tensor([after] * len(prefix), dtype=torch.long))  # type: ignore[operator]
        assert float((tiny.llm.base(inputs_embeds=inputs).logits - gpt(inputs_embeds=prefix).logits).abs().max()) < 1e-5  # type: ignore[operator]
        plain = SearchSettings(
            beams=1, max_new_tokens=12, min_new_tokens=1, no_repeat_ngram_size=0, repetition_penalty=1.0
        )
        said = [row[0].text for row in tiny.llm.answers(prefix, Question(), plain)]
        tokenizer = tiny.llm.tokenizer  # type: ignore[union-attr]
        ends = {256, tokenizer.convert_tokens_to_ids("Ġ")}
        assert set(tiny.llm.ends) == ends  # type: ignore[arg-type]
        for row, text in zip(prefix, said, strict=True):
            tokens: list[int] = []
            while len(tokens) < 12:
                logits = gpt(
                    inputs_embeds=torch.cat([row, gpt.transformer.wte(torch.tensor(tokens, dtype=torch.long))])[None]
                ).logits[0, -1]
                if not tokens:
                    logits[list(ends)] = -torch.inf
                if int(logits.argmax()) in ends:
                    break
                tokens.append(int(logits.argmax()))
            assert text == tokenizer.decode(tokens)
            assert "".join(tiny.llm.stream(row[None], Question(), plain)) == text
    # some end at a space before they are at their max_new_tokens
    assert min(map(len, said)) < 12


def test_what_is_said_of_it(tiny: Mats, files: Path) -> None:
    config, search = tiny.config, tiny.config.search
    assert (config.mapper.clip_length, config.mapper.prefix_length, config.mapper.layers, config.mapper.heads) == (
        CLIP,
        PREFIX,
        LAYERS,
        HEADS,
    )
    assert (config.llm.prompt, config.llm.tuning, config.audio, config.width, len(config.id)) == (
        "none",
        "full",
        "msclap",
        D,
        12,
    )
    assert (
        search.beams,
        search.max_new_tokens,
        search.length_penalty,
        search.no_repeat_ngram_size,
        search.repetition_penalty,
    ) == (
        5,
        67,
        1.0,
        0,
        1.0,
    )


def test_it_hears_with_its_own_audio_side(tiny: Mats, files: Path, state: State, tmp_path: Path) -> None:
    """Whatever encoder of that kind lies there; its texts are the encoder's."""
    theirs = read_tensors(files / "CLAP_weights_2023.pth")
    own = {key.replace("clap.", "audio_encoder.", 1): value for key, value in state.items() if key.startswith("clap.")}
    encoder, whole = MsClap(theirs, None), MsClap(theirs | own, None)
    waves = np.random.default_rng(2).standard_normal((1, 44_100)).astype(np.float32)
    assert np.array_equal(tiny.clap.embed_windows(waves), whole.embed_windows(waves))
    assert not np.allclose(whole.embed_windows(waves), encoder.embed_windows(waves), atol=0.1)
    assert tiny.clap.id == whole.id != encoder.id and tiny.clap.space == encoder.space
    # labels are scored by the same ears
    convert_clapcap(state, tmp_path / "model", "tiny", str(files / "gpt2"), str(files / "CLAP_weights_2023.pth"))
    assert load_ears(str(tmp_path / "model")).clap.id == whole.id


def test_another_kind_of_encoder(files: Path, state: State, tmp_path: Path) -> None:
    from test_published import state as laion

    torch.save(laion(), tmp_path / "laion.pt")
    convert_clapcap(state, tmp_path / "model", "tiny", str(files / "gpt2"), str(tmp_path / "laion.pt"))
    with pytest.raises(
        MismatchError, match=r"holds the audio side of an encoder of kind msclap, which '.*laion.pt' is not"
    ):
        load_folder(tmp_path / "model")


def test_missing_left_over_and_of_another_size(state: State, tmp_path: Path) -> None:
    def without(*ends: str) -> State:
        return {key: value for key, value in state.items() if not key.endswith(ends)}

    for given, said in (
        (
            without("project.transformer.layers.1.norm2.bias"),
            r"lacks mapper.transformer.layers.1.norm2.bias \(1 missing, 0 left over\)",
        ),
        (without("h.1.mlp.c_fc.bias"), r"lacks llm.transformer.h.1.mlp.c_fc.bias \(1 missing, 0 left over\)"),
        (
            without("clap.projection.linear2.weight"),
            r"lacks clap.audio_encoder.projection.linear2.weight \(1 missing, 0 left over\)",
        ),
        (without("clap.base.htsat.bn0.running_mean"), "lacks clap.audio_encoder.base.htsat.bn0.running_mean"),
        (without("clap_project.prefix_const"), "lacks clap_project.prefix_const"),
        (without("wte.weight"), "lacks llm.transformer.wte.weight"),
        (without("patch_embed.proj.weight"), "lacks patch_embed.proj.weight in clap"),
        ({key: value for key, value in state.items() if not key.startswith("clap.")}, r"there is no tensor clap\.\*"),
        (
            state | {"extra.weight": torch.zeros(1)},
            r"holds extra.weight, which no part of MATS has \(0 missing, 1 left over\)",
        ),
        (
            state | {"gpt.transformer.wpe.weight": torch.zeros(128, 3)},
            r"llm.transformer.wpe.weight is \(128, 3\) where \(128, 64\)",
        ),
        (state | {"clap_project.linear.bias": torch.zeros(3)}, r"mapper.linear.bias is \(3,\) where \(320,\)"),
        (
            state | {"gpt.lm_head.weight": torch.zeros(257, WIDTH)},
            "gpt.lm_head.weight is not its gpt.transformer.wte.weight",
        ),
        (
            state | {"gpt.transformer.wte.weight": torch.zeros(257, 32), "gpt.lm_head.weight": torch.zeros(257, 32)},
            "its GPT-2 reads 32",
        ),
    ):
        with pytest.raises(ModelError, match=said):
            convert_clapcap(given, tmp_path / "out", "tiny")
    assert not (tmp_path / "out").exists()


def test_questions(tiny: Mats, heard: torch.Tensor, dog: Path) -> None:
    """There are none that GPT-2 could be asked; a conversation answers from captions and scores, as beside the small
    decoder."""
    assert len(tiny.answer(heard.numpy())) == len(heard)
    with pytest.raises(
        UsageError, match="this model only captions, it was taught no questions: take the model mini to ask one"
    ):
        tiny.answer(heard.numpy(), "Is there a dog?")
    from mats_model.audio import source

    talk = Conversation(tiny)
    talk.listen_to(take(tiny, source(dog)))
    assert "".join(talk.ask("What is it?")) == tiny.caption(dog)
    assert "dog" in "".join(talk.ask("Is there a dog?")) and "cannot say that" in "".join(talk.ask("Who wrote this?"))


def test_pulled_by_name(files: Path, mats: Run, dog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file, the encoder and GPT-2 from the hub; then `convert` of the same file makes the same model; no pickle
    stays."""
    for name in list(os.environ):
        if (
            name.startswith("HF_")
            or name in ("MATS_OFFLINE", "TRANSFORMERS_OFFLINE")
            or name.lower().endswith("_proxy")
        ):
            monkeypatch.delenv(name)
    with Site() as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
        site.hub({file.name: file.read_bytes() for file in files.glob("*.pth")}, repo="microsoft/msclap")
        site.hub({file.name: file.read_bytes() for file in (files / "gpt2").iterdir()}, repo="openai-community/gpt2")
        done = mats("models", "pull", "clapcap")
        site.shutdown()
    told = done.stderr.decode()
    assert (
        done.returncode == 0
        and "clapcap: 950 MB, MS-PL, https://huggingface.co/microsoft/msclap; Microsoft's captioner" in told
    ), told
    assert done.stdout.decode() == f"{tmp_path / 'home' / 'models' / 'clapcap'}\n" and not list(
        (tmp_path / "home").rglob("*.pth")
    )
    said = mats("caption", dog, "--model", "clapcap", "--offline")
    assert said.returncode == 0 and said.stdout.count(b"\n") == 1, said.stderr
    made = mats("models", "convert", files / "clapcap_weights_2023.pth", "-o", "mine")
    assert made.stdout.startswith(b"mine: clapcap, id ") and made.stdout.endswith(
        b"beside msclap-2023, answers with openai-community/gpt2\n"
    )
    kept = tmp_path / "home" / "models" / "clapcap" / "model.safetensors"
    assert (tmp_path / "mine" / "model.safetensors").read_bytes() == kept.read_bytes()
    info = json.loads(mats("models", "info", "clapcap", "--json").stdout)
    assert (info["licence"], info["answers with"]) == ("MS-PL", "openai-community/gpt2 (full)")
    assert info["hears with"] == "msclap-2023, its audio side replaced" and info["needs"] == [
        "msclap-2023",
        "openai-community/gpt2",
    ]
