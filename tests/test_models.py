"""mats models, against a hub on this machine: encoders, bases and a miniature of the published MATS, fetched, used,
bundled, removed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Run
from formula import FIXTURES
from webserver import Site

from mats_model.errors import ModelError, UsageError
from mats_model.weights.bundle import MANIFEST, bundle, parts, unbundle
from mats_model.weights.catalogue import ENTRIES, place_of
from mats_model.weights.convert import convert
from mats_model.weights.encoders import load_encoder, read_tensors
from mats_model.weights.loading import load_ears
from mats_model.weights.pull import Puller
from mats_model.weights.resolve import resolve

transformers = pytest.importorskip("transformers", reason="pip install 'mats[llm]'")
pytest.importorskip("peft", reason="pip install 'mats[llm]'")

TINY = FIXTURES / "mats_tiny_1"
CLAP, BASE, MODEL = "somebody/tiny-clap", "somebody/tiny-llama", "somebody/tiny-mats"
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "dog", "rain", "barks", "falls", "a", "speech", "music"]


def tokenizer() -> str:
    """RoBERTa's in shape: marks at both ends, 1 is the padding."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    raw = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return raw.to_str()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="session")
def clap(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A ClapModel of 64 dimensions, its weights in a pickle as the hub has some."""
    folder = tmp_path_factory.mktemp("clap")
    audio = {
        "patch_embeds_hidden_size": 32,
        "depths": [2, 2, 2, 2],
        "num_attention_heads": [1, 2, 4, 8],
        "hidden_size": 256,
        "projection_dim": 64,
    }
    text = {
        "vocab_size": 300,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 96,
        "projection_dim": 64,
    }
    torch.manual_seed(0)
    model = transformers.ClapModel(transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=64))
    model.config.save_pretrained(str(folder))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "tokenizer.json").write_text(tokenizer())
    return files(folder)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The fixture's Llama as Vicuna comes: pickles in two parts, and a tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("base")
    raw = Tokenizer(models.WordLevel({f"t{number}": number for number in range(160)}, unk_token="t0"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="t1", eos_token="t2").save_pretrained(
        str(folder)
    )
    shutil.copy(TINY / "llm" / "config.json", folder)
    state = list(read_tensors(TINY / "llm" / "model.safetensors").items())
    torch.save(dict(state[:5]), folder / "pytorch_model-00001-of-00002.bin")
    torch.save(dict(state[5:]), folder / "pytorch_model-00002-of-00002.bin")
    return files(folder)


@pytest.fixture
def hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clap: dict[str, bytes], base: dict[str, bytes]
) -> Iterator[Site]:
    for name in list(os.environ):
        if (
            name.startswith("HF_")
            or name in ("MATS_OFFLINE", "TRANSFORMERS_OFFLINE")
            or name.lower().endswith("_proxy")
        ):
            monkeypatch.delenv(name)
    site = Site()
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    site.hub(clap, repo=CLAP)
    site.hub(base, repo=BASE)
    # the authors' checkpoint under another name: as ours, converted beside these two
    made = tmp_path / "made"
    convert(TINY / "checkpoint_0.pth", made, name="tiny", base=BASE, clap=CLAP)
    site.hub({**files(made), "LICENSE": b"theirs\n"}, repo=MODEL)
    yield site
    site.shutdown()
    site.server_close()


def text(done: object) -> tuple[int, str, str]:
    assert isinstance(done, SimpleNamespace) or hasattr(done, "returncode")
    return done.returncode, done.stdout.decode(), done.stderr.decode()  # type: ignore[union-attr]


def test_a_hub_encoder_end_to_end(hub: Site, mats: Run, dog: Path, tmp_path: Path) -> None:
    """Fetched at first use, converted, and then used without a network; no pickle stays."""
    command = ("classify", dog, "--labels", "dog,rain", "--clap", CLAP, "--json")
    code, out, err = text(mats(*command))
    assert code == 0 and f"mats: {CLAP}: see its page, https://huggingface.co/{CLAP}\n" in err, err
    kept = tmp_path / "home" / "encoders" / "somebody--tiny-clap"
    assert sorted(path.name for path in kept.iterdir()) == [
        "TERMS.txt",
        "encoder.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert not list((tmp_path / "home").rglob("*.bin"))
    asked = len(hub.seen)
    again = text(mats(*command, "--offline"))
    assert again == (0, out, "") and len(hub.seen) == asked
    labels = json.loads(out)[0]["segments"][0]["labels"] if out.startswith("[") else json.loads(out)
    assert labels
    # the same encoder under an index, which then knows it by its id
    assert text(mats("index", "library", dog.parent, "--index", "a.db", "--clap", CLAP))[0] == 0
    assert text(mats("search", "dog", "--index", "a.db", "--clap", CLAP))[0] == 0
    other = text(mats("search", "dog", "--index", "a.db"))
    assert other[0] == 6, other


def test_a_model_and_all_it_needs(
    hub: Site, mats: Run, dog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoder, base in pickles, mapper and LoRA: one name; then a bundle on a machine that has nothing."""
    code, out, err = text(mats("models", "pull", MODEL))
    home = tmp_path / "home"
    assert code == 0 and out == f"{home / 'models' / 'somebody--tiny-mats'}\n", err
    assert (home / "models" / "somebody--tiny-mats" / "LICENSE").read_text() == "theirs\n"
    assert sorted(path.name for path in (home / "bases" / "somebody--tiny-llama").glob("model*")) == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
    ]  # fmt: skip
    code, said, err = text(mats("caption", dog, "--model", MODEL, "--offline"))
    assert code == 0 and said.count("\n") == 1 and said.startswith("T"), err
    # a bundle, elsewhere, without a network
    code, out, err = text(mats("models", "bundle", MODEL, "-o", "tiny.tar"))
    assert (
        code == 0
        and out == "tiny.tar: models/somebody--tiny-mats, encoders/somebody--tiny-clap, bases/somebody--tiny-llama\n"
    ), err
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "elsewhere"))
    assert text(mats("caption", dog, "--model", MODEL, "--offline"))[0] == 5
    code, out, err = text(mats("models", "import", "tiny.tar"))
    assert (code, err) == (
        0,
        "",
    ) and out == "bases/somebody--tiny-llama\nencoders/somebody--tiny-clap\nmodels/somebody--tiny-mats\n"
    assert text(mats("caption", dog, "--model", MODEL, "--offline")) == (0, said, "")
    listed = text(mats("models", "list", "--json"))[1]
    here = {row["name"] for row in map(json.loads, listed.splitlines()) if row["here"] and row["kind"] != "data"}
    assert here == {"nano", MODEL, CLAP, BASE}
    assert text(mats("models", "path", CLAP)) == (
        0,
        f"{tmp_path / 'elsewhere' / 'encoders' / 'somebody--tiny-clap'}\n",
        "",
    )
    assert text(mats("models", "rm", CLAP))[0] == 0 and text(mats("models", "path", CLAP))[0] == 5


def test_another_language_model(hub: Site, mats: Run, dog: Path, tmp_path: Path, base: dict[str, bytes]) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name, data in base.items():
        (folder / name).write_bytes(data)
    shutil.copy(TINY / "llm" / "model.safetensors", folder)
    first = text(mats("caption", dog, "--model", MODEL))
    assert first[0] == 0, first
    assert text(mats("caption", dog, "--model", MODEL, "--llm", "copy"))[:2] == first[:2]
    config = json.loads((folder / "config.json").read_text()) | {"hidden_size": 64, "head_dim": 16}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).save_pretrained(str(folder))
    code, out, err = text(mats("caption", dog, "--model", MODEL, "--llm", "copy"))
    assert (
        code == 6
        and out == ""
        and f"was trained beside {BASE} and does not fit copy: its mapper speaks to 32 numbers a token, copy reads 64"
        in err
    )
    assert text(mats("caption", dog, "--llm", "copy"))[0] == 5  # nano has its own
    code, _, err = text(mats("caption", dog, "--quantize", "int8"))
    assert code == 2 and "which is kept as it is: do not ask for int8" in err


def texts(folder: Path) -> str:
    """Captions in a folder, and the beginning of a recipe that reads them."""
    (folder / "captions.csv").write_text(
        "caption\n" + "".join(f"a {one} barks and {two} falls\n" for one in WORDS[4:] for two in WORDS[4:])
    )
    return "name: mine\nsources:\n  - file: captions.csv\n    text: caption\n"


def test_training_beside_a_published_encoder(hub: Site, mats: Run, dog: Path, tmp_path: Path) -> None:
    """`clap:` in a recipe takes a hub id; what was trained hears with it and says so when it is not there."""
    (tmp_path / "r.yaml").write_text(
        texts(tmp_path) + f"clap: {CLAP}\nmapper: {{width: 32, layers: 1, heads: 2}}\n"
        "decoder: {vocabulary: 300, width: 32, layers: 1, heads: 2, hidden: 48}\nmemory: {captions: 20}\ntrain: "
        "{steps: 4, batch: 8, warmup: 1}\n"
    )
    code, _, err = text(mats("train", "r.yaml", "--device", "cpu", "--offline"))
    assert code == 5 and f"the encoder {CLAP} is not here: `mats models pull {CLAP}`" in err, err
    code, _, err = text(mats("train", "r.yaml", "--device", "cpu"))
    assert code == 0, err
    config = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    assert (
        config["clap"] == CLAP
        and config["width"] == 64
        and config["noise_variance"] == pytest.approx(0.015 * 1024 / 64)
    )
    code, out, err = text(mats("caption", dog, "--model", "runs/mine", "--offline"))
    assert code == 0 and out.strip(), err


def test_training_on_from_a_published_model(hub: Site, mats: Run, dog: Path, tmp_path: Path) -> None:
    """`start:` takes a hub id; mapper and LoRA go on from what was published, and the memory that it has none of is
    made."""
    (tmp_path / "r.yaml").write_text(
        texts(tmp_path) + f"clap: {CLAP}\nstart: {MODEL}\nmemory: {{captions: 20}}\n"
        "train: {steps: 2, batch: 4, warmup: 0, learning_rate: 1.0e-6}\n"
    )
    code, _, err = text(mats("train", "r.yaml", "--device", "cpu", "--offline"))
    assert code == 5 and f"the model {MODEL} is not here: `mats models pull {MODEL}`" in err, err
    code, _, err = text(mats("train", "r.yaml", "--device", "cpu"))
    assert code == 0, err
    config = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    assert config["llm"]["base"] == BASE and config["llm"]["quantize"] == "auto" and config["santa"]["size"] == 20
    assert (tmp_path / "runs" / "mine" / "memory.txt").read_text().count("\n") == 20
    first, now = (
        read_tensors(folder / "model.safetensors") for folder in (tmp_path / "made", tmp_path / "runs" / "mine")
    )
    learnt = {key for key in first if key.startswith(("mapper.", "llm."))}
    assert learnt == {key for key in now if key.startswith(("mapper.", "llm."))}
    assert all(torch.allclose(first[key].float(), now[key].float(), atol=2e-3) for key in learnt)
    assert text(mats("caption", dog, "--model", "runs/mine", "--offline"))[0] == 0


# ---- what may be wrong


def test_names_that_are_nearly_right(hub: Site, mats: Run) -> None:
    for words, expected, said in (
        (("pull", "laion/clap-htsat-fusd"), 5, "did you mean laion/clap-htsat-fused or laion/clap-htsat-unfused?"),
        (("pull", "mats-lama"), 5, "did you mean mats-llama?"),
        (("pull", "clap-htsat-fused"), 5, "did you mean laion/clap-htsat-fused?"),
        (("pull", "smollm2-135m", "--offline"), 5, "smollm2-135m is not here"),
        (("pull", CLAP, "--kind", "thing"), 2, "choose model, encoder or base"),
        (("info", "no-such"), 5, "'no-such' is neither here nor known"),
        (("rm", "nano"), 5, "It lies inside mats itself."),
        (("rm", ".."), 5, "was not fetched"),
        (("rm", "../.."), 5, "was not fetched"),
        (("path", "mini-me"), 5, "is not here"),
        (("bundle", "nano", "-o", "n.tar"), 2, "nano lies inside mats itself"),
        (("bundle", "no-such", "-o", "n.tar"), 5, "'no-such' is not here"),
        (("bundle", "nano", "-o", "no/folder/n.tar"), 2, "give a file in a folder that is there"),
        (("import", "no.tar"), 2, "no.tar is not there"),
    ):
        code, out, err = text(mats("models", *words))
        assert (code, out) == (expected, "") and said in err and err.count("\n") == 1, (words, code, err)


class Trap:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_in_it(tmp_path: Path, mats: Run, dog: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save({"state_dict": {"audio_branch.x": torch.zeros(1)}, "more": Trap(trap)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Trap(trap)))
    for name in ("a.pt", "b.pt"):
        for words in (
            ("models", "convert", name, "-o", "out"),
            ("classify", dog, "--labels", "dog,cat", "--clap", name),
        ):
            code, out, err = text(mats(*words))
            assert (code, out) == (5, "") and name in err and err.count("\n") == 1 and not trap.exists(), err
    assert "mkdir" in text(mats("models", "convert", "a.pt", "-o", "out"))[2] and not (tmp_path / "out").exists()


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    cut = (TINY / "checkpoint_0.pth").read_bytes()[:9000]
    (tmp_path / "cut.pth").write_bytes(cut)
    torch.save({"a": 1}, tmp_path / "none.pt")
    save_file({"something.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    for name, error, said in (
        ("cut.pth", ModelError, "cut.pth cannot be read"),
        ("none.pt", ModelError, "holds no tensors by name"),
        ("other.safetensors", ModelError, "has tensors like something.weight"),
        ("text.safetensors", ModelError, "text.safetensors cannot be read"),
        ("song.wav", UsageError, "a checkpoint ends in .safetensors"),
        ("gone.pt", ModelError, "gone.pt is not there"),
    ):
        with pytest.raises(error, match=said):
            convert(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_and_left_over_in_an_encoder(clap: dict[str, bytes], tmp_path: Path) -> None:
    state = torch.load(io.BytesIO(clap["pytorch_model.bin"]), weights_only=True)
    gone = {key: value for key, value in state.items() if key != "audio_projection.linear1.bias"}
    for given, said in (
        (gone, r"lacks audio_projection.0.bias \(1 missing, 0 left over\)"),
        (
            state | {"audio_model.more": torch.zeros(1)},
            r"holds audio_branch.*more, which no part of it has|holds audio_model.more",
        ),
        (state | {"text_projection.linear1.bias": torch.zeros(3)}, r"text_projection.0.bias is \(3,\) where \(64,\)"),
    ):
        torch.save(given, tmp_path / "x.pt")
        with pytest.raises(ModelError, match=said):
            load_encoder(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "clap"}, r"kind 'clap': choose one of laion, msclap"),
        ({"kind": "msclap"}, r"encoder.json says kind 'msclap', the tensors beside it are of kind 'laion'"),
        ({"format": 2}, "is of another version of mats"),
        ({"orign": "x"}, "unknown setting orign; did you mean origin"),
        ({"digest": 3}, "digest should be text"),
        (None, "should be a group of settings"),
    ],
)
def test_the_card_of_an_encoder_is_read_strictly(
    clap: dict[str, bytes], tmp_path: Path, change: dict[str, object] | None, said: str
) -> None:
    (tmp_path / "x.pt").write_bytes(clap["pytorch_model.bin"])
    convert(tmp_path / "x.pt", tmp_path / "out")
    assert load_encoder(tmp_path / "out").clap.id == load_encoder(tmp_path / "x.pt").clap.id
    card = json.loads((tmp_path / "out" / "encoder.json").read_text())
    (tmp_path / "out" / "encoder.json").write_text(json.dumps(change and card | change))
    with pytest.raises(ModelError, match=said):
        load_encoder(tmp_path / "out")


def test_a_collapsed_text_tower(clap: dict[str, bytes], tmp_path: Path) -> None:
    state = torch.load(io.BytesIO(clap["pytorch_model.bin"]), weights_only=True)
    state["text_projection.linear2.weight"] = state["text_projection.linear2.weight"] * 0
    torch.save(state, tmp_path / "x.pt")
    (tmp_path / "tokenizer.json").write_text(tokenizer())
    with pytest.raises(ModelError, match=r"x.pt says the same of every text: this checkpoint is spoiled"):
        load_encoder(tmp_path / "x.pt")


def test_a_file_without_a_tokenizer(hub: Site, clap: dict[str, bytes], tmp_path: Path) -> None:
    """LAION's own files come without: the one they all use is fetched once."""
    (tmp_path / "x.pt").write_bytes(clap["pytorch_model.bin"])
    hub.hub({"tokenizer.json": tokenizer().encode()}, repo="FacebookAI/roberta-base")
    ears = load_ears(str(tmp_path / "x.pt"))
    with pytest.raises(UsageError, match="no tokenizer beside it"):
        ears.clap.embed_text(["dog"])
    for offline in (False, True):
        ears = Puller(offline=offline).ears(str(tmp_path / "x.pt"))
        assert np.linalg.norm(ears.clap.embed_text(["dog", "rain"]), axis=-1).tolist() == pytest.approx([1, 1])


# ---- bundles that are not to be believed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tar(path: Path, *members: tuple[str, bytes], link: str = "") -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if link and name != MANIFEST:
                info.type, info.linkname, info.size = tarfile.SYMTYPE, link, 0
            archive.addfile(info, io.BytesIO(data))
    return path


def manifest(**held: bytes) -> tuple[str, bytes]:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in held.items()}
    return MANIFEST, json.dumps({"format": 1, "name": "x", "files": digests}).encode()


def test_hostile_bundles(home: Path, tmp_path: Path) -> None:
    good = "models/x/config.json"
    cases = [
        (tar(tmp_path / "0", ("a", b"b")), "is no bundle of mats"),
        (tar(tmp_path / "1", manifest(**{"../../evil": b"x"}), ("../../evil", b"x")), "no file of a model"),
        (tar(tmp_path / "2", manifest(**{"/etc/evil": b"x"}), ("/etc/evil", b"x")), "no file of a model"),
        (tar(tmp_path / "3", manifest(**{"models/../x/y": b"x"}), ("models/../x/y", b"x")), "no file of a model"),
        (tar(tmp_path / "4", manifest(**{"models/x/a.bin": b"x"}), ("models/x/a.bin", b"x")), "no file of a model"),
        (tar(tmp_path / "5", manifest(**{good: b"x"}), (good, b"y")), "SHA-256 differs"),
        (tar(tmp_path / "6", manifest(**{good: b"x"}), ("models/x/other.json", b"y")), "which its list does not have"),
        (tar(tmp_path / "7", manifest(**{good: b"x"}), (good, b"x"), (good, b"x")), "which its list does not have"),
        (tar(tmp_path / "8", manifest(**{good: b"x"}), (good, b""), link="/etc/passwd"), "which is no plain file"),
        (tar(tmp_path / "9", manifest(**{good: b"x", "models/x/b": b"x"}), (good, b"x")), "lacks models/x/b"),
        (tar(tmp_path / "10", (MANIFEST, b"[]")), "of another version"),
        (tar(tmp_path / "11", manifest(**{"models/..x/../y": b"x"})), "no file of a model"),
    ]
    (tmp_path / "12").write_bytes(b"not a tar at all" * 100)
    (tmp_path / "13").write_bytes((tmp_path / "9").read_bytes()[:1100])
    cases += [(tmp_path / "12", "is no whole bundle"), (tmp_path / "13", "bundle")]
    for path, said in cases:
        with pytest.raises(ModelError, match=said):
            unbundle(path, lambda done, whole: None)
        assert not [path for path in home.rglob("*") if path.is_file()], path
    assert not [path for path in home.rglob(".mats-*")]
    assert unbundle(tar(tmp_path / "14", manifest(**{good: b"x"}), (good, b"x")), lambda done, whole: None) == [
        "models/x"
    ]
    assert (home / good).read_bytes() == b"x"


def crafted(
    path: Path,
    head: Callable[[tarfile.TarInfo], object],
    data: bytes = b"x",
    raw: Callable[[bytearray], object] = lambda block: None,
) -> Path:
    """A list of one good file, and that file with another header before it."""
    info = tarfile.TarInfo("models/x/config.json")
    info.size = len(data)
    head(info)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw(block)
    block[-512 + 148 : -512 + 156] = b" " * 8
    block[-512 + 148 : -512 + 156] = b"%06o\0 " % sum(block[-512:])
    listed = io.BytesIO()
    with tarfile.open(fileobj=listed, mode="w") as archive:
        name, told = manifest(**{"models/x/config.json": data})
        first = tarfile.TarInfo(name)
        first.size = len(told)
        archive.addfile(first, io.BytesIO(told))
        length = archive.offset
    path.write_bytes(listed.getvalue()[:length] + bytes(block) + data.ljust(512, b"\0") + bytes(1024))
    return path


def set_to(**values: object) -> Callable[[tarfile.TarInfo], object]:
    return lambda info: [setattr(info, name, value) for name, value in values.items()]


def holes(block: bytearray) -> None:
    """A file of GNU's kind with holes: one byte here, gigabytes once unpacked."""
    block[156:157] = b"S"
    block[386:410] = b"%011o\0%011o\0" % (0, 1)
    block[483:495] = b"%011o\0" % (1 << 32)


def test_members_that_are_no_plain_files(home: Path, tmp_path: Path) -> None:
    """Refused at once, whatever they claim, and nothing is written."""
    cases = [
        (crafted(tmp_path / "sparse", set_to(), raw=holes), "which is no plain file"),
        (crafted(tmp_path / "long", set_to(size=1 << 40)), "which is longer than what is there"),
        (crafted(tmp_path / "negative", set_to(), raw=lambda block: block.__setitem__(slice(124, 136), b"\xff" * 12)),
        "no"),
        *((crafted(tmp_path / f"kind{kind!r}", set_to(type=kind, linkname="/etc/passwd")),
        "which is no plain file|longer|no whole bundle")
          for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"g", b"K", b"L", b"V", b"M")),
        (crafted(tmp_path / "sum", set_to(), raw=lambda block: None), ""),
    ]  # fmt: skip
    extra = b"22 GNU.sparse.major=1\n"
    cases.append((crafted(tmp_path / "pax", set_to(type=b"x", size=len(extra)), extra), "GNU.sparse.major"))
    cases.append((crafted(tmp_path / "digits", set_to(type=b"x", size=400), b"9" * 400), "a header of it is none"))
    for path, said in cases:
        if not said:
            assert unbundle(path, lambda done, whole: None) == ["models/x"]
            shutil.rmtree(home)
            continue
        with pytest.raises(ModelError, match=said):
            unbundle(path, lambda done, whole: None)
        assert not [path for path in home.rglob("*") if path.is_file()], path


def test_lists_that_are_none(home: Path, tmp_path: Path) -> None:
    good, data = "models/x/config.json", b"x"
    told = json.loads(manifest(**{good: data})[1])
    for number, change in enumerate((
        {"sizes": {good: 2}}, {"sizes": {good: "1"}}, {"sizes": {"models/x/other": 1}}, {"sizes": [1]},
        {"files": [good]},
        {"files": None}, {"format": 2},
    )):  # fmt: skip
        path = tar(tmp_path / str(number), (MANIFEST, json.dumps({**told, **change}).encode()), (good, data))
        with pytest.raises(ModelError, match=r"another version|has 1 bytes where its list says 2"):
            unbundle(path, lambda done, whole: None)
    for number, text_ in enumerate(
        (b"[" * 100_000, b"{", b"null", b"\xff", b'{"format": 1, "name": "x", "files": {}}')
    ):
        with pytest.raises(ModelError, match="another version"):
            unbundle(tar(tmp_path / f"text{number}", (MANIFEST, text_), (good, data)), lambda done, whole: None)
    long = f"models/x/{'a' * 250}.json"
    with pytest.raises(ModelError, match="no file of a model"):
        unbundle(tar(tmp_path / "name", manifest(**{long: data}), (long, data)), lambda done, whole: None)


def test_a_killed_import_leaves_nothing_to_the_next(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mats_model import files

    good = "models/x/config.json"
    path = tar(tmp_path / "t.tar", manifest(**{good: b"x"}), (good, b"x"))
    (home / ".mats-0123456789abcdef.tmp" / "models" / "y").mkdir(parents=True)
    monkeypatch.setattr(files, "_tidied", set())
    with files.staging(home) as other:
        # what another run is writing stays
        monkeypatch.setattr(files, "_tidied", set())
        assert not (home / ".mats-0123456789abcdef.tmp").exists()
        assert unbundle(path, lambda done, whole: None) == ["models/x"] and other.is_dir()
        # and again, in the place of what is there
        assert unbundle(path, lambda done, whole: None) == ["models/x"]
    assert sorted(each.name for each in home.iterdir()) == ["models"] and sorted(
        each.name for each in (home / "models").iterdir()
    ) == ["x"]


def test_a_bundle_says_the_same_bytes_twice(home: Path, tmp_path: Path) -> None:
    """No times, no owners, no paths of the machine it was made on."""
    folder = place_of("a/b", "base")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    assert parts("a/b") == [("bases/a--b", folder)] and resolve("a/b", "base").found() == folder
    bundle("a/b", tmp_path / "1.tar", lambda done, whole: None)
    os.utime(folder / "config.json", (1, 1))
    bundle("a/b", tmp_path / "2.tar", lambda done, whole: None)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    assert os.environ["MATS_HOME"].encode() not in (tmp_path / "1.tar").read_bytes()


def test_terms_are_shown_before_anything_is_fetched(hub: Site) -> None:
    said: list[str] = []
    with pytest.raises(ModelError, match="LBanBan/MAT"):
        Puller(said.append).pull("mats-llama")
    assert [line.split(":")[0] for line in said[:3]] == ["mats-llama", "msclap-2023", "lmsys/vicuna-7b-v1.5"]
    assert "MS-PL" in said[1] and "Llama 2 Community License" in said[2] and "https://" in said[0]


def test_terms_are_known_of_all_that_can_be_asked_for() -> None:
    for entry in ENTRIES.values():
        assert entry.licence and (entry.page.startswith("https://") or entry.name in ("nano", "mini", "mats/plain"))
        assert all(need in ENTRIES for need in entry.needs)
    with pytest.raises(ModelError, match="msclap-2023 is not here"):
        resolve("msclap-2023", "encoder").found()
