"""Files that come from others: model folders, memories, recipes, names and captions. Each is a sentence, at once, or
harmless."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run
from safetensors.torch import load_file, save_file

from mats_cli import documents, formats, hits
from mats_cli.formats import Result, Row
from mats_model.clap.text import PIECES
from mats_model.errors import MatsError, ModelError, UsageError
from mats_model.gap import memory, santa
from mats_model.gap.build import build
from mats_model.library.search import Hit
from mats_model.mats import Mats
from mats_model.training.sources import SourceSettings, captions_in, read_names, read_source
from mats_model.training.values import read_values
from mats_model.weights import loading, resolve

Change = Callable[[Path], object]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve.EMBEDDED, tmp_path / "copy"))


def refused(folder: Path) -> str:
    """The sentence about a model folder: of exit code 5, and at once."""
    began = time.monotonic()
    with pytest.raises(MatsError) as error:
        loading.load_folder(folder)
    assert error.value.exit_code == 5 and "\n" not in str(error.value) and len(str(error.value)) < 600, error.value
    assert time.monotonic() - began < 5
    return str(error.value)


def put(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data)


def settings(**groups: object) -> Change:
    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        for key, value in groups.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
        (folder / "config.json").write_text(json.dumps(values))

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def apply(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return apply


def pieces(name: str, change: Callable[[dict[str, object]], object]) -> Change:
    def apply(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        change(values)
        (folder / name).write_text(json.dumps(values))

    return apply


def all_of(value: float) -> Change:
    return weights(lambda state: [each.fill_(value) for each in state.values() if each.is_floating_point()])


HEADER = (b"\xff" * 7 + b"\x7f", (1 << 30).to_bytes(8, "little"), (100).to_bytes(8, "little") + b"[" * 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("config.json", b"[]"), "a group of settings, not list"),
        (put("config.json", b"null"), "a group of settings, not nothing"),
        (put("config.json", b"[" * 200_000), "too deep"),
        (put("config.json", b'{"format": 1, "santa": ' + b'{"a":' * 90_000), "too deep"),
        (put("config.json", b"\xff\xfe\x00"), "not UTF-8"),
        (
            put("config.json", b'{"format": 1, "width": 1' + b"0" * 300 + b"}"),
            "width should be a whole number, not 1000",
        ),
        (put("config.json", b'{"format": 1, "label_scale": Infinity}'), "label_scale should be a number, not inf"),
        (put("config.json", json.dumps({"format": 1, "x" * 10**6: 1}).encode()), "unknown setting xxx"),
        (settings(width=10**10), "width should lie between 1 and 16384, not 10000000000"),
        (settings(width=0), "width should lie between"),
        (settings(decoder={"width": 10**10}), "decoder.width should lie between 2 and 16384"),
        (settings(decoder={"layers": 10**6}), "decoder.layers should lie between 1 and 256"),
        (
            settings(decoder={"layers": 256, "width": 16_384, "hidden": 131_072}),
            "numbers at least, model.safetensors holds",
        ),
        (settings(decoder={"positions": 10**9}), "decoder.positions should lie"),
        (settings(decoder={"heads": 7}), "a multiple of twice decoder.heads 7"),
        (settings(decoder={"vocabulary": 4000}), "4096 pieces where decoder.vocabulary is 4000"),
        (settings(mapper={"layers": 10**6}), "mapper.layers should lie"),
        (settings(mapper={"heads": 3}), "a multiple of mapper.heads 3"),
        (settings(mapper={"kind": "other"}), "mapper.kind 'other': choose one of transformer, mlp, linear"),
        (settings(mapper={"width": 16_384, "layers": 64}), "numbers at least"),
        (settings(santa={"size": 10**8}), "numbers at least"),
        (settings(santa={"size": -1}), "santa.size should lie"),
        (settings(santa={"way": "out"}), "santa.way 'out': choose one of"),
        (settings(santa={"temperature": 0.0}), "santa.temperature should lie"),
        (settings(santa={"size": 11_999}), "no santa.memory of"),
        (settings(search={"beams": 10**9}), "search.beams should lie"),
        (settings(santa={"blend": 0.5}), "are not the two that belong together"),
        (settings(id="0" * 12), "are not the two that belong together"),
        (settings(clap="copy"), "borrowed from a model that borrows it"),
        (put("tokenizer.json", b"{}"), "tokenizer.json: the tokenizer cannot be read"),
        (put("tokenizer.json", b"\x00" * 100), "tokenizer.json cannot be read (it is not text)"),
        (put("clap_tokenizer.json", b"not json"), "clap_tokenizer.json: the tokenizer cannot be read"),
        (put("clap_tokenizer.json", b"\xff" * 9), "clap_tokenizer.json cannot be read (it is not UTF-8 text)"),
        (
            pieces("tokenizer.json", lambda v: v["model"]["vocab"].pop("<end>") and v.update(added_tokens=[])),
            "is none of mats: it has no <end>",
        ),  # type: ignore[index]
        (pieces("clap_tokenizer.json", lambda v: v["model"]["vocab"].update(more=PIECES)), f"the model {PIECES} rows"),  # type: ignore[index]
        (put("memory.txt", os.urandom(1 << 16)), "memory.txt cannot be read (it is not"),
        (put("names.txt", b"a\x00b\n" * 527), "names.txt cannot be read (it is not text)"),
        *((put("model.safetensors", data), "model.safetensors cannot be read (") for data in (b"", b"x", *HEADER)),
        (all_of(float("nan")), "holds numbers that are none, or infinite"),
        (
            weights(lambda s: s["mapper.project.bias"][0].fill_(float("inf"))),
            "mapper.project.bias holds numbers that are none, or infinite",
        ),
        (
            weights(lambda s: s.update({"mapper.project.bias": s["mapper.project.bias"].double() * 0 + 1e300})),
            "holds numbers that are too large",
        ),
        (
            weights(lambda s: s.update({"llm.decoder.embed.weight": s["llm.decoder.embed.weight"].view(torch.int16)})),
            "holds int16 where fractions",
        ),
        (
            weights(lambda s: s.update({"clap.text.codes": s["clap.text.codes"].half()})),
            "clap.text.codes holds float16 where int8 are expected",
        ),
        (weights(lambda s: s["mapper.project.bias"].add_(0.5)), "are not the two that belong together"),
    ],
)
def test_model_folders(copy: Path, change: Change, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    change(copy)
    assert said in (sentence := refused(copy)) and "copy" in sentence, sentence


def test_a_folder_as_the_program_meets_it(mats: Run, copy: Path, dog: Path) -> None:
    put("config.json", b"null")(copy)
    for words in (["caption", dog], ["classify", dog, "--labels", "a,b"], ["chat", dog]):
        done = mats(*words, "--model", copy)
        assert (
            done.returncode == 5 and done.stdout == b"" and done.stderr.count(b"\n") == 1 and b"bug" not in done.stderr
        ), done.stderr
    done = mats("models", "info", copy)
    assert done.returncode == 5 and b"should be a group of settings" in done.stderr


def test_memories(nano: Mats, tmp_path: Path) -> None:
    list(build(["a dog", "rain", "a bell"], nano.clap, tmp_path / "good", ["x"]))
    card = json.loads((tmp_path / "good" / "memory.json").read_text())

    def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
        return lambda folder: np.save(folder / f"{name}.npy", change(np.load(folder / f"{name}.npy")))

    cases: list[tuple[Change, str]] = [
        (put("memory.json", b"[]"), "a group of settings"),
        (put("memory.json", b"\xff"), "not UTF-8"),
        (put("memory.json", b"[" * 100_000), "too deep"),
        (put("memory.json", json.dumps({**card, "captions": "3"}).encode()), "captions should be a whole number"),
        (put("memory.json", json.dumps({**card, "captions": 10**12}).encode()), "vectors.npy is not float16"),
        (put("memory.json", json.dumps({**card, "clusters": 0}).encode()), "clusters should lie between 1 and"),
        (
            put(
                "vectors.npy",
                b"\x93NUMPY\x01\x00v\x00{'descr': '<f2', 'fortran_order': False, 'shape': (3, 1" + b"0" * 40 + b")}",
            ),
            "vectors.npy",
        ),
        (put("order.npy", b""), "order.npy"),
        (put("offsets.npy", b"PK\x03\x04"), "offsets.npy"),
        (array("starts", lambda a: a[::-1].copy()), "clusters do not follow"),
        (array("centres", lambda a: a * np.nan), "centres hold numbers that are none"),
        (array("centres", lambda a: a.astype(np.float64)), "centres.npy is not float32"),
        (array("vectors", lambda a: a * np.float16(np.nan)), "vectors hold numbers that are none"),
        (array("order", lambda a: a + 7), "texts are not where they should be"),
        (array("offsets", lambda a: a - 2**40), "texts are not where they should be"),
    ]
    for number, (change, said) in enumerate(cases):
        folder = Path(shutil.copytree(tmp_path / "good", tmp_path / str(number)))
        change(folder)
        with pytest.raises(ModelError, match=said):
            found = memory.DiskMemory(folder, nano.clap.space)
            santa.nearest(found, nano.clap.embed_text(["a dog"])[0], 2)
            found.texts([0])


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join([f'*{chr(97 + n)}'] * 9)}]}}\n" for n in range(8)
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (BOMB.encode(), "aliases stand for is more than"),
        (MERGES.encode(), "aliases stand for is more than"),
        (b"a: &a [*a]", "an alias of what it stands in"),
        (b"a: " + b"[" * 5000, "is no YAML"),
        (b"a: 2024-99-99", "is no YAML"),
        (b"a: 1" + b"0" * 5000, "(is no YAML|cannot)"),
        (b"? [a]\n: b", "is no YAML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: \x00", "not text"),
        (b"a: b\n" * 100_000, "at most 262144 are read"),
    ],
)
def test_recipes(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "r.yaml").write_bytes(data)
    began = time.process_time()
    with pytest.raises(UsageError, match=said) as error:
        read_values(tmp_path / "r.yaml")
    assert "\n" not in str(error.value) and len(str(error.value)) < 600 and time.process_time() - began < 2


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("r.yaml", "s.csv", "s.txt", "s.jsonl"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match="it is no file"):
        read_values(tmp_path / "r.yaml")
    for name in ("s.csv", "s.txt", "s.jsonl"):
        for ask in (
            lambda path: read_source(SourceSettings(file=path.name), tmp_path),
            lambda path: list(captions_in(path)),
            read_names,
        ):
            with pytest.raises(UsageError, match="is no file"):
                ask(tmp_path / name)


def test_rows_that_no_reader_takes(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_bytes(b'{"caption": "a dog"}\n' + b"[" * 100_000 + b'\n{"caption": "rain"}\n')
    assert [str(each) for each in captions_in(tmp_path / "s.jsonl")] == [
        "a dog",
        f"{tmp_path}/s.jsonl:2: is nested too deeply",
        "rain",
    ]
    (tmp_path / "s.json").write_bytes(b"[" * 100_000)
    with pytest.raises(UsageError, match="nested too deeply"):
        list(captions_in(tmp_path / "s.json"))


def test_a_journal_that_another_put_there(mats: Run, dog: Path, tmp_path: Path) -> None:
    """Its name can be guessed: a link there leads no write elsewhere, and results in it are not believed."""
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    (tmp_path / ".out.txt.unfinished.jsonl").symlink_to(victim)
    done = mats("caption", dog, "-o", "out.txt")
    assert (
        done.returncode == 2
        and done.stderr.startswith(b"mats: -o out.txt cannot be written")
        and done.stderr.count(b"\n") == 1
    )
    assert victim.read_text() == "mine\n" and not (tmp_path / "out.txt").exists()


# ---- what is shown

EVIL = "a\x1b[2J\r\nmats: all is well\t\u202egpj.exe\x9b31m\u2028b\x7f\udcff\ud800.wav"


def test_names_control_nothing() -> None:
    shown = formats.visible(EVIL)
    assert (
        shown == "a\\x1b[2J\\r\\nmats: all is well\\t\\u202egpj.exe\\x9b31m\\u2028b\\x7f\\xff\\ud800.wav"
        and shown.isprintable()
    )
    assert formats.visible("für 🐕 雨\u3000\xa0می\u200cخواهم") == "für 🐕 雨\u3000\xa0می\u200cخواهم"
    assert formats.harmless(
        f"a\tb\n{formats.visible(EVIL)}\n"
    ) == f"a\tb\n{shown}\n" and "\x1b" not in formats.harmless(EVIL)
    told = formats.plain_json({"path": EVIL, "n": [1, "雨"]})
    assert json.loads(told) == {"path": EVIL, "n": [1, "雨"]} and told.isprintable() and "雨" in told


def test_no_format_lets_a_line_be_forged() -> None:
    rows = [
        Row(0, 1, "A dog.\n2\n00:00:09,000 --> 00:00:10,000\nforged\x1b[2J"),
        Row(1, 2, labels=[("dog\r\nforged", 0.5)]),
        Row(2, 3, silent=True),
    ]
    results = [Result(EVIL, rows), Result(EVIL, error=f"{EVIL} is empty.")]
    for kind, lines in (
        ("text", 3),
        ("csv", 5),
        ("excel", 5),
        ("srt", 11),
        ("vtt", 10),
        ("jsonl", 2),
        ("audacity", 3),
        ("raven", 4),
        ("timeline", 5),
    ):
        said = documents.document(results, kind, True, True)
        assert said.count("\n") == lines and all(c.isprintable() or c in "\n\t\ufeff" for c in said), (kind, said)
    moments = [Hit(0.5, 0, 1, [EVIL], 2.0, "a\n0.0\t9.0\tforged\x1b]0;x\x07", None)]
    for kind, lines in (("text", 1), ("csv", 2), ("m3u8", 5), ("audacity", 1), ("jsonl", 1)):
        said = hits.document(moments, kind)
        assert said.count("\n") == lines and not set(said) & set("\x1b\x07\r\u202e\x9b"), (kind, said)
    assert hits.document([Hit(0.5, 0, 1, ["#EXTINF:1"], 2.0, None, None)], "m3u8").splitlines()[-1] == "./#EXTINF:1"


def test_no_sentence_lets_a_line_be_forged(mats: Run, tmp_path: Path) -> None:
    name = "gone\x1b[2J\nmats: all is well\u202e.wav"
    done = mats("caption", name)
    assert (
        done.returncode == 4
        and done.stderr == b"mats: gone\\x1b[2J\\nmats: all is well\\u202e.wav is not there; check the path.\n"
    )
    done = mats("search", "dog", "--index", name)
    assert done.returncode == 5 and done.stderr.count(b"\n") == 1 and b"\x1b" not in done.stderr


def test_no_cell_is_a_formula(mats: Run, dog: Path, tmp_path: Path) -> None:
    cells = ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", " =1", "-5", "+1e3", "-.5", "a=b", "", "'x"]
    assert [formats.cell(each) for each in cells] == [
        "'=1+1", "'+x", "'-x", "'@SUM(A1)", "\\t=1", "\\r=1", "'\uff1d1", "' =1", "-5", "+1e3", "-.5", "a=b", "", "'x",
    ]  # fmt: skip
    result = Result("=cmd.wav", [Row(0, 1.5, labels=[("@x", 0.25)])])
    assert documents.document([result], "csv", True, True).splitlines()[1] == "'=cmd.wav,0.000,1.500,'@x,0.2500,,,"
    hit = Hit(-0.25, 0, 1, ["-x.wav"], 2.0, "=1", None)
    assert hits.document([hit], "csv").splitlines()[1] == "-0.2500,'-x.wav,0.000,1.000,'=1,"
    shutil.copy(dog, tmp_path / "=dog.ogg")
    plain, marked = (mats("caption", "=dog.ogg", "--csv", *more).stdout for more in ((), ("--bom",)))
    assert (
        marked == b"\xef\xbb\xbf" + plain
        and next(iter(csv.DictReader(io.StringIO(plain.decode()))))["path"] == "'=dog.ogg"
    )
    assert mats("classify", "=dog.ogg", "--labels", "-a,b", "--csv", "--bom", "-o", "out/").returncode == 0
    assert (tmp_path / "out" / "=dog.ogg.csv").read_bytes().startswith(b"\xef\xbb\xbfpath,start")
    assert mats("caption", "=dog.ogg", "--bom").returncode == 2
