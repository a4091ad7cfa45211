"""Santa's memory as a folder, and the ways across: numbers against slower obvious versions, then what can be wrong with
either."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from test_cli import text

from mats_model.config import SantaSettings
from mats_model.errors import MismatchError, ModelError, UsageError
from mats_model.gap.build import _Seen, build, cluster_count
from mats_model.gap.memory import DiskMemory, MemoryCard
from mats_model.gap.santa import WAYS, Santa, changed, nearest
from mats_model.mats import Mats
from mats_model.training.sources import BadRow, captions_in
from mats_model.vectors import unit

TEXTS = [f"{who} {does} {where}" for who in ("a dog", "a cat", "rain", "an engine", "a bell") for does in ("barks",
"hums", "falls", "rings")
         for where in ("in a street", "far away", "indoors", "near a lake", "at night")]  # fmt: skip


def made(nano: Mats, folder: Path, texts: list[str] = TEXTS, **more: object) -> DiskMemory:
    *_, card = build(texts, nano.clap, folder, ["captions.txt"], **more)  # type: ignore[arg-type]
    assert isinstance(card, MemoryCard) and not list(folder.parent.glob(".*"))
    return DiskMemory(folder, nano.clap.space)


def test_a_memory_holds_its_captions(nano: Mats, tmp_path: Path) -> None:
    memory = made(nano, tmp_path / "m", [*TEXTS, "A dog barks in a street", TEXTS[3]], clusters=7)
    assert memory.card.captions == 100 and memory.card.clusters == 7 == len(memory.centres)
    seen: list[str] = []
    for cluster in range(7):
        vectors, places = memory.members(cluster)
        texts = memory.texts(places.tolist())
        seen += texts
        # float16 keeps three digits
        assert np.allclose(vectors, nano.clap.embed_text(texts), atol=1e-3)
        assert all(int(np.square(vector - memory.centres).sum(-1).argmin()) == cluster for vector in vectors)
    assert sorted(seen) == sorted(TEXTS)
    assert np.allclose(memory.text_mean, nano.clap.embed_text(TEXTS).mean(0), atol=1e-5) and memory.audio_mean is None
    assert cluster_count(12_000) == 1 and cluster_count(5_000_000) == 1221


def test_the_same_seed_the_same_bytes(nano: Mats, tmp_path: Path) -> None:
    one, two, other = (
        made(nano, tmp_path / name, clusters=5, variance=0.01, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for name in ("vectors", "centres", "order", "starts", "offsets", "means"):
        assert (one.folder / f"{name}.npy").read_bytes() == (two.folder / f"{name}.npy").read_bytes()
    assert (one.folder / "vectors.npy").read_bytes() != (other.folder / "vectors.npy").read_bytes()
    clean = nano.clap.embed_text(one.texts(list(range(100))))
    assert abs(float((one.every() * clean).sum(-1).mean()) - 1 / (1 + 0.01 * 256) ** 0.5) < 0.03


@pytest.mark.parametrize("clusters", [1, 6])
def test_ways_against_their_formulas(nano: Mats, tmp_path: Path, clusters: int) -> None:
    audio = unit(np.random.default_rng(3).standard_normal((20, 256)).astype(np.float32))
    memory = made(nano, tmp_path / "m", clusters=clusters, audio=audio)
    heard = unit(np.random.default_rng(1).standard_normal((5, 256)).astype(np.float32))
    settings = SantaSettings(0.4, 0.05, 9)
    every = np.concatenate([memory.members(cluster)[0] for cluster in range(clusters)])
    for z, out in zip(heard, WAYS["project"](heard, memory, settings), strict=True):
        weight = np.exp((every @ z / 0.05).astype(float))
        assert np.allclose(out, unit((weight[:, None] * every).sum(0)), atol=1e-5)
    for z, out in zip(heard, WAYS["blend"](heard, memory, settings), strict=True):
        cluster = int(np.square(z - memory.centres).sum(-1).argmin())
        near = sorted(memory.members(cluster)[0], key=lambda m: float(np.linalg.norm(z - m)))[:9]
        weight = np.exp(np.stack(near) @ z / 0.05)
        assert np.allclose(out, unit(0.6 * z + 0.4 * (weight / weight.sum()) @ np.stack(near)), atol=1e-5)
    gap = audio.mean(0) - nano.clap.embed_text(TEXTS).mean(0)
    assert np.allclose(WAYS["shift"](heard, memory, settings), unit(heard - gap), atol=1e-4)
    assert np.array_equal(WAYS["none"](heard, memory, settings), heard)
    for way in WAYS.values():
        moved = way(heard, memory, settings)
        assert moved.dtype == np.float32 and np.allclose(np.linalg.norm(moved, axis=-1), 1, atol=1e-5)
        # company changes nothing, bit for bit
        assert np.array_equal(moved, np.concatenate([way(z[None], memory, settings) for z in heard]))


def test_another_memory_is_heard(nano: Mats, tmp_path: Path, dog: Path) -> None:
    memory = made(nano, tmp_path / "m", clusters=3)
    heard, own, search = nano.embed_audio(dog)[None], nano.santa.settings, nano.config.search
    before = nano.santa(heard)
    try:
        nano.santa.cross(changed(own, "lambda=1,k=1,names=0"), memory)
        assert memory.texts(nearest(memory, heard[0], 1)[2].tolist())[0].startswith("a dog barks")
        assert (
            np.allclose(nano.santa(heard), nearest(memory, heard[0], 1)[1], atol=1e-3)
            and len(nano.santa.looks(heard)) == 1
        )
        assert "dog" in nano.answer(heard)[0].lower()
        nano.santa.cross(replace(own, prompt=2), memory)
        assert all(said.startswith("a dog barks") for said, _ in nano.santa.near_texts(heard[0], 3))
        with pytest.raises(UsageError, match="does not read: take the model mini"):
            nano.answer(heard)
        with pytest.raises(UsageError, match=r"clusters=9: this memory has 3; build it again with as many"):
            nano.santa.cross(replace(own, clusters=9), memory)
    finally:
        nano.santa.cross(own)
        nano.config = replace(nano.config, search=search)
    assert np.array_equal(nano.santa(heard), before)
    # the model's own memory has its texts beside it
    assert "dog" in nano.santa.near_texts(heard[0], 1)[0][0]
    near = nano.clap.embed_text(nano.santa.captions[:4])
    assert (near * nano.santa.memory[:4]).sum(-1).min() > 0.999
    with pytest.raises(UsageError, match="holds embeddings only"):
        Santa(4, SantaSettings(size=2)).texts([1])


def test_clusters_made_anew() -> None:
    texts = unit(np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32))
    santa = Santa.build(texts, SantaSettings(0.5, 0.1, 8, 200, 1))
    santa.cross(changed(santa.settings, "clusters=10"))
    assert len(santa.centres) == 10 == len(np.unique(santa.assign))
    wanted = Santa.build(texts, SantaSettings(0.5, 0.1, 8, 200, 10))
    assert np.array_equal(santa(texts[:5]), wanted(texts[:5]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lamda=1", "there is no setting 'lamda'; there are lambda, tau, k, names, clusters, way, prompt"),
        ("tau=warm", "tau should be a number"),
        ("way=over", "choose one of blend, project, shift, none"),
        ("lambda=2", "lambda should lie between 0 and 1, not 2"),
        ("k=0", "k should lie between 1 and"),
        ("prompt=99", "prompt should lie between 0 and 32"),
    ],
)
def test_wrong_settings(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        changed(SantaSettings(), given)


def test_what_is_no_memory(nano: Mats, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no memory: `mats index memory CAPTIONS -o"):
        DiskMemory(tmp_path / "none", nano.clap.space)
    folder = made(nano, tmp_path / "m").folder
    with pytest.raises(MismatchError, match="made with another encoder"):
        DiskMemory(folder, "another")
    whole = (folder / "vectors.npy").read_bytes()
    (folder / "vectors.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is not whole"):
        DiskMemory(folder, nano.clap.space)
    (folder / "order.npy").unlink()
    with pytest.raises(ModelError, match="is not whole"):
        DiskMemory(folder, nano.clap.space)
    (folder / "memory.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(ModelError, match="of another version"):
        DiskMemory(folder, nano.clap.space)
    (folder / "memory.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        DiskMemory(folder, nano.clap.space)
    with pytest.raises(UsageError, match="there are no captions in empty"):
        list(build([], nano.clap, tmp_path / "e", ["empty"]))


def test_a_memory_takes_the_place_of_a_memory_and_of_nothing_else(nano: Mats, tmp_path: Path) -> None:
    folder = made(nano, tmp_path / "m").folder
    (folder / "vectors.npy").write_bytes(b"damaged")
    assert len(made(nano, folder).every()) == len(TEXTS)

    def refused(place: Path) -> None:
        with pytest.raises(UsageError, match="is there and is no memory"):
            list(build(TEXTS, nano.clap, place, ["x"]))

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"mine")
    for name in ("empty", "file"):
        refused(tmp_path / name)
    (folder / "thesis.txt").write_bytes(b"mine")
    refused(folder)
    assert (folder / "thesis.txt").read_bytes() == (tmp_path / "file").read_bytes() == b"mine"
    # what comes there while it is being made is not removed either
    steps = build(TEXTS, nano.clap, tmp_path / "late", ["x"])
    next(steps)
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "thesis.txt").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is there and is no memory"):
        list(steps)
    assert [each.name for each in (tmp_path / "late").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"widht": 3}, "unknown setting widht; did you mean width"),
        ({"clusters": 0}, "clusters should lie between 1 and"),
        ({"recordings": -1}, "recordings should lie between 0 and"),
        ({"captions": 3.5}, "captions should be a whole number"),
        ({"files": "a.csv"}, "files should be a list"),
        ({"space": None}, "space should be text"),
    ],
)
def test_the_card_is_read_strictly(nano: Mats, tmp_path: Path, change: dict[str, object], said: str) -> None:
    folder = made(nano, tmp_path / "m").folder
    card = json.loads((folder / "memory.json").read_text())
    (folder / "memory.json").write_text(json.dumps(card | change))
    with pytest.raises(ModelError, match=said):
        DiskMemory(folder, nano.clap.space)
    del card["width"]
    (folder / "memory.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"memory\.json lacks width"):
        DiskMemory(folder, nano.clap.space)


def test_texts_are_seen_once_in_little_room() -> None:
    seen, fresh = _Seen(), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for block in range(100):
        fresh += len(seen.new([f"Text {number % 150_000}" for number in range(block * 4000, block * 4000 + 4000)]))
        assert not seen.new([f"tExt {block * 4000 % 150_000}"])
    assert fresh == 150_000 and len(seen.runs) < 20
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 40_000


def test_captions_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'id,caption\n1,a dog  barks\n2,\n3,\xff\xfe bad\n4,"two\nlines"\n')
    rows = list(captions_in(tmp_path / "a.csv"))
    assert [row for row in rows if isinstance(row, str)] == ["a dog barks", "two lines"]
    assert [(row.line, row.why) for row in rows if isinstance(row, BadRow)] == [
        (3, "column 'caption' is blank"),
        (4, "column 'caption' is not UTF-8"),
    ]
    with pytest.raises(UsageError, match=r"has no column 'text' \(text\); it has id, caption"):
        list(captions_in(tmp_path / "a.csv", "text"))


# ---- the program


def test_program(mats: Run, tmp_path: Path, dog: Path) -> None:
    (tmp_path / "captions.csv").write_text("caption\n" + "\n".join(TEXTS) + "\n,\n")
    code, out, err = text(mats("index", "memory", "captions.csv", "-o", "memory", "--clusters", "4"))
    assert (code, out) == (
        0,
        "memory: 100 captions in 4 clusters, 1 bad row skipped\n",
    ) and err == "mats: captions.csv:102: column 'caption' is blank\n"
    assert "dog" in text(mats("caption", dog, "--memory", "memory"))[1].lower()
    plain = text(mats("caption", dog))[1]
    assert text(mats("caption", dog, "--santa", "lambda=1"))[:2] == (0, plain)
    assert mats("caption", dog, "--no-santa").returncode == 0
    for words, code, said in (
        (["caption", dog, "--no-santa", "--santa", "k=3"], 2, "choose one"),
        (["caption", dog, "--memory", tmp_path], 5, "is no memory"),
        (["caption", dog, "--santa", "way=shift"], 2, "build the memory with a folder of them as its audio"),
        (["index", "memory", "none.csv", "-o", "m"], 2, "cannot be read"),
        (["index", "memory", "captions.csv", "-o", "."], 2, "is there and is no memory"),
        (["index", "memory", "captions.csv", "-o", "m", "--column", "words"], 2, "has no column 'words'"),
    ):
        got, out, err = text(mats(*words))
        assert (got, out) == (code, "") and said in err and err.count("\n") == 1


def test_tune(mats: Run, tmp_path: Path) -> None:
    from conftest import EXAMPLES

    (tmp_path / "refs.csv").write_text(
        "file,caption_1,caption_2,label\ndog.ogg,A dog barks,A dog is barking again and again,dog\n"
        "rain.ogg,Rain is falling,It rains,rain\nclock.ogg,A clock ticks,,clock\n"
    )
    words = (
        "index",
        "tune",
        "--audio",
        EXAMPLES,
        "--captions",
        tmp_path / "refs.csv",
        "--try",
        "way=none",
        "--try",
        "way=shift",
        "--json",
    )
    code, out, err = text(mats(*words))
    rows = [json.loads(line) for line in out.splitlines()]
    assert (
        (code, err) == (0, "")
        and [row.get("settings") for row in rows[:3]] == ["as it is", "way=none", "way=shift"]
        and "recommended" in rows[-1]
    )
    assert (
        set(rows[0]) == {"settings", "CIDEr-D", "ROUGE-L", "names it", "top-1", "gain"}
        and rows[1]["top-1"]["mean"] == 1.0
    )
    for row in rows[:-1]:
        assert all(part["low"] <= part["mean"] <= part["high"] for part in row.values() if isinstance(part, dict))
    table = text(mats(*words[:-1], "--limit", "2"))[1]
    assert table.startswith("2 recordings, model nano ") and "| as it is | " in table and "\nRecommended: " in table
    (tmp_path / "out.csv").write_text("file,caption\n../dog.ogg,A dog\n")
    code, _, err = text(mats("index", "tune", "--audio", EXAMPLES, "--captions", tmp_path / "out.csv"))
    assert code == 2 and "leads out of" in err
    (tmp_path / "none.csv").write_text("file,caption\nnone.ogg,A dog\n")
    assert (
        "none of the files" in text(mats("index", "tune", "--audio", EXAMPLES, "--captions", tmp_path / "none.csv"))[2]
    )


def test_intervals_hold_the_mean() -> None:
    from mats_model.training.tune import interval, names_it

    values = np.random.default_rng(0).random(400)
    low, high = interval(values)
    assert low < values.mean() < high and abs((high - low) - 2 * 1.96 * values.std() / 20) < 0.01
    assert names_it("A rooster crows.", "rooster crowing") and not names_it("A dog barks.", "cat")
