"""Text-only training of any recipe: the same run every time, however often it is stopped, and whatever the pieces of a
batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from conftest import ROOT, Run

from mats_model.config import DecoderConfig, LLMConfig, MapperConfig
from mats_model.errors import DeviceError, MismatchError, ModelError, UsageError
from mats_model.llm.protocol import Tokens
from mats_model.mats import Mats
from mats_model.training.batches import Plan, some_words, split
from mats_model.training.checkpoints import BEST, LAST, PREVIOUS
from mats_model.training.embeddings import TextCache
from mats_model.training.events import Evaluated, Event, Note, Sample, Saved, Step
from mats_model.training.loop import Trainer
from mats_model.training.prepare import Prepared, prepare
from mats_model.training.processes import Crew
from mats_model.training.recipe import (
    HeldOutSettings,
    LoopSettings,
    MemorySettings,
    NoiseSettings,
    TextRecipe,
    text_recipe,
)
from mats_model.training.sources import CaptionSource, SourceSettings, TextExample
from mats_model.training.step import scheduled
from mats_model.training.values import read_values
from mats_model.weights import loading
from mats_model.weights.resolve import EMBEDDED

THINGS = [
    ("dog", "barks"),
    ("cat", "meows"),
    ("clock", "ticks"),
    ("car", "passes"),
    ("bell", "rings"),
    ("door", "slams"),
]
CAPTIONS = [f"a {size} {thing} {does}" for size in ("small", "big", "loud") for thing, does in THINGS]
RECIPE = TextRecipe(
    name="tiny",
    sources=[
        SourceSettings(file="captions.txt", ratio=0.7),
        SourceSettings(file="labels.csv", task="labels", ratio=0.3),
    ],
    held_out=HeldOutSettings(share=0.1, most=4),
    noise=NoiseSettings(variance=0.004, keywords=0.3),
    mapper=MapperConfig(width=32, layers=1),
    decoder=DecoderConfig(vocabulary=320, width=32, layers=1, heads=2, hidden=48),
    memory=MemorySettings(captions=10),
    train=LoopSettings(
        steps=24, batch=8, learning_rate=5e-3, warmup=3, evaluate_every=8, sample_every=24, save_every=5, dropout=0.1
    ),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    torch.set_num_threads(1)
    return tmp_path / "home"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "captions.txt").write_text("\n".join(CAPTIONS))
    (folder / "labels.csv").write_text("label,description\n" + "".join(f"{t},{t} that {d}\n" for t, d in THINGS))
    return folder


def ready(recipe: TextRecipe, data: Path) -> Prepared:
    *_, last = prepare(recipe, data, "cpu")
    assert isinstance(last, Prepared)
    return last


def run(recipe: TextRecipe, data: Path, out: Path, stop: int = 0) -> tuple[Trainer, list[Event]]:
    trainer = Trainer(ready(recipe, data), out)
    return trainer, list(trainer.steps(lambda: bool(stop) and trainer.step >= stop))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in trainer.learner.trained().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_and_a_folder_comes_out(data: Path, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE,
        train=replace(RECIPE.train, steps=60, learning_rate=1e-2),
        held_out=replace(RECIPE.held_out, audio=[str(ROOT / "examples" / "dog.ogg")]),
    )
    trainer, events = run(recipe, data, tmp_path / "out")
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert losses[-1] < losses[0] - 1.0
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert len(evaluated) == 8 and any(event.best for event in evaluated)
    samples = [event for event in events if isinstance(event, Sample)]
    assert samples and samples[-1].heard.endswith("dog.ogg") and samples[-1].answer.endswith(".")
    config = trainer.finish()
    mats = loading.load(str(tmp_path / "out"))
    assert mats.config == config and config.clap == "nano" and config.space == mats.clap.space
    assert mats.caption(ROOT / "examples" / "dog.ogg").endswith(".")
    files = {"config.json", "memory.txt", "model.safetensors", "recipe.yaml", "tokenizer.json", "training"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    near = mats.santa.near_texts(mats.clap.embed_text(mats.santa.captions[:1])[0], 1)
    assert near[0][0] == mats.santa.captions[0] and near[0][1] > 0.98
    values, where = read_values(tmp_path / "out" / "recipe.yaml")
    assert text_recipe(values, where) == recipe


def test_stopped_anywhere_ends_the_same(data: Path, tmp_path: Path) -> None:
    whole, _ = run(RECIPE, data, tmp_path / "whole")
    for stop in (1, 7, 20):
        run(RECIPE, data, tmp_path / f"stop{stop}", stop)
        again, events = run(RECIPE, data, tmp_path / f"stop{stop}")
        assert Note(f"going on from step {stop}") in events and same(weights(whole), weights(again))
    other, _ = run(replace(RECIPE, train=replace(RECIPE.train, seed=1)), data, tmp_path / "seed")
    assert not same(weights(whole), weights(other))


def test_a_run_that_is_told_to_stop_does_not_wait_for_its_evaluation(data: Path, tmp_path: Path) -> None:
    """It is owed, and made up for: the best weights are those of a run that was not stopped."""
    whole, events = run(RECIPE, data, tmp_path / "whole")
    _, first = run(RECIPE, data, tmp_path / "cut", 8)
    assert not any(isinstance(event, Evaluated) for event in first)
    state = torch.load(tmp_path / "cut" / "training" / LAST, weights_only=True)
    assert (state["step"], state["owed"]) == (8, True) and not (tmp_path / "cut" / "training" / BEST).exists()
    again, rest = run(RECIPE, data, tmp_path / "cut")
    assert [e for e in rest if isinstance(e, Evaluated)] == [
        e for e in events if isinstance(e, Evaluated)
    ] and again.best == whole.best
    assert same(weights(whole), weights(again))


def test_training_goes_by_the_line_of_the_model(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that a newcomer opens first is the one that is run."""
    read, rows = Mats.read, []

    def counted(self: Mats, meant: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        rows.append(len(meant))
        return read(self, meant, drawn)

    monkeypatch.setattr(Mats, "read", counted)
    recipe = replace(RECIPE, held_out=HeldOutSettings(share=0.0), train=replace(RECIPE.train, steps=3, micro_batch=4))
    run(recipe, data, tmp_path / "out")
    assert rows == [4] * 6


def test_memory_that_runs_out_in_an_evaluation_loses_no_step(data: Path, tmp_path: Path) -> None:
    trainer = Trainer(ready(RECIPE, data), tmp_path / "out")
    loss = trainer.mats.llm.loss

    def out_of_memory(prefix: torch.Tensor, tokens: list[Tokens]) -> tuple[torch.Tensor, int]:
        if not trainer.learner.training:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return loss(prefix, tokens)

    trainer.mats.llm.loss = out_of_memory  # type: ignore[method-assign]
    with pytest.raises(
        DeviceError, match=r"memory ran out: set train\.micro_batch=4 \(it is 8; the batch stays the same"
    ):
        list(trainer.steps())
    state = torch.load(tmp_path / "out" / "training" / LAST, weights_only=True)
    assert (state["step"], state["owed"]) == (8, True) and trainer.learner.training
    # as it was told: in smaller pieces the same run goes on, and makes up for its evaluation
    smaller = replace(RECIPE, train=replace(RECIPE.train, micro_batch=4))
    _, events = run(smaller, data, tmp_path / "out")
    assert Note("going on from step 8") in events
    assert [event.step for event in events if isinstance(event, Evaluated)] == [8, 16, 24]


def test_memory_that_runs_out_in_the_optimiser_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*given: object, **named: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    trainer = Trainer(ready(RECIPE, data), tmp_path / "out")
    monkeypatch.setattr(trainer.optimiser, "step", out_of_memory)
    with pytest.raises(DeviceError, match=r"memory ran out: set train\.micro_batch=4"):
        list(trainer.steps())


def test_an_evaluation_is_done_in_the_pieces_of_a_step(data: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, held_out=HeldOutSettings(share=0.3, most=6, answers=0))
    whole = Trainer(ready(recipe, data), tmp_path / "whole")
    sizes = []
    loss = whole.mats.llm.loss

    def counted(prefix: torch.Tensor, tokens: list[Tokens]) -> tuple[torch.Tensor, int]:
        sizes.append(len(tokens))
        return loss(prefix, tokens)

    whole.mats.llm.loss = counted  # type: ignore[method-assign]
    at_once, in_pieces = whole.looks.loss(8), whole.looks.loss(2)
    assert sizes == [6, 2, 2, 2] and at_once == pytest.approx(in_pieces, abs=1e-5)


def test_a_checkpoint_every_ten_minutes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mats_model.training import loop

    recipe = replace(RECIPE, held_out=HeldOutSettings(share=0.0), train=replace(RECIPE.train, steps=4, save_every=100))
    _, events = run(recipe, data, tmp_path / "one")
    assert {event.step for event in events if isinstance(event, Saved)} == {4}
    monkeypatch.setattr(loop, "_SAVED_SECONDS", -1.0)
    _, events = run(recipe, data, tmp_path / "two")
    assert {event.step for event in events if isinstance(event, Saved)} == {1, 2, 3, 4}


def test_pieces_add_up_to_the_batch(data: Path, tmp_path: Path) -> None:
    # float32 and no dropout: what is left is the order of additions
    plain = replace(RECIPE, train=replace(RECIPE.train, steps=3, batch=32, dropout=0.0, bf16=False))
    one, _ = run(plain, data, tmp_path / "one")
    four, _ = run(replace(plain, train=replace(plain.train, micro_batch=8)), data, tmp_path / "four")
    for key, value in weights(one).items():
        assert torch.allclose(value, weights(four)[key], atol=2e-4), key


def test_killed_process_ends_the_same(data: Path, tmp_path: Path) -> None:
    from mats_model.training.compare import written

    recipe = replace(RECIPE, train=replace(RECIPE.train, steps=60, save_every=3))
    (data / "r.yaml").write_text(written(recipe))
    whole, _ = run(recipe, data, tmp_path / "whole")
    command = [
        sys.executable,
        "-m",
        "mats_cli",
        "train",
        str(data / "r.yaml"),
        "-o",
        str(tmp_path / "out"),
        "-q",
        "--device",
        "cpu",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=env)
    deadline = time.monotonic() + 90
    while not (tmp_path / "out" / "training" / LAST).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "out" / "training" / LAST).exists()
    assert subprocess.run(command, env=env, timeout=90, check=False).returncode == 0
    state = torch.load(tmp_path / "out" / "training" / LAST, weights_only=True)
    assert state["step"] == 60 and same(state["trained"], weights(whole))
    rows = [json.loads(line) for line in (tmp_path / "out" / "training" / "steps.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "step"] == sorted(
        {row["step"] for row in rows if row["kind"] == "step"}
    )
    assert rows[-1]["step"] == 60


def test_cut_checkpoint_and_other_run(data: Path, tmp_path: Path) -> None:
    whole, _ = run(RECIPE, data, tmp_path / "whole")
    run(RECIPE, data, tmp_path / "cut", 12)
    work = tmp_path / "cut" / "training"
    last = (work / LAST).read_bytes()
    (work / LAST).write_bytes(last[: len(last) // 2])
    again, events = run(RECIPE, data, tmp_path / "cut")
    assert Note("going on from step 10") in events and same(weights(whole), weights(again))
    assert any(isinstance(event, Note) and "cannot be read" in event.text for event in events)
    with pytest.raises(
        UsageError,
        match=r"holds another run \(its recipe differs: train\.learning_rate was 0\.005 and is 0\.1\): give",
    ):
        run(replace(RECIPE, train=replace(RECIPE.train, learning_rate=0.1)), data, tmp_path / "cut")
    (data / "captions.txt").write_text("\n".join([*CAPTIONS, "one more"]))
    with pytest.raises(UsageError, match="its data differs"):
        run(RECIPE, data, tmp_path / "cut")


def test_a_cut_best_is_said_and_written_anew(data: Path, tmp_path: Path) -> None:
    run(RECIPE, data, tmp_path / "cut", 12)
    best = tmp_path / "cut" / "training" / BEST
    best.write_bytes(best.read_bytes()[:1000])
    trainer, events = run(RECIPE, data, tmp_path / "cut")
    assert next(event.text for event in events if isinstance(event, Note)).endswith(
        "best.pt cannot be read: the next evaluation writes it anew."
    )
    assert best.stat().st_size > 1000 and trainer.finish().id
    best.write_bytes(b"")
    assert trainer.finish().id


def test_a_complete_run_keeps_what_is_read_again(data: Path, tmp_path: Path) -> None:
    trainer, _ = run(RECIPE, data, tmp_path / "out")
    work = tmp_path / "out" / "training"
    before = (work / LAST).stat().st_size
    assert (work / PREVIOUS).exists() and trainer.finish(keep=True).id and (work / LAST).stat().st_size == before
    config = trainer.finish()
    assert {path.name for path in work.glob("*.pt")} == {LAST, BEST} and (work / LAST).stat().st_size < before / 2
    # the same command has nothing left to do, and writes the same model
    again, events = run(RECIPE, data, tmp_path / "out")
    assert not any(isinstance(event, Step) for event in events) and again.step == 24 and again.finish() == config
    # a run that was stopped goes on bit for bit, so all of it stays
    cut, _ = run(RECIPE, data, tmp_path / "cut", 12)
    cut.finish()
    assert torch.load(tmp_path / "cut" / "training" / LAST, weights_only=True)["optimiser"]


def test_samples_where_nothing_is_held_out(data: Path, tmp_path: Path) -> None:
    _, events = run(replace(RECIPE, held_out=HeldOutSettings(share=0.0)), data, tmp_path / "out")
    samples = [event for event in events if isinstance(event, Sample)]
    assert len(samples) == 3 and {each.heard for each in samples} <= {*CAPTIONS, *(f"{t} that {d}" for t, d in THINGS)}


def test_full_disk_keeps_the_last_checkpoint(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = run(RECIPE, data, tmp_path / "out", 5)
    before = (tmp_path / "out" / "training" / LAST).read_bytes()

    def full(state: object, file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UsageError, match=r"last\.pt cannot be written \(No space left on device\): make room"):
        trainer.save()
    assert (tmp_path / "out" / "training" / LAST).read_bytes() == before
    assert not list((tmp_path / "out" / "training").glob("*.tmp"))


def test_running_mean_is_what_is_kept(data: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, held_out=HeldOutSettings(share=0.0), train=replace(RECIPE.train, ema=0.9))
    trainer, _ = run(recipe, data, tmp_path / "out")
    fresh, averaged = weights(trainer), {key: value.clone() for key, value in trainer.average.mean.items()}
    assert not same(fresh, averaged)
    trainer.finish()
    assert same(weights(trainer), averaged)


def test_schedule() -> None:
    settings = LoopSettings(steps=100, learning_rate=1.0, warmup=10)
    assert scheduled(settings, 0) == pytest.approx(0.1) and scheduled(settings, 9) == 1.0
    assert scheduled(settings, 55) == pytest.approx(0.5) and scheduled(settings, 99) == 0.01
    assert scheduled(replace(settings, schedule="linear"), 55) == pytest.approx(0.5)
    assert scheduled(replace(settings, schedule="constant"), 99) == 1.0


def test_plan_takes_whole_batches_from_one_source(data: Path) -> None:
    prepared = ready(RECIPE, data)
    plan = Plan(prepared.data, replace(RECIPE.train, steps=400))
    bounds = prepared.data.starts
    seen = {0: 0, 1: 0}
    for step in range(400):
        source = int(plan.source_of[step])
        rows = plan.rows(step)
        assert len(rows) == 8 and ((rows >= bounds[source]) & (rows < bounds[source + 1])).all()
        seen[source] += 1
    assert 0.6 < seen[0] / 400 < 0.8
    # one pass over the first source says nothing twice
    turns = [step for step in range(400) if plan.source_of[step] == 0][: (bounds[1] - bounds[0]) // 8]
    rows = [row for step in turns for row in plan.rows(step).tolist()]
    assert len(rows) == len(set(rows))


def test_held_out_by_text() -> None:
    examples = [TextExample(f"text {n}", "", question, "x") for n in range(400) for question in ("one", "two")]
    told, held = split(CaptionSource(SourceSettings(), "s", examples, [], 0), 0.1, 60)
    assert 20 <= len(held) <= 60 and not {e.text for e in held} & {e.text for e in told} and len(told) > 650
    # another file that says the same holds the same texts out, however few of them are used
    assert not {e.text for e in held} & {
        e.text for e in split(CaptionSource(SourceSettings(), "t", examples, [], 0), 0.1, 1)[0]
    }


def test_some_words() -> None:
    text = "one two three four five six seven eight"
    fewer = some_words(text, 0.6, 0)
    assert fewer == some_words(text, 0.6, 0) and fewer != text and set(fewer.split()) < set(text.split())
    assert some_words("alone", 0.0, 0) == "alone"


def test_cache_computes_each_text_once(tmp_path: Path, nano: Mats) -> None:
    asked: list[str] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return nano.clap.embed_text(texts)

    cache = TextCache(tmp_path, nano.clap.space, 256)
    list(cache.fill(["a dog", "rain", "a dog"], embed))
    again = TextCache(tmp_path, nano.clap.space, 256)
    # another run adds to the same folder meanwhile
    other = TextCache(tmp_path, nano.clap.space, 256)
    list(again.fill(["rain", "wind"], embed))
    list(other.fill(["waves", "wind", "rain"], embed))
    assert asked == ["a dog", "rain", "wind", "waves", "wind"]
    # a killed run leaves a half block that has no name yet
    (again.folder / "half.tmp").write_bytes(b"x" * 700)
    third = TextCache(tmp_path, nano.clap.space, 256)
    texts = ["wind", "a dog", "waves", "rain", "wind"]
    got = third.vectors(third.index(texts))
    assert np.allclose(got, nano.clap.embed_text(texts), atol=1e-3) and torch.allclose(got.norm(dim=-1), torch.ones(5))


def test_another_encoder_is_refused(data: Path, tmp_path: Path) -> None:
    trainer, _ = run(replace(RECIPE, train=replace(RECIPE.train, steps=1)), data, tmp_path / "out")
    trainer.finish()
    path = tmp_path / "out" / "config.json"
    path.write_text(path.read_text().replace(trainer.mats.config.space, "000000000000"))
    with pytest.raises(MismatchError, match="trained on another version of the encoder 'nano'"):
        loading.load_folder(tmp_path / "out")


def test_new_words_from_words_alone(nano: Mats, tmp_path: Path) -> None:
    """The recipe for the user's own labels, for some steps: what it was told of, it says."""
    values, where = read_values(ROOT / "recipes" / "custom-labels.yaml")
    recipe = text_recipe(values, where)
    recipe = replace(
        recipe,
        recall=replace(recipe.recall, texts=40),
        train=replace(recipe.train, steps=80, learning_rate=1e-3, batch=16),
        search=replace(recipe.search, beams=2),
    )
    trainer, events = run(recipe, ROOT / "recipes", tmp_path / "out")
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert losses[-1] < losses[0] * 0.6
    trainer.finish()
    mats = loading.load(str(tmp_path / "out"))
    # other words for them than those it was told
    told = {
        "old computer calling over a telephone": "modem",
        "milk is steamed in a cafe": "espresso",
        "skates scraping over ice": "skating",
    }
    vectors = mats.clap.embed_text(list(told))
    said = [word in answer.lower() for word, answer in zip(told.values(), mats.answer(vectors), strict=True)]
    before = [word in answer.lower() for word, answer in zip(told.values(), nano.answer(vectors), strict=True)]
    assert sum(said) >= 2 and not any(before)
    # what is none of the words is none of them
    plain = mats.answer(mats.clap.embed_text(["a dog barks", "rain falls on a roof", "a mayor gives a long speech"]))
    assert not any(word in answer.lower() for word in mats.santa.taught_texts for answer in plain)


def test_recipe_of_nano_trains(tmp_path: Path) -> None:
    """recipes/nano.yaml for some steps, its files in miniature."""
    values, where = read_values(ROOT / "recipes" / "nano.yaml")
    recipe = text_recipe(values, where)
    for folder in ("captions", "teachers"):
        (tmp_path / folder).mkdir()
    many = [
        f"a {size} {thing} {does} in hall {n}" for n in range(20) for size in ("small", "big") for thing, does in THINGS
    ]
    (tmp_path / "captions" / "audiocaps_v1_train.csv").write_text("caption\n" + "\n".join(many) + "\n")
    for name in ("val", "test"):
        (tmp_path / "captions" / f"audiocaps_v1_{name}.csv").write_text("caption\na whistle\n")
    (tmp_path / "captions" / "musiccaps-public.csv").write_text('caption,aspect_list\n"A slow song. It is sad.",x\n')
    (tmp_path / "captions" / "vggsound_stat.csv").write_text("dog barking,12\ncat meowing,3\n")
    (tmp_path / "captions" / "audioset_ontology.json").write_text(
        json.dumps([{"name": "Dog", "description": "Barks of a dog."}])
    )
    (tmp_path / "teachers" / "audioset_527_labels.csv").write_text(
        "index,mid,display_name\n0,/m,Dog\n1,/n,Cat\n2,/o,Clock\n3,/p,Bell\n"
    )
    small = replace(
        recipe.train, steps=12, batch=16, warmup=2, learning_rate=1e-2, evaluate_every=6, sample_every=12, save_every=6
    )
    tiny = replace(
        recipe,
        train=small,
        decoder=DecoderConfig(vocabulary=400, width=32, layers=1, heads=2, hidden=48),
        mapper=MapperConfig(width=32, layers=1),
    )
    _, events = run(tiny, tmp_path, tmp_path / "out")
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert (
        losses[-1] < losses[0]
        and (tmp_path / "out" / "training" / BEST).exists()
        and (tmp_path / "out" / "training" / PREVIOUS).exists()
    )


@pytest.mark.parametrize("width", [256, 1024])
def test_an_estimate_counts_the_mapper_of_its_encoder(data: Path, tmp_path: Path, width: int) -> None:
    from mats_model.mapper import make_mapper
    from mats_model.training.estimate import estimate
    from mats_model.training.prepare import read_all

    (tmp_path / "model").mkdir()
    values = json.loads((EMBEDDED / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**values, "width": width}))
    recipe = replace(RECIPE, clap=str(tmp_path / "model"))
    mapper = estimate(recipe, read_all(recipe, data, False), "cpu").parts[0]
    wanted = make_mapper(recipe.mapper, width, recipe.decoder.width)
    assert mapper.parameters == sum(weight.numel() for weight in wanted.parameters()) == mapper.trained
    # whoever starts from a model has its mapper
    start = replace(RECIPE, start=str(tmp_path / "model"), mapper=MapperConfig(), decoder=DecoderConfig())
    theirs = estimate(start, read_all(start, data, False), "cpu").parts[0]
    assert theirs.parameters > mapper.parameters


def test_an_estimate_grows_with_the_run(data: Path) -> None:
    from mats_model.training.estimate import estimate
    from mats_model.training.prepare import read_all

    one = estimate(RECIPE, read_all(RECIPE, data, False), "cpu")
    assert set(one.others) == {"program and texts", "encoder and memory", "checkpoints and pictures"}
    assert one.others["program and texts"] > 100 and one.megabytes > sum(one.others.values())
    longer = replace(RECIPE, train=replace(RECIPE.train, steps=240_000, batch=64))
    ten = estimate(longer, read_all(longer, data, False), "cpu")
    assert ten.activations == pytest.approx(8 * one.activations) and ten.minutes > 20 * one.minutes


def test_a_model_to_start_from_has_its_own_sizes(data: Path, tmp_path: Path) -> None:
    """Also from Python, where no file is read."""
    with pytest.raises(UsageError, match=r"^mapper\.width says nothing beside start, whose mapper .* leave it out\.$"):
        ready(replace(RECIPE, start="nano"), data)
    with pytest.raises(UsageError, match=r"llm\.dtype of the recipe is float16: its gradients vanish"):
        ready(
            replace(
                RECIPE,
                llm=LLMConfig(kind="transformers", base="b", prompt="chat", dtype="float16"),
                decoder=DecoderConfig(),
            ),
            data,
        )


# ---- the program


def test_train_says_what_it_does(mats: Run, data: Path, tmp_path: Path) -> None:
    (data / "r.yaml").write_text(
        "name: tiny\nsources: [{file: captions.txt}]\nheld_out: {share: 0.1, file: refs.csv, recording: clip}\nmapper: "
        "{width: 32, layers: 1}\n"
        "decoder: {vocabulary: 320, width: 32, layers: 1, heads: 2, hidden: 48}\ntrain: {steps: 20, batch: 8, "
        "evaluate_every: 10, save_every: 10}\n"
    )
    (data / "refs.csv").write_text("clip,caption\n1,a dog barks\n1,the dog barks\n")
    dry = mats("train", data / "r.yaml", "--dry-run", "--device", "cpu")
    assert (
        dry.returncode == 0
        and b"mapper" in dry.stdout
        and b"here, if nothing else runs" in dry.stdout
        and not (tmp_path / "runs").exists()
    )
    assert json.loads(mats("train", data / "r.yaml", "-n", "--json", "--device", "cpu").stdout)["batches"] == 20
    assert mats("train", data / "r.yaml", "--resume").returncode == 2
    done = mats("train", data / "r.yaml", "--json", "--device", "cpu", "--report", "run.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "run.html").read_text()
    assert "20 of 20" in page and "<dd>done</dd>" in page and "What it says now (step 20)" in page
    assert {path.name for path in (tmp_path / "runs" / "tiny" / "training").glob("*.pt")} == {"last.pt", "best.pt"}
    assert {json.loads(line)["kind"] for line in done.stdout.splitlines()} == {"step", "evaluated", "sample"}
    said = done.stderr.decode()
    assert (
        "captions: 18 examples" in said and "held-out loss" in said and "runs/tiny written" in said and "\r" not in said
    )
    assert (tmp_path / "runs" / "tiny" / "training" / "loss.png").read_bytes()[:4] == b"\x89PNG"
    heard = mats("caption", ROOT / "examples" / "dog.ogg", "--model", "runs/tiny")
    # twenty steps teach it no sentence, but it answers
    assert heard.returncode == 0 and heard.stdout.strip()
    scored = mats("train", data / "r.yaml", "--evaluate", "--json", "--device", "cpu")
    assert scored.returncode == 0 and set(json.loads(scored.stdout)) == {"model", "clips", "cider_d", "rouge_l"}
    again = mats("train", data / "r.yaml", "--set", "train.learning_rate=1e-4", "--device", "cpu")
    assert (
        again.returncode == 2
        and b"holds another run (its recipe differs: train.learning_rate was 0.001 and is 0.0001): give another "
        b"folder, or begin anew (-o DIR, --restart)."
        in again.stderr
    )
    assert (
        mats("train", data / "r.yaml", "--set", "train.learning_rate=1e-4", "--restart", "-q", "--device", "cpu").stderr
        == b""
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_save_and_say_how_to_go_on(data: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    from mats_model.training.compare import written

    (data / "r.yaml").write_text(written(replace(RECIPE, train=replace(RECIPE.train, steps=5000))))
    command = [
        sys.executable,
        "-m",
        "mats_cli",
        "train",
        str(data / "r.yaml"),
        "-o",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 90
    while not (tmp_path / "out" / "training" / "steps.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (
        process.returncode == code
        and b"stopped and saved at step" in err
        and b"The same command goes on from there." in err
    )
    step = torch.load(tmp_path / "out" / "training" / LAST, weights_only=True)["step"]
    assert f"saved at step {step} of 5000".encode() in err


def test_unwritable_folder(mats: Run, data: Path, tmp_path: Path) -> None:
    (data / "r.yaml").write_text("sources: [{file: captions.txt}]\n")
    (tmp_path / "file").touch()
    done = mats("train", data / "r.yaml", "-o", "file/inside", "--device", "cpu")
    assert done.returncode == 2 and done.stderr == b"mats: -o file/inside: it cannot be made (Not a directory).\n"


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """Whatever was being written, the program says so and leaves with 2."""
    script = (
        "import errno, sys\nimport mats_cli.main as program\n"
        "def full(*a, **k): raise OSError(errno.ENOSPC, 'No space left on device', 'runs/x/steps.jsonl')\n"
        "program.make_app = lambda *verbs: full\nprogram.main(['train'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    said = (
        b"mats: runs/x/steps.jsonl cannot be written (No space left on device): make room, or choose another place.\n"
    )
    assert (done.returncode, done.stderr) == (2, said)


def test_4_bits_are_refused_on_a_cpu(mats: Run, data: Path) -> None:
    (data / "r.yaml").write_text(
        "sources: [{file: captions.txt}]\nllm: {kind: transformers, base: ., prompt: paper, tuning: lora, quantize: "
        "nf4}\n"
    )
    done = mats("train", data / "r.yaml", "--device", "cpu")
    assert done.returncode == 7 and b"about 15 times slower" in done.stderr and b"--force" in done.stderr


def test_several_processes_train_as_one(data: Path, tmp_path: Path) -> None:
    """Two processes on this machine's loopback, as accelerate and torchrun launch them; each takes its pieces of every
    batch."""
    pytest.importorskip("accelerate")
    from mats_model.training.compare import written

    recipe = replace(
        RECIPE, held_out=HeldOutSettings(share=0.0), train=replace(RECIPE.train, steps=4, dropout=0.0, bf16=False)
    )
    (data / "r.yaml").write_text(written(recipe))
    alone, _ = run(recipe, data, tmp_path / "alone")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "mats_cli"]
    command += ["train", str(data / "r.yaml"), "-o", str(tmp_path / "two"), "-q"]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / "two" / "training" / LAST, weights_only=True)
    assert state["facts"]["world"] == 2
    for key, value in weights(alone).items():
        assert torch.allclose(value, state["trained"][key], atol=1e-5), key


def test_processes_have_patience_and_stop_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first evaluates while the others wait, and what one of them is told all of them do."""
    accelerate = pytest.importorskip("accelerate")
    told: list[object] = []

    class Two:
        """One of two processes, the other of which is told to stop."""

        process_index, device = 0, torch.device("cpu")

        def __init__(self, cpu: bool, kwargs_handlers: list[object]) -> None:
            told.extend(kwargs_handlers)

        def reduce(self, value: torch.Tensor, how: str) -> torch.Tensor:
            assert how == "sum"
            return value + 1.0

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "Accelerator", Two)
    crew = Crew()
    assert crew.size == 2 and crew.any(False)
    assert told[0].timeout.total_seconds() >= 3600  # type: ignore[attr-defined]


def test_one_process_is_the_rule() -> None:
    assert (Crew().size, Crew().rank, Crew().accelerator) == (1, 0, None)


def test_memory_of_a_folder(data: Path, tmp_path: Path, nano: Mats) -> None:
    from mats_model.gap.build import build

    told = ["a bell rings", "a horn sounds", "water drips"]
    list(build(told, nano.clap, data / "memory", ["told"]))
    trainer, _ = run(replace(RECIPE, memory=MemorySettings(file="memory")), data, tmp_path / "out", 1)
    held = trainer.mats.santa.memory
    assert held.shape == (3, 256) and np.allclose(held, nano.clap.embed_text(told), atol=1e-3)
    with pytest.raises(ModelError, match="is no memory"):
        run(replace(RECIPE, memory=MemorySettings(file="none")), data, tmp_path / "none", 1)


def test_sources_have_their_time_and_rare_subjects_their_share(data: Path) -> None:
    (data / "names.txt").write_text("dog\nwater\n")
    (data / "pets.txt").write_text(
        "\n".join([*(f"a dog number {n} barks" for n in range(60)), *(f"water drips on place {n}" for n in range(6))])
    )
    first = SourceSettings(file="captions.txt", end=0.25)
    later = SourceSettings(file="pets.txt", begin=0.25, even=1.0)
    recipe = replace(
        RECIPE,
        sources=[first, later],
        noise=NoiseSettings(variance=0.004, names="names.txt"),
        held_out=HeldOutSettings(share=0.0),
    )
    prepared = ready(recipe, data)
    plan = Plan(prepared.data, replace(RECIPE.train, steps=200))
    assert plan.source_of.tolist() == [0] * 50 + [1] * 150
    start = prepared.data.starts[1]
    drawn = [prepared.data.examples[row].text for step in range(50, 200) for row in plan.rows(step).tolist()]
    assert (
        all(row >= start for row in plan.rows(60))
        and 0.4 < sum(text.startswith("water") for text in drawn) / len(drawn) < 0.6
    )
    with pytest.raises(UsageError, match="no source is drawn between steps 50 and 100"):
        Plan(replace(prepared.data, sources=[first, replace(later, begin=0.5)]), replace(RECIPE.train, steps=200))


def test_best_or_last(data: Path, tmp_path: Path) -> None:
    trainer, _ = run(RECIPE, data, tmp_path / "out")
    best = torch.load(tmp_path / "out" / "training" / BEST, weights_only=True)
    last = {key: value.clone() for key, value in weights(trainer).items()}
    trainer.finish()
    assert same(weights(trainer), best["trained"])
    again = Trainer(ready(replace(RECIPE, train=replace(RECIPE.train, keep="last")), data), tmp_path / "out")
    assert [event.text for event in again.steps() if isinstance(event, Note)] == ["going on from step 24"]
    again.finish()
    assert same(weights(again), last)
