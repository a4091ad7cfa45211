"""The published encoders, against numbers of their original implementations and against transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from formula import FIXTURES, wave, weights
from torch.nn import functional as F

from mats_model.clap.logmel import LogMel
from mats_model.clap.mels import BANKS, mel_bank
from mats_model.errors import ModelError, UsageError

transformers = pytest.importorskip("transformers", reason="pip install 'mats[llm]'")

from mats_model.clap.laion import LaionClap, from_transformers  # noqa: E402
from mats_model.clap.msclap import MsClap  # noqa: E402


def near(made: torch.Tensor | np.ndarray, golden: np.ndarray) -> None:
    made = torch.as_tensor(made)
    told = torch.from_numpy(golden)
    assert float((1 - F.cosine_similarity(made, told)).max()) < 1e-4 and float((made - told).abs().max()) < 2e-3


@pytest.mark.parametrize("name", ["laion_HTSAT-tiny", "laion_HTSAT-base"])
def test_laion_golden(name: str) -> None:
    golden = np.load(FIXTURES / f"{name}_1.npz")
    clap = LaionClap(weights(name), None)
    waves = torch.from_numpy(np.stack([wave(48_000, 10, seed) for seed in (1, 2)]))
    with torch.inference_mode():
        near(clap.embed_windows(waves.numpy()), golden["audio"])
        near(clap.embed_ids(torch.from_numpy(golden["ids"]).long()), golden["text"])
        # alone and among others, the same bit for bit
        assert np.array_equal(clap.embed_windows(waves.numpy())[1], clap.embed_windows(waves[1:].numpy())[0])
        # what runs on a GPU, with windows of nothing beside
        clap._together.rows = 3
        near(clap._together(waves), golden["audio"])
        assert torch.equal(clap._together(waves)[1], clap._together(waves[1:])[0])
    assert (clap.sample_rate, clap.window, clap.dim) == (48_000, 480_000, 512) and clap.label_scale == pytest.approx(
        np.exp(2.0)
    )


def test_msclap_golden() -> None:
    golden = np.load(FIXTURES / "msclap2023_1.npz")
    clap = MsClap({key: value for key, value in weights("msclap2023").items()} | zero_biases(), None)
    with torch.inference_mode():
        for seconds in (1, 7):
            waves = torch.from_numpy(np.stack([wave(44_100, seconds, seed) for seed in (1, 2)]))
            near(clap.embed_waves(waves), golden[f"audio_{seconds}s"])
        near(clap.embed_ids(torch.from_numpy(golden["ids"]).long()), golden["text"])
    assert (clap.sample_rate, clap.window, clap.dim) == (44_100, 308_700, 1024)


def zero_biases() -> dict[str, torch.Tensor]:
    return {f"caption_encoder.base.h.{layer}.attn.c_attn.bias": torch.zeros(2304) for layer in range(12)}


def tiny(fused: bool) -> transformers.ClapModel:
    audio = {
        "patch_embeds_hidden_size": 32, "depths": [2, 2, 2, 2], "num_attention_heads": [1, 2, 4, 8],
        "hidden_size": 256, "projection_dim": 48,
        "enable_fusion": fused, "fusion_type": "aff_2d" if fused else None, "enable_patch_layer_norm": True,
        "num_mel_bins": 64,
    }  # fmt: skip
    text = {
        "vocab_size": 300,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 96,
        "projection_dim": 48,
    }
    torch.manual_seed(0)
    model = transformers.ClapModel(
        transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=48)
    ).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(-40.0)
        elif name.endswith("running_var"):
            buffer.fill_(200.0)
    return model


@pytest.mark.parametrize("fused", [False, True])
def test_as_transformers_has_it(fused: bool) -> None:
    """The same sounds through their feature extractor and model; fused checkpoints with the bank they were taught
    with."""
    model = tiny(fused)
    clap = LaionClap(from_transformers(model.state_dict()), None)
    assert clap.fused is fused and clap.front.spec.scale == ("plain" if fused else "slaney") and clap.dim == 48
    waves = [wave(48_000, 10, seed) for seed in (1, 2)]
    # the published preprocessors' own settings, not the class's defaults
    extractor = transformers.ClapFeatureExtractor(
        feature_size=64,
        frequency_min=50,
        frequency_max=14_000,
        truncation="fusion" if fused else "rand_trunc",
        padding="repeatpad",
    )
    inputs = extractor(waves, sampling_rate=48_000, return_tensors="pt")
    inputs["is_longer"] = torch.zeros(2, 1, dtype=torch.bool)
    ids = torch.tensor([[0, 20, 30, 2, 1, 1], [0, 40, 50, 60, 70, 2]])
    with torch.inference_mode():
        heard = model.get_audio_features(**inputs).pooler_output
        meant = model.get_text_features(input_ids=ids, attention_mask=(ids != 1).long()).pooler_output
        near(clap.embed_windows(np.stack(waves)), F.normalize(heard, dim=-1).numpy())
        near(clap.embed_ids(ids), F.normalize(meant, dim=-1).numpy())


def test_banks_differ() -> None:
    """What a wrong bank would do: plausible numbers, far from the right ones."""
    sound = torch.from_numpy(wave(48_000, 1, 1))[None]
    assert float((LogMel("laion")(sound) - LogMel("laion-fused")(sound)).abs().mean()) > 5.0
    bank = mel_bank(BANKS["laion"])
    # area 1 in Hz
    assert np.allclose(bank.sum(0) * 48_000 / 1024, 1.0, atol=0.15) and bank.shape == (513, 64)


def state() -> dict[str, torch.Tensor]:
    return from_transformers(tiny(False).state_dict())


def test_what_does_not_fit_is_named() -> None:
    whole = state()
    for change, said in (
        (lambda s: s.pop("audio_branch.norm.weight"), r"lacks audio_branch.norm.weight \(1 missing, 0 left over\)"),
        (
            lambda s: s.update({"audio_branch.more": torch.zeros(1)}),
            r"holds audio_branch.more, which no part of it has \(0 missing, 1 left over\)",
        ),
        (
            lambda s: s.update({"audio_branch.norm.weight": torch.zeros(3)}),
            r"audio_branch.norm.weight is \(3,\) where \(256,\) is expected",
        ),
    ):
        broken = dict(whole)
        change(broken)
        with pytest.raises(ModelError, match=said):
            LaionClap(broken, None)
    with pytest.raises(ModelError, match=r"there is no tensor audio_branch\.\*"):
        LaionClap({"x": torch.zeros(1)}, None)
    # tensors that are computed may be there or not
    LaionClap(
        {
            **whole,
            "text_branch.embeddings.position_ids": torch.zeros(1, 514),
            "audio_branch.head.weight": torch.zeros(2, 2),
        },
        None,
    )


def test_texts_in_batches_are_as_alone() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **{f"w{n}": n for n in range(4, 300)}}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    clap = LaionClap(state(), raw.to_str())
    texts = ["w5 w6", "w7", " ".join(f"w{n}" for n in range(4, 200)), "w5 w6", "w9 w10 w11"] + [
        f"w{n} w{n + 1}" for n in range(20, 120)
    ]
    together = clap.embed_text(texts)
    assert together.shape == (105, 48) and np.allclose(np.linalg.norm(together, axis=-1), 1, atol=1e-5)
    for row in (0, 1, 2, 4, 77):
        assert np.allclose(clap.embed_text([texts[row]])[0], together[row], atol=1e-5)
    assert np.array_equal(together[0], together[3]) and len(clap.id) == len(clap.space) == 12 and not clap.collapsed()
    other = state()
    for key in list(other):
        if key.startswith("text_projection.2."):
            other[key] = torch.zeros_like(other[key]) if key.endswith("weight") else torch.ones_like(other[key])
    assert LaionClap(other, raw.to_str()).collapsed() and LaionClap(other, raw.to_str()).space != clap.space
    with pytest.raises(UsageError, match="no tokenizer beside it"):
        LaionClap(state(), None).embed_text(["w5"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(tmp_path: Path) -> None:
    from mats_model.weights.loading import load_ears

    torch.save({"state_dict": weights("laion_HTSAT-tiny")}, tmp_path / "x.pt")
    here, there = load_ears(str(tmp_path / "x.pt")).clap, load_ears(str(tmp_path / "x.pt"), "cuda").clap
    waves = np.stack([wave(48_000, 10, seed) for seed in (1, 2)])
    near(there.embed_windows(waves), here.embed_windows(waves))
    near(there.embed_alone(waves[0])[None], here.embed_windows(waves[:1]))
    assert (
        np.array_equal(there.embed_windows(waves)[:1], there.embed_windows(waves[:1]))
        and there.listeners > here.listeners
    )


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    from mats_model.errors import DeviceError
    from mats_model.weights.loading import load_ears

    torch.save(state(), tmp_path / "x.pt")
    with pytest.raises(UsageError, match="choose auto, cpu, cuda"):
        load_ears(str(tmp_path / "x.pt"), "tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="sees no CUDA device"):
            load_ears(str(tmp_path / "x.pt"), "cuda:1")


def test_its_id_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """150 million weights are not hashed at every look; a weight that was written to is."""
    clap, plain, read = LaionClap(state(), None), LaionClap(state(), None), list[int]()
    numpy = torch.Tensor.numpy

    def counted(tensor: torch.Tensor) -> Any:
        read.append(tensor.numel())
        return numpy(tensor)

    monkeypatch.setattr(torch.Tensor, "numpy", counted)
    first, space, once = clap.id, clap.space, sum(read)
    assert once > 100_000 and (clap.id, clap.space) == (first, space) == (plain.id, plain.space)
    assert sum(read) == 2 * once  # of the other one
    with torch.no_grad():
        clap.audio_branch.norm.weight[0] += 1
    assert clap.id != first and clap.space == space and clap.id == clap.id
    assert sum(read) < 3 * once
