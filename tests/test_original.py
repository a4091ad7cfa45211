"""LAION's own package beside our modules, on the same weights, where it is installed; and what is said where it is not,
or does not work."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import TEXTS, encoded, hub, sounds

from mats_model.clap.protocol import ORIGINAL
from mats_model.errors import ModelError, UsageError
from mats_model.weights.encoders import read_tensors
from mats_model.weights.loading import load_ears


def near(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Nearer than the golden numbers have to be: only rounding differs, most in near-silent bins of pure tones."""
    ours, told = torch.from_numpy(ours), torch.from_numpy(theirs)
    assert float((1 - torch.cosine_similarity(ours.double(), told.double(), dim=-1)).max()) < 1e-6
    assert float((ours - told).abs().max()) < 2e-4


@pytest.mark.parametrize("amodel", ["HTSAT-tiny", "HTSAT-base", "HTSAT-tiny-fused"])
def test_as_laions_own_package_has_it(amodel: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="pip install 'mats[llm]'")
    if importlib.util.find_spec("laion_clap") is None:
        pytest.skip("pip install 'mats[laion]' (numpy below 2)")
    if amodel.endswith("-fused") and importlib.util.find_spec("torchaudio") is None:
        pytest.skip("fused checkpoints need torchaudio")
    (tmp_path / "tokenizer.json").write_text(hub(tmp_path / "home"), encoding="utf-8")
    # the hub's library reads its folder when it is imported, hence the process
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("HF_HUB_CACHE", "TRANSFORMERS_CACHE", "HUGGINGFACE_HUB_CACHE")
    }
    env |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).parent / "reference.py"), str(tmp_path / "x.pt"), amodel]
    ran = subprocess.run(command, env=env, capture_output=True, timeout=150, check=False)
    assert ran.returncode == 0 and ran.stdout + ran.stderr == b"", ran.stderr.decode()
    theirs, ears = np.load(tmp_path / "theirs.npz"), load_ears(str(tmp_path / "x.pt"))
    for name, sound in sounds().items():
        heard = ears.embed_audio(encoded(sound))
        near(heard, theirs[f"heard {name}"])
        if len(sound) <= 480_000:
            near(heard, theirs[f"alone {name}"])
    near(ears.clap.embed_text(TEXTS), theirs["texts"])
    near(ears.clap.embed_text(TEXTS[:1]), theirs["text"])
    assert ears.scales.label == pytest.approx(float(theirs["scale"])) == pytest.approx(np.exp(2.0))
    # or nothing would be shown
    some = np.stack([theirs[f"heard {name}"] for name in ("1", "10", "0.3")])
    assert (some @ some.T)[np.triu_indices(3, 1)].max() < 0.97 and np.unique(theirs["texts"].round(4), axis=0).shape[
        0
    ] == len(set(TEXTS))


# ---- where it is not, or does not work: a stand-in for the package


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (folder / "laion_clap" / "training").mkdir(parents=True)
    (folder / "laion_clap" / "training" / "data.py").write_text("torchaudio = None\n")
    (folder / "laion_clap" / "__init__.py").write_text(code)
    for name in [name for name in sys.modules if name.split(".")[0] == "laion_clap"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(folder))


WORKS = """
import torch
class CLAP_Module(torch.nn.Module):
    def __init__(self, enable_fusion, device, amodel):
        super().__init__()
        {first}
        self.model = torch.nn.Module()
        self.model.logit_scale_a = torch.nn.Parameter(torch.ones([]))
        self.model.audio_branch = torch.nn.Module()
        self.model.audio_branch.patch_embed = torch.nn.Module()
        self.model.audio_branch.patch_embed.proj = torch.nn.Conv2d(1, 96, 4)
    def tokenizer(self, texts):
        return {{"input_ids": torch.tensor({ids})}}
"""
WHOLE = {
    "logit_scale_a": torch.zeros(()), "audio_branch.patch_embed.proj.weight": torch.zeros(96, 1, 4, 4),
    "audio_branch.patch_embed.proj.bias": torch.zeros(96), "text_branch.embeddings.position_ids": torch.arange(4),
}  # fmt: skip


def load(folder: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / "x.pt")
    load_ears(f"{ORIGINAL}{folder / 'x.pt'}")


def test_it_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "laion_clap", None)
    with pytest.raises(UsageError, match=r"pip install 'mats\[laion\]' into an environment of its own"):
        load(tmp_path, WHOLE)
    with pytest.raises(ModelError, match=r"none\.pt is not there; check the path"):
        load_ears(f"{ORIGINAL}none.pt")
    with pytest.raises(ModelError, match=r"is a folder, and LAION's own package reads \.pt files"):
        load_ears(f"{ORIGINAL}{tmp_path}")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "torchvision::nms does not exist.*of one release and one build",
        ),
        (
            "raise OSError('Could not load this library: _torchaudio.so')",
            "_torchaudio.so.*of one release and one build",
        ),
        ("import not_there_at_all", r"No module named 'not_there_at_all'.*pip install 'mats\[laion\]'"),
    ],
)
def test_it_does_not_import(code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, code)
    with pytest.raises(UsageError, match=said):
        load(tmp_path, WHOLE)


@pytest.mark.parametrize(
    "code",
    [
        # as transformers 4 says it
        "def from_pretrained():\n    raise TypeError('path should be string')\nfrom_pretrained()",
        WORKS.format(first="raise OSError('We could not connect to the hub.')", ids="[[0, 5, 2], [0, 6, 2]]"),
        # transformers 5 says nothing of files that are not there
        WORKS.format(first="", ids="[[2, 3], [2, 3]]"),
    ],
)
def test_what_it_fetches_is_not_here(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, code)
    with pytest.raises(
        ModelError, match=r"fetches bert-base-uncased, roberta-base, facebook/bart-base .* run it once with a network"
    ):
        load(tmp_path, WHOLE)


def test_what_is_here_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tells = "import os\nraise RuntimeError('offline=' + os.environ.get('HF_HUB_OFFLINE', 'unset'))"
    package(tmp_path, monkeypatch, tells)
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "MATS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match="offline=unset"):
        load(tmp_path, WHOLE)
    hub(tmp_path / "home")
    with pytest.raises(UsageError, match="offline=1"):
        load(tmp_path, WHOLE)
    assert "HF_HUB_OFFLINE" not in os.environ
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(UsageError, match="offline=0"):
        load(tmp_path, WHOLE)
    monkeypatch.setenv("MATS_OFFLINE", "1")
    with pytest.raises(UsageError, match="offline=1"):
        load(tmp_path, WHOLE)
    assert os.environ["HF_HUB_OFFLINE"] == "0"


def test_files_that_are_none_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, WORKS.format(first="", ids="[[0, 5, 2], [0, 6, 2]]"))
    weight = "audio_branch.patch_embed.proj.weight"
    for change, said in (
        ({weight: None}, "is no checkpoint that LAION's package reads"),
        ({weight: torch.zeros(64, 1, 4, 4)}, "is no checkpoint that LAION's package reads"),
        ({weight: torch.zeros(96, 1, 2, 2)}, rf"{weight} is \(96, 1, 2, 2\) where \(96, 1, 4, 4\) is expected"),
        ({"logit_scale_a": None}, r"lacks logit_scale_a \(1 missing"),
        ({"more": torch.zeros(1)}, r"holds more, which no part of the model has|more"),
    ):
        with pytest.raises(ModelError, match=said):
            load(tmp_path, {key: value for key, value in (WHOLE | change).items() if value is not None})  # type: ignore[operator]
    with pytest.raises(UsageError, match="fused checkpoint, for which LAION's package needs torchaudio"):
        load(tmp_path, WHOLE | {"audio_branch.patch_embed.fusion_model.x": torch.zeros(1)})
    load(tmp_path, WHOLE)


@pytest.mark.parametrize("core", ["core", "_core"])
def test_numbers_of_either_numpy_in_a_checkpoint(core: str, tmp_path: Path) -> None:
    """numpy 1 writes its numbers under one name, numpy 2 under another; each reads both."""
    torch.save(
        {"loss": np.float64(1.5), "steps": np.int64(3), "state_dict": {"module.x": torch.ones(2)}}, tmp_path / "a.pt"
    )
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                assert re.search(rb"cnumpy\._?core\.multiarray\nscalar\n", data)
                data = re.sub(rb"cnumpy\._?core\.multiarray\n", f"cnumpy.{core}.multiarray\n".encode(), data)
            new.writestr(name, data)
    assert torch.equal(read_tensors(tmp_path / "b.pt")["x"], torch.ones(2))
