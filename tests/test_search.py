"""What is found, against a slower obvious search; and the program, from a folder of sounds to a moment of one of
them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLES, Run, encoded, noise
from test_cli import text

from mats_model.errors import ModelError, UsageError
from mats_model.library.records import Matrix
from mats_model.library.search import Query, Searcher, best_files, caution, query
from mats_model.library.store import Library
from mats_model.mats import Mats
from mats_model.vectors import unit


def matrix(sounds: int, windows: int, width: int = 16, seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((sounds * windows, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    start = np.tile(np.arange(windows) * 2.5, sounds)
    return Matrix(
        vectors.astype(np.float16),
        np.stack([start, start + 5], 1).astype(np.float32),
        np.repeat(np.arange(sounds), windows),
    )


def slow(made: Matrix, asked: Query, count: int) -> list[tuple[int, float]]:
    """Every score in double precision, then greedily the best that overlap nothing taken."""
    vectors = made.vectors.astype(np.float64)
    scores = np.mean([vectors @ wanted.astype(np.float64) for wanted in asked.wanted], axis=0)
    for unwanted in asked.unwanted:
        scores -= np.maximum(vectors @ unwanted.astype(np.float64), 0)
    taken: list[int] = []
    for row in np.argsort(-scores):
        same = [other for other in taken if made.sounds[other] == made.sounds[row]]
        if all(
            made.times[row, 1] <= made.times[other, 0] or made.times[row, 0] >= made.times[other, 1] for other in same
        ):
            taken.append(int(row))
        if len(taken) == count:
            break
    return [(row, scores[row]) for row in taken]


@pytest.mark.parametrize(("sounds", "windows"), [(1, 1), (3, 40), (400, 30)])
def test_search_is_exact(sounds: int, windows: int) -> None:
    made = matrix(sounds, windows)
    units = unit(np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32))
    for asked in (Query(units[:1], units[:0]), Query(units[:2], units[2:])):
        found = list(islice(Searcher(made).best(asked), 700))
        wanted = slow(made, asked, 700)
        assert [(m.sound, m.start) for m in found] == [(made.sounds[row], made.times[row, 0]) for row, _ in wanted]
        assert np.allclose([m.score for m in found], [score for _, score in wanted], atol=1e-5)
        assert all(a.score >= b.score for a, b in pairwise(found))


def test_least_and_files() -> None:
    made = matrix(20, 10)
    asked = Query(np.eye(16, dtype=np.float32)[:1], np.zeros((0, 16), np.float32))
    every = list(Searcher(made).best(asked))
    assert [m for m in every if m.score >= 0.2] == list(Searcher(made).best(asked, 0.2))
    files = list(best_files(iter(every)))
    assert len(files) == 20 == len({m.sound for m in files}) and files[0] == every[0]
    empty = Matrix(made.vectors[:0], made.times[:0], made.sounds[:0])
    assert not list(Searcher(empty).best(asked))


def test_queries(nano: Mats, dog: Path) -> None:
    asked = query(nano, ["a dog barks"], [dog], ["speech"])
    assert asked.wanted.shape == (2, 256) and asked.unwanted.shape == (1, 256)
    with pytest.raises(UsageError, match="the query is empty"):
        query(nano, ["  "])
    with pytest.raises(UsageError, match="the query is empty"):
        query(nano, [], unlike=["speech"])
    with pytest.raises(UsageError, match="has no words"):
        query(nano, ["\u0000"])
    assert caution(nano, "kids laughing in the rain") is None and caution(nano, "dog") is None
    assert "may not know this language" in str(caution(nano, "雨の中で笑う子供たち")) and "English" in str(
        caution(nano, "smażenie jajecznicy na patelni")
    )
    assert (
        "only the first 512" in str(caution(nano, "rain " * 10_000))
        and np.isfinite(query(nano, ["rain " * 10_000]).wanted).all()
    )


# ---- the program


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with copies, silence, bad files, other files."""
    folder = tmp_path / "sounds"
    (folder / "sub").mkdir(parents=True)
    for name in ("dog", "clock", "rain"):
        shutil.copy(EXAMPLES / f"{name}.ogg", folder / "sub" / f"{name}.ogg")
    shutil.copy(EXAMPLES / "dog.ogg", folder / "copy of dog.ogg")
    (folder / "quiet.wav").write_bytes(encoded(np.zeros(32_000, np.float32)))
    (folder / "words.wav").write_text("not a sound")
    (folder / "notes.txt").write_text("not for us")
    return folder


def test_library_from_nothing_to_a_moment(mats: Run, sounds: Path, tmp_path: Path) -> None:
    index = tmp_path / "l.db"
    at = ("--index", index)
    code, out, err = text(mats("index", "library", sounds, *at))
    passed = "mats: 1 file was passed over, whose endings are of no known sound: 1 .txt.\n"
    assert code == 3 and err == f"{passed}mats: {sounds / 'words.wav'} is not a sound: its content is text.\n"
    seconds = sum(soundfile.info(EXAMPLES / f"{name}.ogg").duration for name in ("dog", "clock", "rain")) + 1
    assert out.startswith("6 new, 1 failed; 5 files (1 of them copies), ") and out.endswith(f" windows in {index}\n")
    # unchanged: nothing is read, the bad one neither; still said
    made = json.loads(text(mats("index", "library", *at, "--json"))[1])
    assert (made["new"], made["changed"], made["same"], made["gone"], made["files"], made["sounds"]) == (
        0,
        0,
        5,
        0,
        6,
        4,
    )
    assert [each["path"] for each in made["failed"]] == [str(sounds / "words.wav")] and abs(
        made["seconds"] - seconds
    ) < 0.1

    code, out, err = text(mats("search", "a", "dog", "barks", "-n", "2", *at))
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (0, "") and rows[0][2].endswith("dog.ogg") and len(rows) == 2 and float(rows[0][0]) > 0.3
    first = json.loads(text(mats("search", "rain falling", *at, "--format", "jsonl", "-n", "1"))[1])
    assert first["path"] == str(sounds / "sub" / "rain.ogg") and first["end"] - first["start"] <= 5.001
    same = json.loads(text(mats("search", "--like", EXAMPLES / "clock.ogg", *at, "--json", "-n", "1"))[1])[0]
    assert same["path"] == str(sounds / "sub" / "clock.ogg") and same["score"] > 0.9
    # what is not wanted counts against it
    lines = text(mats("search", "a dog barks", "--not", "dog", *at, "--csv", "--files"))[1].splitlines()
    assert lines[0] == "score,path,start,end,caption,probability" and float(lines[1].split(",")[0]) < 0.2
    copies = json.loads(text(mats("search", "dog", *at, "--json", "-n", "1"))[1])[0]
    assert copies["copies"] == [str(sounds / "sub" / "dog.ogg")]
    assert text(mats("search", "dog", *at, "--in", sounds / "sub", "-n", "9", "--files"))[1].count("\n") == 3
    assert text(mats("search", "dog", *at, "--least", "0.99")) == (4, "", "")


def test_changes_moves_and_what_has_gone(mats: Run, sounds: Path, tmp_path: Path) -> None:
    index = tmp_path / "l.db"

    def update(*more: str | Path) -> dict[str, object]:
        return dict(json.loads(text(mats("index", "library", *more, "--index", index, "--json", "-q"))[1]))

    update(sounds)
    (sounds / "sub" / "rain.ogg").rename(sounds / "moved.ogg")
    (sounds / "words.wav").write_bytes(encoded(noise(1)))
    (sounds / "copy of dog.ogg").unlink()
    made = update()
    assert (made["new"], made["changed"], made["gone"], made["same"], made["failed"]) == (1, 1, 2, 3, [])
    assert made["sounds"] == 5 and made["files"] == 5
    # a folder that is not there, as of a disk that is not mounted, takes nothing with it
    sounds.rename(tmp_path / "elsewhere")
    code, out, err = text(mats("index", "library", "--index", index))
    assert (
        code == 4
        and f"{sounds} is not there; its 5 files stay in the index until `mats index rm {sounds}`." in err
        and "5 files" in out
    )
    assert text(mats("index", "rm", sounds, "--index", index))[:2] == (0, f"5 files of {sounds} taken out\n")
    code, _, err = text(mats("index", "rm", sounds, "--index", index))
    assert code == 4 and "holds nothing of" in err
    code, _, err = text(mats("search", "dog", "--index", index))
    assert code == 4 and "the library holds no sound" in err


def test_captions_tags_clips_and_lists(mats: Run, sounds: Path, tmp_path: Path) -> None:
    index = ("--index", tmp_path / "l.db")
    assert (
        mats("index", "library", sounds / "sub", *index, "--captions", "--tags", "dog,rain,clock", "-q").returncode == 0
    )
    hit = json.loads(text(mats("search", "a dog barks", "-n", "1", "--json", *index))[1])[0]
    assert "dog" in hit["caption"].lower() and hit["tags"][0][0] == "dog"
    assert text(mats("search", "a dog barks", "-n", "1", *index))[1].split("\t")[4].strip() == hit["caption"]
    lists = text(mats("search", "a dog barks", "-n", "1", "--format", "m3u8", *index))[1].splitlines()
    assert (
        lists[0] == "#EXTM3U" and lists[-1] == hit["path"] and lists[2] == f"#EXTVLCOPT:start-time={hit['start']:.3f}"
    )
    labels = text(mats("search", "a dog barks", "-n", "1", "--format", "audacity", *index))[1]
    assert labels == f"{hit['start']:.6f}\t{hit['end']:.6f}\t{hit['caption']}\n"
    code, _, err = text(mats("search", "a dog barks", "-n", "9", "--format", "audacity", *index))
    assert code == 2 and "these are of several: give a folder with -o FOLDER/" in err
    assert mats("search", "dog", "-n", "9", "--format", "audacity", "-o", f"{tmp_path}/labels/", *index).returncode == 0
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [
        "clock.ogg.txt",
        "dog.ogg.txt",
        "rain.ogg.txt",
    ]
    # two sounds of one name
    shutil.copy(EXAMPLES / "rain.ogg", sounds / "dog.ogg")
    assert mats("index", "library", sounds / "dog.ogg", *index, "-q").returncode == 0
    (sounds / "sub" / "rain.ogg").unlink()
    assert mats("index", "library", sounds / "sub", *index, "-q").returncode == 0
    assert mats("search", "dog", "-n", "9", "--format", "audacity", "-o", f"{tmp_path}/twice/", *index).returncode == 0
    assert sorted(path.name for path in (tmp_path / "twice").iterdir()) == [
        "clock.ogg.txt",
        "dog.ogg-2.txt",
        "dog.ogg.txt",
    ]
    assert mats("search", "a dog barks", "-n", "2", "--clips", tmp_path / "clips", *index).returncode == 0
    clips = sorted((tmp_path / "clips").iterdir())
    assert len(clips) == 2 and clips[0].name == "1-dog-0000.wav"
    whole, sample_rate = soundfile.read(hit["path"], dtype="float32", always_2d=True)
    part, part_rate = soundfile.read(clips[0], dtype="float32", always_2d=True)
    # times are shown to the millisecond, so the clip may begin a few samples beside
    first, shifts = round(hit["start"] * sample_rate), range(-30, 31)
    alike = [
        np.allclose(part[:9999], whole[first + k : first + k + 9999], atol=2 / 32768) for k in shifts if first + k >= 0
    ]
    assert sample_rate == part_rate and any(alike) and abs(len(part) / sample_rate - 5) < 0.01
    (sounds / "sub" / "clock.ogg").write_bytes(b"")
    code, out, err = text(mats("search", "a dog barks", "-n", "9", "--clips", tmp_path / "some", *index))
    clock = str(sounds / "sub" / "clock.ogg")
    assert code == 3 and set(err.splitlines()) == {f"mats: {clock} is empty (0 bytes)."} and clock in out
    assert {path.name.split("-")[1] for path in (tmp_path / "some").iterdir()} == {"dog"}


def test_another_model_and_no_index(mats: Run, sounds: Path, tmp_path: Path) -> None:
    code, out, err = text(mats("search", "dog", "--index", tmp_path / "none.db"))
    assert (code, out) == (5, "") and "`mats index library FOLDER` builds one" in err
    index = tmp_path / "l.db"
    with Library(index, "another", 256, create=True):
        pass
    for words in (["search", "dog"], ["index", "library", sounds]):
        code, _, err = text(mats(*words, "--index", index))
        assert code == 6 and "`mats index library` with --rebuild makes it again" in err
    assert mats("index", "library", sounds / "sub", "--rebuild", "--index", index, "-q").returncode == 0
    assert mats("search", "dog", "--index", index).returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["search"], 2, "the query is empty"),
        (["search", "  "], 2, "the query is empty"),
        (["search", "dog", "--format", "xml"], 2, "choose one of text, json, jsonl, csv, m3u8, audacity"),
        (["index", "library", "--shard", "5/4"], 2, "write I/N, such as 3/16"),
        (["index", "library", "--engine", "spark"], 2, "choose local or ray"),
        (["index", "library", "--index", "l.db"], 2, "the library has no folders yet"),
        (["index", "library", "nowhere", "--index", "l.db"], 4, "nowhere is not there"),
        (["index", "library", "empty", "--index", "l.db"], 4, "no sounds were found"),
        (["index", "info", "--index", "none.db"], 5, "there is no index"),
        (["index", "rm", "x", "--index", "none.db"], 5, "there is no index"),
        (["index", "merge", "none.db", "-o", "l.db"], 5, "there is no index"),
    ],
)
def test_wrong_words(mats: Run, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    (tmp_path / "empty").mkdir()
    got, out, err = text(mats(*words))
    assert (
        (got, out if code != 4 else "") == (code, "")
        and said in err
        and err.count("\n") == 1
        and "Traceback" not in err
    )


def test_a_query_in_another_language_is_answered_with_a_caution(mats: Run, sounds: Path, tmp_path: Path) -> None:
    index = ("--index", tmp_path / "l.db")
    mats("index", "library", sounds / "sub", *index)
    code, out, err = text(mats("search", "雨の音", *index))
    assert code == 0 and out and "may not know this language" in err


def test_killed_job_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03d}.wav").write_bytes(encoded(noise(6, seed=number)))
    command = [
        sys.executable,
        "-m",
        "mats_cli",
        "index",
        "library",
        str(folder),
        "--index",
        str(tmp_path / "l.db"),
        "--json",
    ]
    job = subprocess.Popen(command, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60

    def done() -> int:
        try:
            with Library(tmp_path / "l.db") as store:
                return store.info().files
        except ModelError:
            return 0  # not there yet

    while done() < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    before = done()
    assert 5 <= before < 120
    made = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    assert made["same"] == before and made["new"] == 120 - before and made["files"] == 120
    with Library(tmp_path / "l.db") as store:
        assert store.base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_shards_make_the_whole(mats: Run, sounds: Path, tmp_path: Path) -> None:
    for part in (1, 2, 3):
        assert mats(
            "index", "library", sounds / "sub", "--shard", f"{part}/3", "--index", tmp_path / f"{part}.db", "-q"
        ).returncode in (0, 4)
    parts = [path for path in sorted(tmp_path.glob("?.db"))]
    made = json.loads(text(mats("index", "merge", *parts, "-o", tmp_path / "all.db", "--json"))[1])
    assert made["files"] == 3
    assert mats("index", "library", sounds / "sub", "--index", tmp_path / "one.db", "-q").returncode == 0
    for index in ("all.db", "one.db"):
        assert text(mats("search", "dog", "--index", tmp_path / index, "-n", "1"))[1].split("\t")[2].endswith("dog.ogg")
    assert text(mats("index", "library", "--index", tmp_path / "all.db"))[1].startswith("3 same; 3 files")


def test_a_file_that_changes_while_it_is_read(nano: Mats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mats_model.library import crawl

    path = tmp_path / "growing.wav"
    path.write_bytes(encoded(noise(1)))
    whole = crawl.digest_of
    turns: list[int] = []

    def grows(name: str) -> str:
        digest = whole(name)
        turns.append(1)
        if len(turns) < 3:
            path.write_bytes(encoded(noise(1 + len(turns))))
            os.utime(path, ns=(1, len(turns)))
        return digest

    monkeypatch.setattr(crawl, "digest_of", grows)
    read = crawl.read(nano, str(path), lambda digest: False)
    assert len(turns) == 3 and read.sound and read.sound.seconds == 3.0 and read.digest == whole(str(path))
    turns.clear()
    monkeypatch.setattr(
        crawl,
        "digest_of",
        lambda name: (path.write_bytes(encoded(noise(1))), os.utime(path, ns=(1, len(turns))), turns.append(1), "x")[3],
    )
    assert "changes while it is read" in str(crawl.read(nano, str(path), lambda digest: False).state.error)
    path.unlink()
    assert "cannot be read" in str(crawl.read(nano, str(path), lambda digest: False).state.error)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number:03d}.wav").write_bytes(encoded(noise(6, seed=number)))
    command = [sys.executable, "-m", "mats_cli", "index", "library", str(folder), "--index", str(tmp_path / "l.db")]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # a second job says that it waits, and a search finds what is there already
    deadline, found = time.monotonic() + 60, 0
    while not found and time.monotonic() < deadline:
        try:
            with Library(tmp_path / "l.db") as store:
                found = len(store.matrix().vectors)
        except ModelError:
            time.sleep(0.02)
    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert second.stderr and b"another mats is at work on" in second.stderr.readline()
    second.kill()
    second.communicate()
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=60)
    assert (
        job.returncode == 130
        and out == b""
        and b"of 200 files are in. The same command goes on from there." in err
        and b"Traceback" not in err
    )
    # what is in lies in the one file
    assert not list(tmp_path.glob("l.db-*"))
    shutil.copy(tmp_path / "l.db", tmp_path / "copy.db")
    with Library(tmp_path / "copy.db") as store:
        assert store.info().files == int(err.split(b"stopped: ")[1].split()[0]) >= 1
