"""A library of sounds in one SQLite file: files, what they hold, and a vector for each window. Any tool that speaks SQL reads it.

files   path, its sound, size and time of change, or why it could not be heard
sounds  one row for each content, however many paths it has: SHA-256, length, format, caption, tags; `times` is float32 (windows, 2)
        in seconds, `vectors` float16 (windows, d), `vector` float16 (d) the whole, all little-endian and of unit length
meta    `pipeline`: id of the encoder that made the vectors; `width`: d
roots   folders to bring up to date

Write-ahead logging, one transaction for each file: a killed job loses the file in work, and a search may run beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mats_model.errors import MatsError, MismatchError, ModelError, UsageError

VERSION = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE roots (path PRIMARY KEY);
CREATE TABLE sounds (
  id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, seconds REAL NOT NULL, format TEXT NOT NULL, rate INTEGER NOT NULL, channels INTEGER NOT NULL,
  caption TEXT, tags TEXT, windows INTEGER NOT NULL, times BLOB NOT NULL, vectors BLOB NOT NULL, vector BLOB NOT NULL);
CREATE TABLE files (
  path PRIMARY KEY, sound INTEGER REFERENCES sounds (id), size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, error TEXT);
CREATE INDEX files_of_sound ON files (sound);
"""


@dataclass(frozen=True)
class Sound:
    """What was heard in one content; windows that are silent have no vector."""

    hash: str
    seconds: float
    format: str
    rate: int
    channels: int
    times: np.ndarray  # (windows, 2) seconds
    vectors: np.ndarray  # (windows, d) float16, unit length
    vector: np.ndarray  # (d,) float16, unit length; zeros where all is silent


@dataclass(frozen=True)
class State:
    """Of a file when it was read: the same again means that it need not be read again."""

    size: int
    mtime_ns: int
    error: str | None = None

    def same(self, other: State) -> bool:
        """Unchanged since."""
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True)
class Matrix:
    """All windows at once, in the order of their sounds."""

    vectors: np.ndarray  # (windows, d) float16
    times: np.ndarray  # (windows, 2) float32
    sounds: np.ndarray  # (windows,) ids


@dataclass
class Info:
    """What an index holds."""

    path: str
    pipeline: str
    files: int = 0
    sounds: int = 0
    failed: int = 0
    captions: int = 0
    windows: int = 0
    seconds: float = 0.0
    bytes: int = 0
    roots: list[str] = field(default_factory=list)


def state_of(path: str | Path) -> State:
    """Errors: OSError."""
    stat = os.stat(path)
    return State(stat.st_size, stat.st_mtime_ns)


def _stored(path: str) -> str | bytes:
    """A name that is no text is kept as its bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _named(stored: str | bytes) -> str:
    return os.fsdecode(stored)


def _under(folder: str) -> tuple[str, tuple[str | bytes, ...]]:
    """A condition on `path` for a file, or for all that lies in a folder."""
    # "0" follows "/" in every encoding of paths
    first, last = folder.rstrip(os.sep) + os.sep, folder.rstrip(os.sep) + chr(ord(os.sep) + 1)
    return (
        "(path = ? OR (path >= ? AND path < ?) OR (path >= ? AND path < ?))",
        (_stored(folder), _stored(first), _stored(last), os.fsencode(first), os.fsencode(last)),
    )


def in_shard(path: str, shard: tuple[int, int]) -> bool:
    """Whether a path, as it stands in the folder that was named, is of part i (from 1) of n: the same on every machine."""
    number, count = shard
    return int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:8], "big") % count == number - 1


class Library:
    """Opened with `with`; every method is one transaction. Errors: ModelError when it is not there, no index of ours, or of a newer
    mats; MismatchError when its vectors come from another encoder than `pipeline`; UsageError when the disk takes no more."""

    def __init__(self, path: Path, pipeline: str = "", width: int = 0, create: bool = False) -> None:
        self.path = path
        if not create and not path.exists():
            raise ModelError(f"there is no index {path}: `mats index library FOLDER` builds one.")
        with _sentences(path):
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            self.base = self._connect(create)
            self.base.execute("PRAGMA foreign_keys = ON")
            version = int(self.base.execute("PRAGMA user_version").fetchone()[0])
            if version > VERSION:
                raise ModelError(f"{path} was made by a newer mats (its format is {version}, this one reads {VERSION}): update mats.")
            tables = {row[0] for row in self.base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if version == 0 and not tables and not create:
                raise ModelError(f"the index {path} is empty: `mats index library FOLDER` builds one.")
            if version == 0 and tables:
                raise ModelError(f"{path} is no index of mats: give another path with --index.")
            if version == 0:
                # a number, not a text of the user's
                self.base.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        if pipeline:
            self.of_pipeline(pipeline, width)

    def _connect(self, create: bool) -> sqlite3.Connection:
        if create:
            base = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            return base
        place = self.path.absolute().as_uri()
        base = sqlite3.connect(f"{place}?mode=ro", uri=True, timeout=60, isolation_level=None)
        try:
            base.execute("PRAGMA user_version")
        except sqlite3.OperationalError:
            # on a medium that takes no writing there is nobody else to write either
            base.close()
            base = sqlite3.connect(f"{place}?mode=ro&immutable=1", uri=True, isolation_level=None)
        return base

    def __enter__(self) -> Library:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.base.close()

    # ---- what it is

    @property
    def pipeline(self) -> str:
        """Id of the encoder whose vectors these are; "" before the first."""
        return self._meta("pipeline")

    @property
    def width(self) -> int:
        """d."""
        return int(self._meta("width") or 0)

    def _meta(self, key: str) -> str:
        found = self.base.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(found[0]) if found else ""

    def of_pipeline(self, pipeline: str, width: int) -> None:
        """Make sure that vectors of this encoder may be put in. Errors: MismatchError."""
        have = self.pipeline
        if have and have != pipeline:
            raise MismatchError(
                f"{self.path} was made with another encoder ({have}, this one is {pipeline}), and their vectors do not compare:"
                " `mats index library --rebuild` makes it again."
            )
        if not have:
            with self._writing():
                self.base.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [("pipeline", pipeline), ("width", str(width))])

    def info(self) -> Info:
        """Counts and sizes."""
        count = self.base.execute
        files, failed = count("SELECT COUNT(*), COUNT(error) FROM files").fetchone()
        sounds, captions, windows, seconds = count("SELECT COUNT(*), COUNT(caption), TOTAL(windows), TOTAL(seconds) FROM sounds").fetchone()
        size = sum(p.stat().st_size for p in (self.path, Path(f"{self.path}-wal")) if p.exists())
        return Info(str(self.path), self.pipeline, files, sounds, failed, captions, int(windows), seconds, size, self.roots())

    def roots(self) -> list[str]:
        """Folders that were given, in the order of their names."""
        return [_named(row[0]) for row in self.base.execute("SELECT path FROM roots ORDER BY path")]

    def add_root(self, folder: str) -> None:
        """Remember a folder, for the next time that nothing is named."""
        with self._writing():
            self.base.execute("INSERT OR IGNORE INTO roots VALUES (?)", (_stored(folder),))

    def clear(self) -> None:
        """Forget all but the roots, so that another encoder can hear them."""
        with self._writing():
            for table in ("files", "sounds", "meta"):
                self.base.execute(f"DELETE FROM {table}")

    # ---- files

    def known(self, folder: str | None = None) -> dict[str, State]:
        """Path -> its state when it was read; of one folder, or of all."""
        condition, values = _under(folder) if folder else ("1", ())
        rows = self.base.execute(f"SELECT path, size, mtime_ns, error FROM files WHERE {condition}", values)
        return {_named(path): State(size, mtime, error) for path, size, mtime, error in rows}

    def finder(self) -> Callable[[str], bool]:
        """Whether a content is known, by its digest; may be asked from any thread."""
        base, lock = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False), threading.Lock()

        def known(digest: str) -> bool:
            with lock:
                return base.execute("SELECT 1 FROM sounds WHERE hash = ?", (digest,)).fetchone() is not None

        return known

    def sound_of(self, digest: str) -> int | None:
        """The sound of this content."""
        found = self.base.execute("SELECT id FROM sounds WHERE hash = ?", (digest,)).fetchone()
        return int(found[0]) if found else None

    def put(self, path: str, state: State, sound: Sound | int) -> None:
        """A file and its sound, which may be known already."""
        with self._writing():
            before = self.base.execute("SELECT sound FROM files WHERE path = ?", (_stored(path),)).fetchone()
            if isinstance(sound, Sound):
                known = self.sound_of(sound.hash)
                sound = self._insert(sound) if known is None else known
            self.base.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, NULL)", (_stored(path), sound, state.size, state.mtime_ns))
            self._forget([before[0]] if before and before[0] != sound else [])

    def fail(self, path: str, state: State, why: str) -> None:
        """A file that cannot be heard: it is not tried again until it changes."""
        with self._writing():
            before = self.base.execute("SELECT sound FROM files WHERE path = ?", (_stored(path),)).fetchone()
            # the sentence may hold a name that is no text
            told = os.fsencode(why).decode("utf-8", "backslashreplace")
            self.base.execute("INSERT OR REPLACE INTO files VALUES (?, NULL, ?, ?, ?)", (_stored(path), state.size, state.mtime_ns, told))
            self._forget([before[0]] if before else [])

    def drop(self, paths: Iterable[str]) -> None:
        """Take files out, and sounds that no file is left of."""
        with self._writing():
            for path in paths:
                before = self.base.execute("SELECT sound FROM files WHERE path = ?", (_stored(path),)).fetchone()
                self.base.execute("DELETE FROM files WHERE path = ?", (_stored(path),))
                self._forget([before[0]] if before else [])

    def drop_folder(self, folder: str) -> int:
        """Take out a file, or all that lies in a folder; returns how many files that were."""
        paths = list(self.known(folder))
        self.drop(paths)
        with self._writing():
            self.base.execute("DELETE FROM roots WHERE path = ?", (_stored(folder),))
        return len(paths)

    def _insert(self, sound: Sound) -> int:
        blobs = (sound.times.astype("<f4").tobytes(), sound.vectors.astype("<f2").tobytes(), sound.vector.astype("<f2").tobytes())
        cursor = self.base.execute(
            "INSERT INTO sounds (hash, seconds, format, rate, channels, windows, times, vectors, vector) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (sound.hash, sound.seconds, sound.format, sound.rate, sound.channels, len(sound.vectors), *blobs),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _forget(self, sounds: Iterable[int | None]) -> None:
        for sound in sounds:
            self.base.execute("DELETE FROM sounds WHERE id = ? AND NOT EXISTS (SELECT 1 FROM files WHERE sound = sounds.id)", (sound,))

    # ---- words about them

    def without(self, column: str, most: int) -> list[tuple[int, np.ndarray]]:
        """Sounds that have no `caption` or no `tags` yet, and their vectors (d,)."""
        assert column in ("caption", "tags")
        rows = self.base.execute(f"SELECT id, vector FROM sounds WHERE {column} IS NULL AND windows > 0 LIMIT ?", (most,))
        return [(number, np.frombuffer(blob, "<f2")) for number, blob in rows]

    def describe(self, column: str, said: Iterable[tuple[int, Any]]) -> None:
        """Captions as text, or tags as a list of (name, score), of sounds."""
        assert column in ("caption", "tags")
        rows = [(words if isinstance(words, str) else json.dumps(words, ensure_ascii=False), number) for number, words in said]
        with self._writing():
            self.base.executemany(f"UPDATE sounds SET {column} = ? WHERE id = ?", rows)

    def tag_with(self, labels: list[str]) -> None:
        """Tags that were told out of other labels are forgotten."""
        told = json.dumps(labels, ensure_ascii=False)
        if self._meta("labels") != told:
            with self._writing():
                self.base.execute("UPDATE sounds SET tags = NULL")
                self.base.execute("INSERT OR REPLACE INTO meta VALUES ('labels', ?)", (told,))

    # ---- vectors

    def matrix(self, folder: str | None = None) -> Matrix:
        """The windows of all sounds, or of those with a file in one folder."""
        where = "windows > 0"
        values: tuple[str | bytes, ...] = ()
        if folder:
            condition, values = _under(folder)
            where += f" AND id IN (SELECT sound FROM files WHERE {condition})"
        with self._reading():
            count = int(self.base.execute(f"SELECT TOTAL(windows) FROM sounds WHERE {where}", values).fetchone()[0])
            vectors = np.empty((count, self.width), "<f2")
            times, sounds = np.empty((count, 2), "<f4"), np.empty(count, np.int64)
            at = 0
            for number, windows, when, what in self.base.execute(f"SELECT id, windows, times, vectors FROM sounds WHERE {where} ORDER BY id", values):
                part = slice(at, at + windows)
                vectors[part] = np.frombuffer(what, "<f2").reshape(windows, -1)
                times[part], sounds[part] = np.frombuffer(when, "<f4").reshape(windows, 2), number
                at += windows
        return Matrix(vectors, times, sounds)

    def rows(self, sounds: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Sound -> what is known of it, without its vectors; `paths` are all its files, by name."""
        found = {}
        for number in dict.fromkeys(sounds):
            row = self.base.execute("SELECT seconds, format, rate, channels, caption, tags FROM sounds WHERE id = ?", (number,)).fetchone()
            if row is None:
                continue  # it left since
            paths = [_named(each[0]) for each in self.base.execute("SELECT path FROM files WHERE sound = ? ORDER BY path", (number,))]
            names = ("seconds", "format", "rate", "channels", "caption", "tags")
            found[number] = {**dict(zip(names, row, strict=True)), "tags": json.loads(row[5]) if row[5] else None, "paths": paths}
        return found

    def export(self) -> Iterator[dict[str, Any]]:
        """Every sound with its vectors, and the first of its paths."""
        query = (
            "SELECT (SELECT MIN(path) FROM files WHERE sound = sounds.id), hash, seconds, caption, windows, times, vectors FROM sounds ORDER BY id"
        )
        for path, digest, seconds, caption, windows, times, vectors in self.base.execute(query):
            shaped = {
                "times": np.frombuffer(times, "<f4").reshape(windows, 2),
                "vectors": np.frombuffer(vectors, "<f2").reshape(windows, self.width or -1),
            }
            yield {"path": _named(path or ""), "hash": digest, "seconds": seconds, "caption": caption, **shaped}

    # ---- several

    def merge(self, other: Path) -> int:
        """Take in another index, in one transaction; returns its files. A file that both know is taken from the other."""
        with Library(other) as theirs:
            if theirs.pipeline:
                self.of_pipeline(theirs.pipeline, theirs.width)
        with _sentences(self.path):
            self.base.execute("ATTACH DATABASE ? AS other", (str(other),))
        try:
            with self._writing():
                columns = "hash, seconds, format, rate, channels, caption, tags, windows, times, vectors, vector"
                self.base.execute(f"INSERT OR IGNORE INTO main.sounds ({columns}) SELECT {columns} FROM other.sounds")
                self.base.execute(
                    "INSERT OR REPLACE INTO main.files SELECT f.path, mine.id, f.size, f.mtime_ns, f.error FROM other.files f"
                    " LEFT JOIN other.sounds s ON s.id = f.sound LEFT JOIN main.sounds mine ON mine.hash = s.hash"
                )
                self.base.execute("INSERT OR IGNORE INTO main.roots SELECT path FROM other.roots")
                self.base.execute("DELETE FROM main.sounds WHERE id NOT IN (SELECT sound FROM main.files WHERE sound IS NOT NULL)")
            return int(self.base.execute("SELECT COUNT(*) FROM other.files").fetchone()[0])
        finally:
            self.base.execute("DETACH DATABASE other")

    @contextlib.contextmanager
    def job(self, waiting: Callable[[], None]) -> Iterator[None]:
        """One writing job at a time: a second one says so through `waiting` and waits. The operating system takes the lock off a
        job that was killed."""
        lock = sqlite3.connect(f"{self.path}.lock", timeout=0, isolation_level=None)
        told = False
        try:
            while True:
                try:
                    lock.execute("BEGIN EXCLUSIVE")
                    break
                except sqlite3.OperationalError:
                    if not told:
                        waiting()
                    told = True
                    time.sleep(0.3)
            yield
        finally:
            lock.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with _sentences(self.path):
            self.base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.base.execute("COMMIT")
            except BaseException:
                if self.base.in_transaction:
                    self.base.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """One state of the store, whoever writes meanwhile."""
        with _sentences(self.path):
            self.base.execute("BEGIN")
            try:
                yield
            finally:
                self.base.execute("COMMIT")


@contextlib.contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """What SQLite refuses, in a sentence."""
    try:
        yield
    except MatsError:
        raise
    except sqlite3.OperationalError as error:
        raise UsageError(f"the index {path} cannot be used ({error}): make room, or give another path with --index.") from None
    except sqlite3.DatabaseError as error:
        raise ModelError(f"{path} is no index of mats, or is damaged ({error}): remove it and build it again.") from None
    except OSError as error:
        raise UsageError(f"the index {path} cannot be used ({error.strerror}): give another path with --index.") from None
