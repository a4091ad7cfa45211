"""Data sets by name: fetched once from a server on this machine, checked, found, refused as what they are not; and
every recipe of ours as a stranger types it, with small stand-ins for the published files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from formula import FIXTURES
from webserver import Site, cut, status

from mats_cli.main import make_app
from mats_model import extras
from mats_model.errors import DeviceError, MatsError, ModelError, UsageError
from mats_model.tables import rows
from mats_model.training.plan import needs_of, plan
from mats_model.training.prepare import read_all
from mats_model.training.recipe import TextRecipe, override, text_recipe
from mats_model.training.sources import SourceSettings, read_names, read_source
from mats_model.training.texts import locate
from mats_model.training.values import read_values
from mats_model.weights import connect
from mats_model.weights.bundle import bundle, unbundle
from mats_model.weights.catalogue import ENTRIES, place_of
from mats_model.weights.data_sets import DATA_SETS
from mats_model.weights.pull import Puller
from mats_model.weights.resolve import resolve

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
THINGS = ("a dog barks", "rain falls", "a bell rings", "a clock ticks", "an engine runs", "a cat meows")
CAPTIONS = [f"{one} and {other} in hall {n}" for n in range(6) for one in THINGS for other in THINGS]


def stand_in(name: str) -> bytes:
    """A small table with the columns of a published one."""
    if name == "vggsound/labels":
        return b"".join(f"{thing[2:]},12,other\n".encode() for thing in THINGS)
    if name == "audioset/ontology":
        return json.dumps([{"name": thing[2:], "description": f"The sound of {thing}."} for thing in THINGS]).encode()
    if name == "ucs":
        return json.dumps([{"CatID": "X", "Explanations": thing, "Synonyms": ["x"]} for thing in THINGS]).encode()
    known = DATA_SETS[name]
    # evaluation texts are others than those that are trained on; each clip of a test has several
    texts = CAPTIONS if not known.evaluation else [f"{text} to the {name[-4:]}" for text in CAPTIONS[:12]]
    rows_of = [
        [text if column.startswith("caption") else f"v{number // 3}" for column in known.columns]
        for number, text in enumerate(texts)
    ]
    return "".join(",".join(row) + "\n" for row in [list(known.columns), *rows_of]).encode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """Serves stand-ins of all data sets that are fetched; their addresses and digests take the place of the true ones.
    Nothing of this machine's settings counts, and nothing is here yet."""
    for name in list(os.environ):
        if name.startswith("HF_") or name == "MATS_OFFLINE" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    made = Site()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(connect, "PAUSE", 0.005)
    for name, known in list(DATA_SETS.items()):
        if not known.inside:
            body = stand_in(name)
            digest = hashlib.sha256(body).hexdigest()
            served = replace(known, url=f"{made.url}/{known.file}", digest=digest, size=len(body))
            made.files[f"/{known.file}"] = body
            monkeypatch.setitem(DATA_SETS, name, served)
            monkeypatch.setitem(ENTRIES, name, replace(ENTRIES[name], data=served))
    monkeypatch.chdir(tmp_path)
    yield made
    made.shutdown()
    made.server_close()


def run(*words: str | Path) -> None:
    """`mats WORDS`, in this process, whose catalogue is that of the server. Errors: MatsError."""
    assert make_app()([str(word) for word in words], prog_name="mats", standalone_mode=False) in (0, None)


TRAIN = "/captions/audiocaps_v1_train.csv"

# ---- the catalogue


@pytest.mark.parametrize("name", sorted(DATA_SETS))
def test_each_says_what_it_is(name: str) -> None:
    known = DATA_SETS[name]
    assert ENTRIES[name].kind == "data" and ENTRIES[name].data == known and known.licence and known.rows
    if known.inside:
        read = [row for _, row in rows(known.inside, []) if isinstance(row, dict)]
        assert len(read) == known.rows and tuple(read[0]) == known.columns
    else:
        assert known.url.startswith("https://") and known.commit in known.url
        # the record of an archive has a number and no commit
        assert len(known.commit) == 40 or "zenodo.org/records/4783391" in known.url
        assert len(known.digest) == 64 and set(known.digest) <= set("0123456789abcdef") and known.size > 1000


def test_what_others_measure_with_is_marked() -> None:
    never = {name for name, known in DATA_SETS.items() if known.evaluation}
    assert never == {"audiocaps/val", "audiocaps/test", "clotho/evaluation"}


# ---- fetched, checked, listed, removed


def test_fetched_once_with_its_terms_first(site: Site) -> None:
    said: list[str] = []
    path = Puller(said.append).pull("audiocaps/train")
    assert path == resolve("audiocaps/train", "data").path and path.read_bytes() == site.files[TRAIN]
    assert said[0].startswith("audiocaps/train: 3.6 MB, MIT, https://github.com/cdjkim/audiocaps")
    assert said[1].startswith("fetching audiocaps_v1_train.csv")
    assert (path.parent / "TERMS.txt").read_text().splitlines()[1] == "MIT"
    Puller(said.append).pull("audiocaps/train")
    assert len(site.seen) == 1 and len(said) == 2


def test_goes_on_where_it_broke_off(site: Site) -> None:
    site.plan[TRAIN] = [cut(1000)]
    path = Puller().pull("audiocaps/train")
    assert path.read_bytes() == site.files[TRAIN] and site.ranges(TRAIN) == ["", "bytes=1000-"]


@pytest.mark.parametrize(
    ("body", "said"), [(b"other\n", "is not the file that mats knows"), (None, "answers 404: put")]
)
def test_another_file_is_not_kept(site: Site, body: bytes | None, said: str) -> None:
    site.files |= {TRAIN: body} if body else {}
    site.plan[TRAIN] = [] if body else [status(404)]
    with pytest.raises(ModelError, match=said):
        Puller().pull("audiocaps/train")
    assert resolve("audiocaps/train", "data").path is None and not place_of("audiocaps/train", "data").exists()


def test_offline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATS_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"audiocaps/train is not here: `mats models pull .*offline"):
        run("train", ROOT / "recipes" / "nano.yaml", "-q")
    assert not site.seen


def test_listed_and_removed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def here() -> set[str]:
        run("models", "list", "--json")
        told = map(json.loads, capsys.readouterr().out.splitlines())
        return {row["name"] for row in told if row["kind"] == "data" and row["here"]}

    inside = {"audioset/labels", "mats/plain"}
    assert here() == inside
    run("models", "pull", "ucs", "-q")
    assert capsys.readouterr().out == f"{resolve('ucs').path}\n"
    assert here() == {*inside, "ucs"}
    run("models", "info", "ucs")
    told = capsys.readouterr().out
    assert DATA_SETS["ucs"].digest in told and "Explanations" in told and "CC0-1.0" in told
    run("models", "rm", "ucs", "-q")
    assert here() == inside
    for name, said in (("ucs", "was not fetched"), ("mats/plain", "It lies inside mats itself")):
        with pytest.raises(ModelError, match=said):
            run("models", "rm", name)


def test_by_bundle_to_a_machine_without_a_network(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Puller().pull("audiocaps/train")
    bundle("audiocaps/train", tmp_path / "a.tar", lambda done, whole: None)
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "other"))
    assert unbundle(tmp_path / "a.tar", lambda done, whole: None) == ["data/audiocaps--train"]
    assert resolve("audiocaps/train", "data").found().read_bytes() == path.read_bytes()


def test_no_model(site: Site) -> None:
    with pytest.raises(ModelError, match="audiocaps/train is a data set, no model"):
        resolve("audiocaps/train", "model").found()


# ---- in recipes


def test_a_folder_of_the_users_comes_first(site: Site, tmp_path: Path) -> None:
    """In the layout of the catalogue; what is in neither place is said with how to get it."""
    (tmp_path / "captions").mkdir()
    own = tmp_path / "captions" / "audiocaps_v1_train.csv"
    own.write_text("caption\na whistle\n")
    assert locate("audiocaps/train", tmp_path) == own
    assert [e.text for e in read_source(SourceSettings(data="audiocaps/train"), tmp_path).examples] == ["a whistle"]
    with pytest.raises(ModelError, match="`mats models pull audiocaps/val`"):
        locate("audiocaps/val", tmp_path)
    assert locate("plain.csv", tmp_path) == DATA_SETS["mats/plain"].inside


def test_columns_are_known(site: Site, tmp_path: Path) -> None:
    Puller().pull("vggsound/labels")
    read = read_source(SourceSettings(data="vggsound/labels", task="labels", templates=["{}"]), tmp_path)
    assert [example.answer for example in read.examples][:2] == ["dog barks", "in falls"] and not read.bad


def test_class_names_come_with_mats(tmp_path: Path) -> None:
    assert read_names(locate("audioset/labels", tmp_path))[:2] == ["Speech", "Male speech, man speaking"]
    (tmp_path / "n.csv").write_text("name,display_name\nx,Dog\n")
    assert read_names(tmp_path / "n.csv") == ["Dog"]


HEAD = "kind: text\nsources:\n  - "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{data: audiocaps/trian}",
            r"r\.yaml:3: sources\.0\.data 'audiocaps/trian' is no data set .did you mean audiocaps/train",
        ),
        ("{data: x.csv}", r"r\.yaml:3: sources\.0\.data 'x\.csv' is no data set .*; a path is given as file\.$"),
        ("{file: audiocaps/train}", r"sources\.0\.file audiocaps/train is a data set: write data in the place of file"),
        ("{data: ucs, file: a.txt}", r"sources\.0\.data and sources\.0\.file name a text each: leave one of them out"),
        ("{data: audiocaps/val}", r"sources\.0\.data audiocaps/val is for evaluation and never trained on"),
        ("{data: clotho/evaluation}", r"clotho/evaluation is for evaluation and never trained on"),
        (
            "{file: a.txt, leave_out: [audiocaps/tset]}",
            r"leave_out\.0 'audiocaps/tset' is no data set .*audiocaps/test",
        ),
        ("{file: a.txt, names: audioset/lables}", r"sources\.0\.names .*did you mean audioset/labels"),
        ("{file: a.txt}\nheld_out: {data: audiocaps/tests}", r"r\.yaml:4: held_out\.data 'audiocaps/tests' is no data"),
        ("{file: a.txt}\nnoise: {names: labels}", r"r\.yaml:4: noise\.names 'labels' is no data set"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.yaml").write_text(f"{HEAD}{text}\n")
    with pytest.raises(UsageError, match=said):
        text_recipe(*read_values(tmp_path / "r.yaml"))


def test_an_evaluation_set_is_known_by_its_contents(site: Site, tmp_path: Path) -> None:
    """Whatever it is called, and whoever copied it."""
    (tmp_path / "mine.csv").write_bytes(site.files["/captions/audiocaps_v1_val.csv"])
    recipe = TextRecipe(sources=[SourceSettings(file="mine.csv", text="caption")])
    with pytest.raises(UsageError, match=r"mine\.csv is audiocaps/val, with which models are measured"):
        read_all(recipe, tmp_path, False)
    # to leave it out is what it is for
    left = SourceSettings(data="audiocaps/train", text="caption", leave_out=["mine.csv"])
    Puller().pull("audiocaps/train")
    assert len(read_all(TextRecipe(sources=[left]), tmp_path, False)[0].examples) == len(CAPTIONS)


# ---- our recipes, as typed


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_names_nothing_that_a_stranger_lacks(path: Path) -> None:
    """Each text is a data set, or lies beside the recipe; encoder, base and model are known by name."""
    recipe = text_recipe(*read_values(path))
    named = [name for source in recipe.sources for name in (source.text_of, *source.leave_out, source.names)]
    named += [recipe.held_out.text_of, recipe.noise.names, recipe.memory.names, recipe.memory.file]
    for name in filter(None, named):
        assert name in DATA_SETS or (path.parent / name).is_file(), name
    assert {recipe.clap, recipe.start or "nano", recipe.llm.base or "nano"} <= ENTRIES.keys()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_plan_of_each(site: Site, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a machine on which nothing is: what it needs, steps and hours; nothing is fetched."""
    run("train", path, "-n", "--device", "cpu")
    told = capsys.readouterr().out
    recipe = text_recipe(*read_values(path))
    needs = needs_of(recipe, path.parent)
    for need in needs:
        lines = [line for line in told.splitlines() if f" {need.name} " in line]
        assert lines and need.licence in lines[0] and lines[0].endswith("here" if need.path else "to fetch")
    assert f"takes {recipe.train.steps} steps of {recipe.train.batch}, roughly " in told
    assert ("this machine cannot train it: llm.quantize nf4 needs CUDA" in told) == (recipe.llm.quantize == "nf4")
    assert not site.seen and not (path.parent / "runs").exists()
    run("train", path, "-n", "--json", "--device", "cpu")
    told = json.loads(capsys.readouterr().out)
    assert [need["name"] for need in told["needs"]] == [need.name for need in needs] and told["minutes"] > 0


def test_without_cuda_it_is_said_before_a_byte_is_fetched(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "recipes" / "audiocaps.yaml"
    with pytest.raises(DeviceError, match=r"audiocaps\.yaml cannot be trained here: llm\.quantize nf4 needs CUDA"):
        run("train", path, "--device", "cpu")
    told = capsys.readouterr().err
    assert not site.seen and "Qwen Research License" in told and "to fetch" in told
    for other in ("nano", "custom-labels", "smollm2"):
        assert f"mats train {path.parent / other}.yaml " in told
    assert "llama.yaml" not in told


def test_what_is_to_be_installed_is_said_before_a_byte_is_fetched(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == "peft" else module)
    path, said = ROOT / "recipes" / "gpt2.yaml", "needs peft, not installed here: pip install 'mats[llm]'."
    run("train", path, "-n", "--device", "cpu")
    assert said in capsys.readouterr().out
    with pytest.raises(UsageError) as error:
        run("train", path, "--device", "cpu")
    assert said in str(error.value) and not site.seen


SMALL = (
    "train.steps=3", "train.batch=4", "train.warmup=1", "train.evaluate_every=2", "train.sample_every=3",
    "memory.captions=20", "held_out.answers=1",
)  # fmt: skip
TINY = ("decoder.width=32", "decoder.layers=1", "decoder.heads=2", "decoder.hidden=48", "decoder.vocabulary=400")
LITTLE = ("mapper.width=32", "mapper.layers=1", "mapper.heads=2")


def trained(path: Path, *settings: str) -> Path:
    """The folder that `mats train` writes, with some settings smaller."""
    torch.set_num_threads(1)
    out = Path("out") / path.stem
    small = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    run("train", path, "-o", out, "--device", "cpu", *small)
    assert (out / "model.safetensors").is_file()
    return out


def test_custom_labels_trains(site: Site) -> None:
    trained(ROOT / "recipes" / "custom-labels.yaml")
    assert not site.seen


def test_nano_trains(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """As typed: what it needs is said, then fetched, and the run goes to its end; another would fetch nothing."""
    path = ROOT / "recipes" / "nano.yaml"
    out = trained(path, *TINY, *LITTLE)
    told = capsys.readouterr().err
    assert told.index("audiocaps/train") < told.index("fetching audiocaps_v1_train.csv")
    needs = needs_of(text_recipe(*read_values(path)), path.parent)
    assert len(site.seen) == sum(need.kind == "data" and not DATA_SETS[need.name].inside for need in needs)
    written = (out / "recipe.yaml").read_text()
    assert "data: audiocaps/train" in written and str(Path.cwd()) not in written  # and no path of this machine
    asked = len(site.seen)
    assert not plan(text_recipe(*read_values(path)), path.parent, "cpu", read=False).lacking
    run("train", path, "-o", out, "--evaluate", "--set", "held_out.limit=2", "-q")
    assert "CIDEr-D" in capsys.readouterr().out and len(site.seen) == asked


def test_a_base_of_transformers_trains(site: Site) -> None:
    pytest.importorskip("peft", reason="pip install 'mats[llm]'")
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel({f"t{number}": number for number in range(160)}, unk_token="t0"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "t1", "eos_token": "t2"}
    folder = FIXTURES / "mats_tiny_1" / "llm"
    files = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}
    files |= {"tokenizer.json": raw.to_str().encode(), "tokenizer_config.json": json.dumps(told).encode()}
    site.hub(files, repo="somebody/tiny-llama", large=("model.safetensors",))
    base = ("llm.base=somebody/tiny-llama", "llm.prompt=paper", "llm.rank=2")
    out = trained(ROOT / "recipes" / "smollm2.yaml", *LITTLE, *base)
    assert json.loads((out / "config.json").read_text())["llm"]["base"] == "somebody/tiny-llama"


def test_what_is_fetched_beside_a_plan(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """For a machine that will lose its network: all of it, and nothing starts."""
    run("train", ROOT / "recipes" / "nano.yaml", "-n", "--fetch", "-q", "--device", "cpu")
    told = capsys.readouterr().out
    assert "to fetch" not in told and "were not read" not in told and not Path("runs").exists()


def test_a_folder_that_is_not_there(site: Site) -> None:
    with pytest.raises(UsageError, match="--data nowhere is no folder"):
        run("train", ROOT / "recipes" / "nano.yaml", "--data", "nowhere")


def test_overridden_by_name(site: Site) -> None:
    values, where = read_values(ROOT / "recipes" / "nano.yaml")
    recipe = text_recipe(override(values, ["sources.0.data=ucs", "sources.0.text=Explanations"]), where)
    assert recipe.sources[0].data == "ucs"
    with pytest.raises(MatsError, match="never trained on"):
        text_recipe(override(values, ["sources.0.data=audiocaps/test"]), where)
