"""A library is one file, wherever it is left; and a file that was crafted gives a sentence, at once, and is not
changed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from test_library import D, filled, sound

from mats_model.errors import MatsError, ModelError, UsageError
from mats_model.library import database
from mats_model.library.export import export_to
from mats_model.library.records import State
from mats_model.library.search import Query, Searcher
from mats_model.library.store import Library


def beside(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if each.name.startswith(path.name))


def test_closed_it_is_one_file(tmp_path: Path) -> None:
    place = tmp_path / "l.db"
    with filled(place) as store:
        known = store.finder()
        assert known("hash1") and beside(place) == ["l.db", "l.db-shm", "l.db-wal"]
    assert beside(place) == ["l.db"]
    with pytest.raises(ModelError):
        known("hash1")
    shutil.copy(place, tmp_path / "copy.db")
    for path in (place, tmp_path / "copy.db"):
        with Library(path) as store:
            assert store.info().files == 4 and len(store.matrix().vectors) == 12
        # readers leave nothing either
        assert beside(path) == [path.name]


def test_stopped_it_is_one_file(tmp_path: Path) -> None:
    place = tmp_path / "l.db"
    with pytest.raises(KeyboardInterrupt), filled(place) as store:
        store.finder()("hash1")
        raise KeyboardInterrupt
    assert beside(place) == ["l.db"]


def test_a_reader_beside_the_end_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_LEAVING", 50)
    place = tmp_path / "l.db"
    store = filled(place)
    with Library(place) as reader:
        store.close()
        # the file is whole although the reader is there
        shutil.copy(place, tmp_path / "copy.db")
        assert len(reader.matrix().vectors) == 12
    with Library(tmp_path / "copy.db") as copy:
        assert copy.info().files == 4


@pytest.fixture
def closed_folder() -> Iterator[Callable[[Path], contextlib.AbstractContextManager[None]]]:
    """A folder that takes no writing, for root neither."""

    @contextlib.contextmanager
    def closed(folder: Path) -> Iterator[None]:
        root = os.geteuid() == 0
        folder.chmod(0o555)
        for each in folder.iterdir():
            each.chmod(0o444)
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)

    yield closed


def test_a_log_where_nothing_may_be_written(
    tmp_path: Path, closed_folder: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    """As a killed job leaves it: all rows, or a sentence; never some of them."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        store = filled(tmp_path / "l.db")
        for ending in ("", "-wal"):
            shutil.copy(tmp_path / f"l.db{ending}", folder / f"l.db{ending}")
        store.close()
        with closed_folder(folder):
            for _ in range(2):
                with pytest.raises(
                    ModelError, match=r"a part of it lies in l\.db-wal and cannot be read in this folder: copy both"
                ):
                    Library(folder / "l.db")
        with Library(folder / "l.db") as store:
            assert store.info().files == 4
        with Library(folder / "l.db", create=True):
            pass
        assert beside(folder / "l.db") == ["l.db"]
        with closed_folder(folder), Library(folder / "l.db") as store:
            assert store.info().files == 4 and len(store.matrix().vectors) == 12


def test_merge_and_export_of_what_was_killed(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    part = tmp_path / "killed" / "part.db"
    store = filled(tmp_path / "l.db")
    for ending in ("", "-wal"):
        shutil.copy(tmp_path / f"l.db{ending}", f"{part}{ending}")
    store.close()
    with Library(tmp_path / "all.db", create=True) as whole:
        assert whole.merge(part) == 4 and whole.info().windows == 12
    with Library(part) as store:
        assert export_to(store, tmp_path / "out.npz", "npz") == 12


def test_a_foreign_database_is_never_changed(tmp_path: Path) -> None:
    made = {
        "table": "CREATE TABLE mine (a); INSERT INTO mine VALUES (1)",
        "alike": "CREATE TABLE files (path, size); CREATE TABLE sounds (id); PRAGMA user_version = 1",
        "newer": "CREATE TABLE mine (a); PRAGMA user_version = 7",
        "wal": "PRAGMA journal_mode = WAL; CREATE TABLE mine (a)",
    }
    for name, script in made.items():
        path = tmp_path / f"{name}.db"
        base = sqlite3.connect(path, isolation_level=None)
        base.executescript(script)
        base.close()
        before = path.read_bytes()
        for create in (False, True):
            with pytest.raises(ModelError, match="is no index of mats"):
                Library(path, "encoder1", D, create=create)
        assert path.read_bytes() == before, name


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.db")
    for path in (tmp_path / "pipe.db", tmp_path, Path("/dev/zero")):
        for create in (False, True):
            with pytest.raises(ModelError, match="is no index of mats, and no file"):
                Library(path, create=create)
    with filled(tmp_path / "l.db") as store:
        (tmp_path / "l.db.lock").write_text("not a database, but as long as one would be " * 40)
        with pytest.raises(UsageError, match=r"l\.db\.lock cannot be used"), store.job(lambda: None):
            pass
        (tmp_path / "l.db.lock").unlink()
        os.mkfifo(tmp_path / "l.db.lock")
        with pytest.raises(UsageError, match=r"l\.db\.lock is in the way"), store.job(lambda: None):
            pass


# ---- crafted


def everything(path: Path) -> None:
    """All that can be asked of a library."""
    with Library(path) as store:
        store.info()
        store.known()
        found = store.matrix()
        list(Searcher(found).best(Query(np.eye(D, dtype=np.float32)[:1], np.zeros((0, D), np.float32))))
        store.rows(range(1, 9))
    with Library(path) as store:
        list(store.export())
    with Library(path.with_name("merged.db"), create=True) as target:
        target.merge(path)
    with Library(path, "encoder1", D, create=True) as store:
        store.without("caption", 9)
        store.put("/s/new.wav", State(1, 1), sound(77))
        store.fail("/s/1.wav", State(1, 1), "bad")
        store.drop(["/s/0.wav"])


def refused(path: Path) -> str:
    """The sentence, which comes at once."""
    began = time.monotonic()
    with pytest.raises(MatsError) as error:
        everything(path)
    assert time.monotonic() - began < 2 and error.value.exit_code in (5, 6) and "\n" not in str(error.value), (
        error.value
    )
    path.with_name("merged.db").unlink(missing_ok=True)
    return str(error.value)


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS path, i AS sound, i AS size, i AS "
    "mtime_ns, i AS error FROM n"
)
NAN, INF, LONG = (np.full((3, D), value, "<f2").tobytes() for value in (np.nan, np.inf, 0.9))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE sounds SET vectors = substr(vectors, 3)", "not of 8 numbers each"),
        ("UPDATE sounds SET vectors = substr(vectors, 17) WHERE id = 2", "sound 2 has vectors of another width than 8"),
        (
            "UPDATE meta SET value = '16' WHERE key = 'width'",
            "(another width than 16|its vectors have 16|not of 16 numbers)",
        ),
        ("UPDATE meta SET value = '0' WHERE key = 'width'", "not of 0 numbers each"),
        (
            "UPDATE meta SET value = '99999999999999999999' WHERE key = 'width'",
            "the width of its vectors is '99999999999999999999'",
        ),
        ("UPDATE meta SET value = x'ff' WHERE key = 'width'", "the width of its vectors is"),
        ("UPDATE sounds SET windows = 1000000000000 WHERE id = 2", "a start and an end for each"),
        ("UPDATE sounds SET windows = 'many' WHERE id = 2", "a start and an end for each"),
        ("UPDATE sounds SET windows = 2.5 WHERE id = 2", "a start and an end for each"),
        ("UPDATE sounds SET windows = -1 WHERE id = 2", "(a start and an end|another width)"),
        (("UPDATE sounds SET vectors = ? WHERE id = 2", NAN), "not of unit length, or no numbers"),
        (("UPDATE sounds SET vectors = ? WHERE id = 2", INF), "not of unit length, or no numbers"),
        (("UPDATE sounds SET vectors = ? WHERE id = 2", LONG), "not of unit length, which would come first"),
        (("UPDATE sounds SET vector = ? WHERE id = 2", NAN[: 2 * D]), "not of unit length, or no numbers"),
        (("UPDATE sounds SET times = ? WHERE id = 2", np.full(6, np.nan, "<f4").tobytes()), "at times that are none"),
        (("UPDATE sounds SET times = ? WHERE id = 2", np.array([5, 1] * 3, "<f4").tobytes()), "at times that are none"),
        ("UPDATE sounds SET seconds = 9e999", "(its lengths|length of sound)"),
        ("UPDATE sounds SET seconds = 'long' WHERE id = 2", "the seconds of sound 2"),
        ("UPDATE sounds SET caption = x'00ff' WHERE id = 2", "the caption of sound 2"),
        ("UPDATE sounds SET tags = '[[1' WHERE id = 2", "the tags of sound 2"),
        (("UPDATE sounds SET tags = ? WHERE id = 2", "[" * 100_000), "the tags of sound 2"),
        ("UPDATE sounds SET tags = '[[\"a\", 1e999]]' WHERE id = 2", "the tags of sound 2"),
        ("UPDATE files SET path = NULL WHERE sound = 2", "the name of a file that is none"),
        ("UPDATE files SET path = 7 WHERE sound = 2", "the name of a file that is none"),
        ("UPDATE files SET path = 'a' || char(0) WHERE sound = 2", "the name of a file that is none"),
        ("UPDATE files SET size = 'big' WHERE sound = 2", "no size, time or sentence"),
        ("UPDATE files SET error = x'41' WHERE sound = 2", "no size, time or sentence"),
        ("DROP TABLE files; CREATE VIEW files AS " + ENDLESS, "is no index of mats: give another path"),
        ("CREATE VIEW more AS " + ENDLESS, "is no index of mats: give another path"),
        (
            "CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END",
            "is no index of mats: give another path",
        ),
        ("CREATE TABLE more (a)", "is no index of mats: give another path"),
        ("CREATE INDEX more ON files (size)", "is no index of mats: give another path"),
        ("DROP INDEX files_of_sound", "is no index of mats: give another path"),
        ("ALTER TABLE files ADD COLUMN more", "is no index of mats: give another path"),
        (
            # a name that SQLite keeps for itself hides nothing
            "CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END; PRAGMA writable_schema = ON;"
            "UPDATE sqlite_master SET type = 'table', name = 'sqlite_stat1' WHERE type = 'trigger'",
            "is no index of mats",
        ),
    ],
)
def test_crafted_rows(tmp_path: Path, change: str | tuple[str, bytes | str], said: str) -> None:
    path = tmp_path / "l.db"
    filled(path).close()
    base = sqlite3.connect(path, isolation_level=None)
    if isinstance(change, str):
        base.executescript(change)
    else:
        base.execute(change[0], (change[1],))
    base.close()
    assert re.search(said, sentence := refused(path)), sentence


def test_statistics_are_no_craft(tmp_path: Path) -> None:
    filled(tmp_path / "l.db").close()
    base = sqlite3.connect(tmp_path / "l.db")
    base.execute("ANALYZE")
    base.close()
    everything(tmp_path / "l.db")


def pages(path: Path, table: str, many: int) -> tuple[bytearray, int, int]:
    """A file of short names, its page size, and the page where a table begins."""
    with Library(path, "encoder1", D, create=True) as store, store.writing():
        for number in range(many):
            store.do("INSERT INTO files VALUES (?, NULL, 1, 1, 'x')", (f"/s/{number}",))
    base = sqlite3.connect(path)
    root = base.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    size = base.execute("PRAGMA page_size").fetchone()[0]
    base.close()
    return bytearray(path.read_bytes()), size, root


def branch(size: int, child: int, many: int) -> bytes:
    """A page of a table's tree whose every child is one and the same."""
    cells = b"".join(struct.pack(">IB", child, 1 + number % 100) for number in range(many))
    start = size - len(cells)
    head = struct.pack(">BHHHBI", 5, 0, many, start, 0, child) + b"".join(
        struct.pack(">H", start + 5 * number) for number in range(many)
    )
    return head.ljust(start, b"\0") + cells


def test_pages_in_circles(tmp_path: Path) -> None:
    """Three pages of 500 children each, all the same: more rows than could be counted in a year."""
    path = tmp_path / "l.db"
    data, size, root = pages(path, "files", 40)
    count = len(data) // size
    leaf = bytes(data[(root - 1) * size : root * size])
    made = [branch(size, count + 2, 500), branch(size, count + 3, 500), leaf]
    data[(root - 1) * size : root * size] = branch(size, count + 1, 500)
    data += b"".join(made)
    data[28:32] = struct.pack(">I", len(data) // size)
    path.write_bytes(data)
    for ask in (Library.info, Library.known):
        began = time.monotonic()
        with (
            pytest.raises(ModelError, match=r"(does not come to an end|more than fits into it|malformed)"),
            Library(path) as store,
        ):
            ask(store)
            store.known()
        assert time.monotonic() - began < 1
    refused(path)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes(tmp_path: Path, seed: int) -> None:
    """Any bytes in any place: a sentence, or an answer; no other error and no wait."""
    rng = np.random.default_rng(seed)
    filled(tmp_path / "good.db", 40).close()
    good = (tmp_path / "good.db").read_bytes()
    for number in range(25):
        data = bytearray(good)
        for at in rng.integers(0, len(data), 1 + number * 4):
            data[at] = rng.integers(0, 256)
        if number % 5 == 4:
            data = data[: rng.integers(1, len(data))]
        path = tmp_path / f"{number}.db"
        path.write_bytes(data)
        with contextlib.suppress(MatsError):
            everything(path)
        path.with_name("merged.db").unlink(missing_ok=True)


def test_a_sentence_about_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = b"/s/\xff.wav".decode("utf-8", "surrogateescape")
    with Library(tmp_path / "l.db", "e", D, create=True) as store:
        store.fail(name, State(1, 1), f"{name} is empty (0 bytes).")
        assert store.known()[name].error == "/s/\\xff.wav is empty (0 bytes)."
