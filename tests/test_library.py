"""The store: one row a content, nothing lost by a kill, a search beside a writer, other tools, other versions."""

from __future__ import annotations

import functools
import operator
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from mats_model.errors import MismatchError, ModelError, UsageError
from mats_model.library.export import export_to
from mats_model.library.records import Sound, State, in_shard
from mats_model.library.store import Library

D = 8


def sound(seed: int, windows: int = 3) -> Sound:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((windows, D))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    times = np.stack([np.arange(windows) * 2.5, np.arange(windows) * 2.5 + 5], 1).astype(np.float32)
    return Sound(
        f"hash{seed}",
        2.5 * windows + 2.5,
        "wav",
        44_100,
        2,
        times,
        vectors,
        vectors.mean(0) if windows else np.zeros(D, np.float16),
    )


def filled(path: Path, many: int = 4) -> Library:
    store = Library(path, "encoder1", D, create=True)
    for number in range(many):
        store.put(f"/s/{number}.wav", State(100, number), sound(number))
    return store


def test_files_and_their_windows(tmp_path: Path) -> None:
    with filled(tmp_path / "l.db") as store:
        matrix = store.matrix()
        assert (
            matrix.vectors.shape == (12, D)
            and matrix.times[1].tolist() == [2.5, 7.5]
            and matrix.sounds.tolist() == sorted([1, 2, 3, 4] * 3)
        )
        assert np.array_equal(matrix.vectors[3:6], sound(1).vectors)
        assert store.known("/s") == {f"/s/{n}.wav": State(100, n) for n in range(4)} and store.known("/s/1") == {}
        assert store.rows([2])[2]["paths"] == ["/s/1.wav"] and store.rows([99]) == {}
        info = store.info()
        assert (info.files, info.sounds, info.windows, info.seconds, info.pipeline) == (4, 4, 12, 40.0, "encoder1")


def test_a_folder_is_not_one_that_begins_alike(tmp_path: Path) -> None:
    with Library(tmp_path / "l.db", "e", D, create=True) as store:
        for number, path in enumerate(["/a/b/1.wav", "/a/b c/2.wav", "/a/b-2/3.wav", "/a/b0/4.wav", "/a/b"]):
            store.put(path, State(1, 1), sound(number))
        assert set(store.known("/a/b")) == {"/a/b/1.wav", "/a/b"}
        assert len(store.matrix("/a/b").vectors) == 6 and len(store.known("/a")) == 5


def test_copies_moves_and_changes(tmp_path: Path) -> None:
    with filled(tmp_path / "l.db", 2) as store:
        store.put("/s/copy.wav", State(100, 7), sound(0))
        store.put("/s/again.wav", State(100, 7), store.sound_of("hash0") or 0)
        assert store.info().sounds == 2 and store.info().files == 4
        assert store.rows([1])[1]["paths"] == ["/s/0.wav", "/s/again.wav", "/s/copy.wav"]
        store.drop(["/s/0.wav", "/s/copy.wav"])
        assert store.info().sounds == 2
        # another content under the last name: the old one leaves
        store.put("/s/again.wav", State(90, 9), sound(5))
        assert store.sound_of("hash0") is None and store.info().sounds == 2
        store.fail("/s/again.wav", State(80, 10), "it is empty")
        assert store.known("/s/again.wav")["/s/again.wav"].error == "it is empty" and store.info().sounds == 1
        assert store.drop_folder("/s") == 2 and store.info().files == 0 and len(store.matrix().vectors) == 0


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = b"/s/\xff\xfe.wav".decode("utf-8", "surrogateescape")
    with Library(tmp_path / "l.db", "e", D, create=True) as store:
        store.put(name, State(1, 1), sound(0))
        store.put("/s/plain.wav", State(1, 1), sound(1))
        assert set(store.known("/s")) == {name, "/s/plain.wav"} and store.rows([1])[1]["paths"] == [name]
        assert store.drop_folder("/s") == 2


def test_captions_and_tags_are_asked_for_once(tmp_path: Path) -> None:
    with filled(tmp_path / "l.db", 3) as store:
        store.put("/s/silent.wav", State(1, 1), sound(9, 0))
        assert [number for number, _ in store.without("caption", 2)] == [1, 2] and len(store.without("tags", 9)) == 3
        store.describe("caption", [(1, "A dog."), (2, "Rain.")])
        assert [number for number, _ in store.without("caption", 9)] == [3]
        store.tag_with(["a", "b"])
        store.describe("tags", [(1, [("a", 0.5)])])
        store.tag_with(["a", "b"])
        assert store.rows([1])[1]["tags"] == [["a", 0.5]] and store.rows([1])[1]["caption"] == "A dog."
        store.tag_with(["c"])
        assert store.rows([1])[1]["tags"] is None


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "l.db").base.close()
    with pytest.raises(
        MismatchError,
        match=r"made with another encoder \(encoder1, this one is encoder2\).*`rebuild` makes it again",
    ):
        Library(tmp_path / "l.db", "encoder2", D)
    with Library(tmp_path / "l.db", create=True) as store:
        store.add_root("/s")
        store.clear()
        assert store.pipeline == "" and store.roots() == ["/s"]
        store.of_pipeline("encoder2", D)


def test_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no index .*none\.db: `mats index library FOLDER` builds one"):
        Library(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("not a database, but long enough to be read as one" * 20)
    with pytest.raises(ModelError, match="is no index of mats"):
        Library(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (a)")
    other.close()
    with pytest.raises(ModelError, match="is no index of mats"):
        Library(tmp_path / "other.db", create=True)
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 7")
    newer.close()
    with pytest.raises(ModelError, match=r"made by a newer mats \(its format is 7, this one reads 1\): update mats"):
        Library(tmp_path / "newer.db", create=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        Library(tmp_path / "file" / "l.db", create=True)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    with filled(tmp_path / "l.db") as store:
        pages = store.base.execute("PRAGMA page_count").fetchone()[0]
        store.base.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UsageError, match=r"cannot be used \(database or disk is full\): make room"):
            store.put("/s/big.wav", State(1, 1), sound(50, 2000))
        assert store.info().files == 4 and len(store.matrix().vectors) == 12


def test_search_beside_a_writer(tmp_path: Path) -> None:
    with filled(tmp_path / "l.db", 2) as writer:
        writer.base.execute("BEGIN IMMEDIATE")
        writer.base.execute("DELETE FROM files")
        with Library(tmp_path / "l.db") as reader:
            assert reader.info().files == 2 and len(reader.matrix().vectors) == 6
        writer.base.execute("ROLLBACK")
        known = writer.finder()
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.extend([known("hash1"), known("none")]))
        thread.start()
        thread.join()
        assert found == [True, False]


def test_a_medium_that_takes_no_writing(tmp_path: Path) -> None:
    filled(tmp_path / "l.db").base.close()
    # the last to close takes the write-ahead log away, so the file alone is whole
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "l.db").write_bytes((tmp_path / "l.db").read_bytes())
    alone.chmod(0o555)
    try:
        with Library(alone / "l.db") as store:
            assert store.info().files == 4
    finally:
        alone.chmod(0o755)


def test_killed_while_writing(tmp_path: Path) -> None:
    """A process that dies between two statements of a transaction leaves the state before it."""
    filled(tmp_path / "l.db", 2).base.close()
    code = """
import os, sys
sys.path.insert(0, sys.argv[2])
from test_library import *
store = Library(Path(sys.argv[1]), create=True)
store.put("/s/before.wav", State(1, 1), sound(7))
store.base.execute("BEGIN IMMEDIATE")
store._insert(sound(8))
os.kill(os.getpid(), 9)
"""
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path / "l.db"), str(Path(__file__).parent)], check=False)
    assert died.returncode == -9
    with Library(tmp_path / "l.db") as store:
        assert store.info().files == 3 and store.info().sounds == 3
        assert store.base.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_one_job_at_a_time(tmp_path: Path) -> None:
    with filled(tmp_path / "l.db", 1) as first, Library(tmp_path / "l.db", create=True) as second:
        said: list[str] = []
        order: list[str] = []

        def wait() -> None:
            with second.job(lambda: said.append("waiting")):
                order.append("second")

        with first.job(lambda: said.append("first waits")):
            thread = threading.Thread(target=wait)
            thread.start()
            while not said:
                pass
            order.append("first")
        thread.join()
        assert said == ["waiting"] and order == ["first", "second"]


def test_parts_of_a_job(tmp_path: Path) -> None:
    paths = [f"x/{number}.wav" for number in range(1000)]
    parts = [[path for path in paths if in_shard(path, (number, 16))] for number in range(1, 17)]
    assert sorted(functools.reduce(operator.iadd, parts, [])) == sorted(paths) and max(map(len, parts)) < 100
    with filled(tmp_path / "a.db", 3) as one, Library(tmp_path / "b.db", "encoder1", D, create=True) as other:
        other.put("/s/2.wav", State(5, 5), sound(20))  # newer
        other.put("/t/copy.wav", State(5, 5), sound(0))
        other.fail("/t/bad.wav", State(5, 5), "bad")
        other.describe("caption", [(1, "Twenty.")])
        assert one.merge(tmp_path / "b.db") == 3
        assert one.info().files == 5 and one.info().sounds == 3 and one.sound_of("hash2") is None
        twenty = one.sound_of("hash20")
        assert (
            twenty
            and one.rows([twenty])[twenty]["caption"] == "Twenty."
            and one.rows([1])[1]["paths"] == ["/s/0.wav", "/t/copy.wav"]
        )
        assert len(one.matrix().vectors) == 9
    with Library(tmp_path / "c.db", "encoder2", D, create=True) as third, pytest.raises(MismatchError):
        third.merge(tmp_path / "a.db")


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_export(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")
    with filled(tmp_path / "l.db", 3) as store:
        store.put("/s/silent.wav", State(1, 1), sound(9, 0))
        assert export_to(store, tmp_path / f"out.{kind}", kind) == 9
        with pytest.raises(UsageError, match="cannot be written"):
            export_to(store, tmp_path / "none" / "out", kind)
    if kind == "npz":
        with np.load(tmp_path / "out.npz") as made:
            assert (
                made["path"][made["sound"][4]] == "/s/1.wav"
                and made["start"][4] == 2.5
                and np.array_equal(made["vector"][3:6], sound(1).vectors)
            )
    else:
        rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
        assert len(rows) == 9 and rows[4]["path"] == "/s/1.wav" and rows[4]["start"] == 2.5
        assert np.array_equal(np.array([row["vector"] for row in rows[3:6]], np.float16), sound(1).vectors)
