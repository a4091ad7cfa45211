"""Recipes: all of ours load; whatever is wrong with one is said with its file, line and setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT

from mats_model.errors import UsageError
from mats_model.settings import FormerNameWarning
from mats_model.training.compare import decisive, differences, written
from mats_model.training.recipe import TextRecipe, override, text_recipe
from mats_model.training.values import read_values

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def parse(folder: Path, text: str, *settings: str) -> TextRecipe:
    (folder / "r.yaml").write_text(text)
    values, where = read_values(folder / "r.yaml")
    return text_recipe(override(values, list(settings)), where)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_ours_load_and_open_with_their_command(path: Path, tmp_path: Path) -> None:
    values, where = read_values(path)
    recipe = text_recipe(values, where)
    assert f"mats train recipes/{path.name}" in path.read_text(encoding="utf-8").split("kind:")[0]
    # the recipe as run, written out, is the same recipe
    assert parse(tmp_path, written(recipe)) == recipe


def test_there_are_as_many_as_promised() -> None:
    assert {path.stem for path in RECIPES} >= {"nano", "smollm2", "gpt2", "llama", "audiocaps", "custom-labels"}


GOOD = "kind: text\nsources:\n  - file: a.txt\ntrain:\n  steps: 5\n  learning_rate: 0.1\n"


def test_overrides(tmp_path: Path) -> None:
    recipe = parse(
        tmp_path,
        GOOD,
        "train.learning_rate=1e-5",
        "sources.0.ratio=2",
        "name=other",
        "held_out.audio=[a, b]",
        "train.bf16=false",
    )
    assert (
        recipe.train.learning_rate,
        recipe.sources[0].ratio,
        recipe.name,
        recipe.held_out.audio,
        recipe.train.bf16,
    ) == (
        1e-5,
        2.0,
        "other",
        ["a", "b"],
        False,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("steps", "stepps"), r"r\.yaml:5: unknown setting train\.stepps; did you mean train\.steps\?"),
        (
            GOOD.replace("0.1", "1e-5"),
            r"r\.yaml:6: train\.learning_rate should be a number, but YAML reads 1e-5 as text: write it as 0\.00001\.",
        ),
        (GOOD.replace("5", "many"), r"r\.yaml:5: train\.steps should be a whole number, not 'many'"),
        (GOOD.replace("5", "-1"), r"r\.yaml:5: train\.steps should be 1 or more"),
        (GOOD.replace("0.1", "0"), r"r\.yaml:6: train\.learning_rate should be above 0"),
        (GOOD.replace("file", "fiel"), r"r\.yaml:3: unknown setting sources\.0\.fiel; did you mean sources\.0\.file\?"),
        ("kind: text\n", r"r\.yaml: sources is missing"),
        ("sources: a.txt\n", r"r\.yaml:1: sources should be a list, not 'a\.txt'"),
        ("kind: gpt\nsources: [{file: a}]\n", r"r\.yaml:1: kind 'gpt'"),
        ("train: [", r"r\.yaml is no YAML at line 1"),
        ("", r"r\.yaml: a recipe is a list of settings"),
        (GOOD + "  batch: 10\n  micro_batch: 4\n", r"r\.yaml:8: train\.micro_batch should divide train\.batch \(10\)"),
        (GOOD + "  schedule: step\n", r"r\.yaml:7: train\.schedule 'step': choose cosine"),
        (GOOD + "noise: {tags: 0.3}\n", r"noise\.names should be given"),
        (GOOD + "llm: {kind: transformers, prompt: chat}\n", r"llm\.base is missing"),
        (GOOD + "llm: {kind: transformers, base: x}\n", r"llm\.prompt 'nano': choose paper or chat"),
        (
            GOOD + "start: nano\nmapper: {width: 512}\n",
            r"r\.yaml:8: mapper\.width says nothing beside start, .*: leave it out\.",
        ),
        # the size that a mapper has where none is given, and that of nano may be another
        (GOOD + "start: nano\nmapper: {width: 256}\n", r"r\.yaml:8: mapper\.width says nothing beside start"),
        (GOOD + "start: nano\ndecoder:\n  layers: 2\n", r"r\.yaml:9: decoder\.layers says nothing beside start"),
        (GOOD + "start: mini\nllm: {quantize: nf4, tuning: lora}\n", r"r\.yaml:8: llm\.\w+ says nothing beside start"),
        (GOOD + "llm: {rank: 4}\n", r"r\.yaml:7: llm\.rank says nothing of the small decoder: leave it out, or set"),
        (
            GOOD + "llm: {kind: transformers, base: x, prompt: chat}\ndecoder: {layers: 2}\n",
            r"r\.yaml:8: decoder\.layers is of the small decoder, and llm\.kind is transformers: leave it out",
        ),
        (GOOD + "memory: {file: m, captions: 9}\n", r"r\.yaml:7: memory\.captions says nothing beside memory\.file"),
        (
            GOOD + "llm: {kind: transformers, base: x, prompt: chat, dtype: float16}\n",
            r"r\.yaml:7: llm\.dtype float16: its gradients vanish",
        ),
        (GOOD + "start: nowhere\n", r"r\.yaml:7: start 'nowhere' is no model; give a folder"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(tmp_path, text)


def test_a_recipe_as_run_is_read_again(tmp_path: Path) -> None:
    """All is spelled out in it, also what says nothing beside `start`."""
    recipe = parse(tmp_path, GOOD + "start: nano\n")
    assert parse(tmp_path, written(recipe)) == recipe


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.steps", "write NAME=VALUE"),
        ("train.stepps=3", r"unknown setting train\.stepps"),
        ("name.x=3", "there is no group|is no group"),
        ("sources.7.ratio=3", "there is no group '7'"),
        ("train.steps=[", "the value is no YAML"),
    ],
)
def test_bad_overrides(tmp_path: Path, setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(tmp_path, GOOD + "name: x\n", setting)


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_values(tmp_path / "none.yaml")


def test_what_differs_between_two_runs(tmp_path: Path) -> None:
    one = parse(tmp_path, GOOD)
    text = written(one)
    assert differences(text, text) == ""
    # a setting that the older of two did not know counts as its default
    older = "".join(line for line in text.splitlines(keepends=True) if "beta2" not in line and "ratio" not in line)
    assert older != text and differences(older, text) == "" and differences(text, older) == ""
    other = written(parse(tmp_path, GOOD, "train.beta2=0.5", "sources.0.ratio=2"))
    assert differences(older, other) == "sources.0.ratio was 1.0 and is 2.0, train.beta2 was 0.999 and is 0.5"
    assert decisive(parse(tmp_path, GOOD, "train.save_every=7", "held_out.answers=3", "train.keep=last")) == decisive(
        one
    )


def test_former_names_are_read_with_a_remark(tmp_path: Path) -> None:
    with pytest.warns(FormerNameWarning, match=r"r.yaml:6: train.rate is called learning_rate now"):
        assert parse(tmp_path, GOOD.replace("learning_rate", "rate")).train.learning_rate == 0.1
    with pytest.raises(UsageError, match="is what learning_rate was called before"):
        parse(tmp_path, GOOD + "  rate: 0.2\n")
