"""A library of sounds in one SQLite file: files, what they hold, and a vector for each window. Any tool that speaks SQL
reads it.

files   path, its sound, size and time of change, or why it could not be heard
sounds  one row for each content, however many paths it has: SHA-256, length, format, caption, tags; `times` is float32
        (windows, 2)
        in seconds, `vectors` float16 (windows, d), `vector` float16 (d) the whole, all little-endian and of unit length
meta    `pipeline`: id of the encoder that made the vectors; `width`: d
roots   folders to bring up to date

Write-ahead logging, one transaction for each file: a killed job loses the file in work, and a search may run beside it.
A library may come from others: what it holds is checked as it is read, and numbers that are none are never compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mats_model.errors import MismatchError
from mats_model.library.database import Database
from mats_model.library.records import Info, Matrix, Sound, State

VERSION = 1
# 1.016 in the bits of a float16, whose order is that of the numbers; what is infinite or no number lies above
_ABOVE_ONE = 0x3C10
_FACTS = ("seconds", "format", "rate", "channels", "caption", "tags")
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE roots (path PRIMARY KEY);
CREATE TABLE sounds (
  id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, seconds REAL NOT NULL, format TEXT NOT NULL,
  rate INTEGER NOT NULL, channels INTEGER NOT NULL,
  caption TEXT, tags TEXT, windows INTEGER NOT NULL, times BLOB NOT NULL, vectors BLOB NOT NULL, vector BLOB NOT NULL);
CREATE TABLE files (
  path PRIMARY KEY, sound INTEGER REFERENCES sounds (id), size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, error TEXT);
CREATE INDEX files_of_sound ON files (sound);
"""


def _stored(path: str) -> str | bytes:
    """A name that is no text is kept as its bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _readable(sentence: str) -> str:
    """A sentence may name a file whose name is no text."""
    return sentence.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _under(folder: str) -> tuple[str, tuple[str | bytes, ...]]:
    """A condition on `path` for a file, or for all that lies in a folder."""
    # "0" follows "/" in every encoding of paths
    first, last = folder.rstrip(os.sep) + os.sep, folder.rstrip(os.sep) + chr(ord(os.sep) + 1)
    return (
        "(path = ? OR (path >= ? AND path < ?) OR (path >= ? AND path < ?))",
        (_stored(folder), _stored(first), _stored(last), os.fsencode(first), os.fsencode(last)),
    )


class Library(Database):
    """Opened with `with`; every method is one transaction. Errors: ModelError when it is not there, no index of ours,
    damaged, or of a newer mats; MismatchError when its vectors come from another encoder than `pipeline`; UsageError
    when the disk takes no more."""

    def __init__(self, path: Path, pipeline: str = "", width: int = 0, create: bool = False) -> None:
        super().__init__(path, _SCHEMA, VERSION, create, "`mats index library FOLDER` builds one")
        if pipeline:
            try:
                self.of_pipeline(pipeline, width)
            except BaseException:
                self.close()
                raise

    # ---- what it is

    @property
    def pipeline(self) -> str:
        """Id of the encoder whose vectors these are; "" before the first."""
        return self._meta("pipeline")

    @property
    def width(self) -> int:
        """d."""
        said = self._meta("width") or "0"
        if not said.isascii() or not said.isdigit() or len(said) > 5:
            raise self.damaged(f"the width of its vectors is {said[:20]!r}")
        return int(said)

    def _meta(self, key: str) -> str:
        found = self.one("SELECT value FROM meta WHERE key = ?", (key,))
        return str(found[0]) if found else ""

    def of_pipeline(self, pipeline: str, width: int) -> None:
        """Make sure that vectors of this encoder may be put in. Errors: MismatchError."""
        have = self.pipeline
        if have and have != pipeline:
            raise MismatchError(
                f"{self.path} was made with another encoder ({have[:40]}, this one is {pipeline}), and their vectors "
                "do not compare:"
                " `mats index library` with `rebuild` makes it again."
            )
        if have and self.width != width:
            raise self.damaged(f"its vectors have {self.width} numbers, those of its encoder {width}")
        if not have:
            with self.writing():
                self.do("INSERT OR REPLACE INTO meta VALUES ('pipeline', ?)", (pipeline,))
                self.do("INSERT OR REPLACE INTO meta VALUES ('width', ?)", (str(width),))

    def info(self) -> Info:
        """Counts and sizes."""
        # not COUNT(*) alone, which SQLite answers without counting its steps
        files, failed = self.one("SELECT COUNT(*), COUNT(error) FROM files")
        sounds, captions, windows, seconds = self.one(
            "SELECT COUNT(*), COUNT(caption), TOTAL(windows), TOTAL(seconds) FROM sounds"
        )
        if not 0 <= windows < 1e15 or not 0 <= seconds < 1e15:
            raise self.damaged("its lengths are no lengths")
        return Info(
            str(self.path),
            self.pipeline,
            files,
            sounds,
            failed,
            captions,
            int(windows),
            seconds,
            self.size(),
            self.roots(),
        )

    def roots(self) -> list[str]:
        """Folders that were given, in the order of their names."""
        return [self._named(row[0]) for row in self.ask("SELECT path FROM roots ORDER BY path")]

    def add_root(self, folder: str) -> None:
        """Remember a folder, for the next time that nothing is named."""
        with self.writing():
            self.do("INSERT OR IGNORE INTO roots VALUES (?)", (_stored(folder),))

    def clear(self) -> None:
        """Forget all but the roots, so that another encoder can hear them."""
        with self.writing():
            for table in ("files", "sounds", "meta"):
                self.do(f"DELETE FROM {table}")

    # ---- files

    def known(self, folder: str | None = None) -> dict[str, State]:
        """Path -> its state when it was read; of one folder, or of all."""
        return {path: state for path, _, state in self._files(folder)}

    def _files(self, folder: str | None = None) -> Iterator[tuple[str, int | None, State]]:
        """Path, sound and state."""
        condition, values = _under(folder) if folder else ("1", ())
        for path, sound, size, mtime, error in self.ask(
            f"SELECT path, sound, size, mtime_ns, error FROM files WHERE {condition}", values
        ):
            if (
                not isinstance(size, int)
                or not isinstance(mtime, int)
                or not isinstance(error, str | None)
                or not isinstance(sound, int | None)
            ):
                raise self.damaged("what it says of its files is no size, time or sentence")
            yield self._named(path), sound, State(size, mtime, error)

    def _named(self, stored: Any) -> str:
        """As the system names it."""
        name = os.fsdecode(stored) if isinstance(stored, str | bytes) else ""
        if not name or "\0" in name:
            raise self.damaged("it holds the name of a file that is none")
        return name

    def finder(self) -> Callable[[str], bool]:
        """Whether a content is known, by its digest; may be asked from any thread."""
        one = self.beside()
        return lambda digest: one("SELECT 1 FROM sounds WHERE hash = ?", (digest,)) is not None

    def sound_of(self, digest: str) -> int | None:
        """The sound of this content."""
        found = self.one("SELECT id FROM sounds WHERE hash = ?", (digest,))
        return int(found[0]) if found else None

    def put(self, path: str, state: State, sound: Sound | int) -> None:
        """A file and its sound, which may be known already."""
        with self.writing():
            before = self.one("SELECT sound FROM files WHERE path = ?", (_stored(path),))
            if isinstance(sound, Sound):
                known = self.sound_of(sound.hash)
                sound = self._insert(sound) if known is None else known
            self.do(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, NULL)",
                (_stored(path), sound, state.size, state.mtime_ns),
            )
            self._forget([before[0]] if before and before[0] != sound else [])

    def fail(self, path: str, state: State, why: str) -> None:
        """A file that cannot be heard: it is not tried again until it changes."""
        with self.writing():
            before = self.one("SELECT sound FROM files WHERE path = ?", (_stored(path),))
            self.do(
                "INSERT OR REPLACE INTO files VALUES (?, NULL, ?, ?, ?)",
                (_stored(path), state.size, state.mtime_ns, _readable(why)),
            )
            self._forget([before[0]] if before else [])

    def drop(self, paths: Iterable[str]) -> None:
        """Take files out, and sounds that no file is left of."""
        with self.writing():
            for path in paths:
                before = self.one("SELECT sound FROM files WHERE path = ?", (_stored(path),))
                self.do("DELETE FROM files WHERE path = ?", (_stored(path),))
                self._forget([before[0]] if before else [])

    def drop_folder(self, folder: str) -> int:
        """Take out a file, or all that lies in a folder; returns how many files that were."""
        paths = list(self.known(folder))
        self.drop(paths)
        with self.writing():
            self.do("DELETE FROM roots WHERE path = ?", (_stored(folder),))
        return len(paths)

    def _insert(self, sound: Sound) -> int:
        blobs = (
            sound.times.astype("<f4").tobytes(),
            sound.vectors.astype("<f2").tobytes(),
            sound.vector.astype("<f2").tobytes(),
        )
        cursor = self.do(
            "INSERT INTO sounds (hash, seconds, format, rate, channels, windows, times, vectors, vector) VALUES (?, "
            "?, ?, ?, ?, ?, ?, ?, ?)",
            (sound.hash, sound.seconds, sound.format, sound.sample_rate, sound.channels, len(sound.vectors), *blobs),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _forget(self, sounds: Iterable[int | None]) -> None:
        for sound in sounds:
            self.do(
                "DELETE FROM sounds WHERE id = ? AND NOT EXISTS (SELECT 1 FROM files WHERE sound = sounds.id)", (sound,)
            )

    # ---- words about them

    def without(self, column: str, most: int) -> list[tuple[int, np.ndarray]]:
        """Sounds that have no `caption` or no `tags` yet, and their vectors (d,)."""
        assert column in ("caption", "tags")
        rows = self.ask(f"SELECT id, vector FROM sounds WHERE {column} IS NULL AND windows > 0 LIMIT ?", (most,))
        return [(number, self._vectors(number, blob, 1, self.width)[0]) for number, blob in rows]

    def describe(self, column: str, said: Iterable[tuple[int, Any]]) -> None:
        """Captions as text, or tags as a list of (name, score), of sounds."""
        assert column in ("caption", "tags")
        rows = [
            (words if isinstance(words, str) else json.dumps(words, ensure_ascii=False), number)
            for number, words in said
        ]
        with self.writing():
            for row in rows:
                self.do(f"UPDATE sounds SET {column} = ? WHERE id = ?", row)

    def tag_with(self, labels: list[str]) -> None:
        """Tags that were told out of other labels are forgotten."""
        told = json.dumps(labels, ensure_ascii=False)
        if self._meta("labels") != told:
            with self.writing():
                self.do("UPDATE sounds SET tags = NULL")
                self.do("INSERT OR REPLACE INTO meta VALUES ('labels', ?)", (told,))

    # ---- vectors

    def matrix(self, folder: str | None = None) -> Matrix:
        """The windows of all sounds, or of those with a file in one folder."""
        where = "windows > 0"
        values: tuple[str | bytes, ...] = ()
        if folder:
            condition, values = _under(folder)
            where += f" AND id IN (SELECT sound FROM files WHERE {condition})"
        with self.reading():
            width = self.width
            # by what is there, not by what is said, so that no more is asked of the memory than the file holds
            bytes_ = int(self.one(f"SELECT TOTAL(length(vectors)) FROM sounds WHERE {where}", values)[0])
            if bytes_ > self.size() or (bytes_ and (not width or bytes_ % (2 * width))):
                raise self.damaged(f"its vectors are not of {width} numbers each")
            count = bytes_ // (2 * width) if width else 0
            vectors = np.empty((count, width), "<f2")
            times, sounds = np.empty((count, 2), "<f4"), np.empty(count, np.int64)
            at = 0
            for number, *row in self.ask(
                f"SELECT id, windows, times, vectors FROM sounds WHERE {where} ORDER BY id", values
            ):
                when, what = self._windows(number, row, width)
                part = slice(at, at + len(what))
                if part.stop > count:
                    raise self.damaged("its vectors are more than it holds")
                vectors[part], times[part], sounds[part] = what, when, number
                at += len(what)
        return Matrix(vectors[:at], times[:at], sounds[:at])

    def _windows(self, number: Any, row: Sequence[Any], width: int) -> tuple[np.ndarray, np.ndarray]:
        """Times (windows, 2) and vectors (windows, d) of a sound, out of its windows, times and vectors as they lie
        there. Errors: ModelError."""
        windows, times, vectors = row
        if not isinstance(windows, int) or windows < 0 or not isinstance(times, bytes) or len(times) != 8 * windows:
            raise self.damaged(f"sound {number} has not a start and an end for each of its windows")
        when = np.frombuffer(times, "<f4").reshape(windows, 2)
        # nothing is compared with a number that is none, which no comparison finds too large
        if not (when[:, 0] >= 0.0).all() or not (when[:, 1] >= when[:, 0]).all() or not (when < 1e9).all():
            raise self.damaged(f"sound {number} has windows at times that are none")
        return when, self._vectors(number, vectors, windows, width)

    def _vectors(self, number: Any, blob: Any, count: int, width: int) -> np.ndarray:
        """(count, d) of a blob: no part of a vector of unit length is above 1, and none is infinite or no number.
        Errors: ModelError."""
        if not isinstance(blob, bytes) or len(blob) != 2 * width * count:
            raise self.damaged(f"sound {number} has vectors of another width than {width}")
        bits = np.frombuffer(blob, "<u2") & 0x7FFF
        if bits.size and int(bits.max()) > _ABOVE_ONE:
            raise self.damaged(f"sound {number} has vectors that are not of unit length, or no numbers")
        return np.frombuffer(blob, "<f2").reshape(count, width)

    def rows(self, sounds: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Sound -> what is known of it, without its vectors; `paths` are all its files, by name."""
        found = {}
        for number in dict.fromkeys(sounds):
            row = self.one(f"SELECT {', '.join(_FACTS)} FROM sounds WHERE id = ?", (number,))
            if row is None:
                continue  # it left since
            paths = [
                self._named(each[0])
                for each in self.ask("SELECT path FROM files WHERE sound = ? ORDER BY path", (number,))
            ]
            found[number] = {**self._facts(number, row), "paths": paths}
        return found

    def _facts(self, number: Any, row: tuple[Any, ...]) -> dict[str, Any]:
        """`_FACTS` of a sound by name; tags as a list of [name, score]. Errors: ModelError."""
        facts = dict(zip(_FACTS, row, strict=True))
        kinds = {
            "seconds": float,
            "format": str,
            "rate": int,
            "channels": int,
            "caption": str | None,
            "tags": str | None,
        }
        wrong = next(
            (
                name
                for name, kind in kinds.items()
                if not isinstance(facts[name], kind) or _readable(str(facts[name])) != str(facts[name])
            ),
            None,
        )
        if wrong or not 0.0 <= facts["seconds"] < 1e9:
            raise self.damaged(f"the {wrong or 'length'} of sound {number} is none")
        try:
            tags = json.loads(facts["tags"]) if facts["tags"] else None
            facts["tags"] = [[str(name), float(score)] for name, score in tags] if tags is not None else None
            if facts["tags"] and not all(np.isfinite(score) for _, score in facts["tags"]):
                raise ValueError
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise self.damaged(f"the tags of sound {number} are no list of names and scores") from None
        return facts

    def export(self) -> Iterator[dict[str, Any]]:
        """Every sound with its vectors, and the first of its paths."""
        query = (
            "SELECT (SELECT MIN(path) FROM files WHERE sound = sounds.id), hash, seconds, caption, id, windows, "
            "times, vectors"
            " FROM sounds ORDER BY id"
        )
        width = self.width
        for path, digest, seconds, caption, number, *row in self.ask(query):
            when, what = self._windows(number, row, width)
            if not isinstance(digest, str) or not digest.isascii() or not isinstance(caption, str | None):
                raise self.damaged(f"the hash or the caption of sound {number} is no text")
            name = self._named(path) if path is not None else ""
            yield {"path": name, "hash": digest, "seconds": seconds, "caption": caption, "times": when, "vectors": what}

    # ---- several

    def merge(self, other: Path) -> int:
        """Take in another index, in one transaction; returns its files. A file that both know is taken from the
        other."""
        columns = (*_FACTS, "hash", "vector", "windows", "times", "vectors")
        count = 0
        with Library(other) as theirs, theirs.reading():
            width = theirs.width
            if theirs.pipeline:
                self.of_pipeline(theirs.pipeline, width)
            with self.writing():
                mine: dict[int, int | None] = {}
                for number, *row in theirs.ask(f"SELECT id, {', '.join(columns)} FROM sounds"):
                    theirs._facts(number, tuple(row[: len(_FACTS)]))
                    digest, vector, *windows = row[len(_FACTS) :]
                    if not isinstance(digest, str) or not digest.isascii():
                        raise theirs.damaged(f"the hash of sound {number} is none")
                    theirs._vectors(number, vector, 1, width)
                    theirs._windows(number, windows, width)
                    self.do(
                        f"INSERT OR IGNORE INTO sounds ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                        row,
                    )
                    mine[number] = self.sound_of(digest)
                for path, sound, state in theirs._files():
                    kept = (
                        _stored(path),
                        mine.get(sound) if sound is not None else None,
                        state.size,
                        state.mtime_ns,
                        state.error and _readable(state.error),
                    )
                    self.do("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", kept)
                    count += 1
                for folder in theirs.roots():
                    self.do("INSERT OR IGNORE INTO roots VALUES (?)", (_stored(folder),))
                self.do("DELETE FROM sounds WHERE id NOT IN (SELECT sound FROM files WHERE sound IS NOT NULL)")
        return count
