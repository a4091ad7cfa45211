"""An SQLite file that may come from anywhere: opened only where it is exactly what it should be, read within bounds,
left as one file.

A crafted file can hold views that never end, pages that lead in circles, or lengths that fill the memory. So nothing is
asked of a file whose schema is not ours word for word, and each question may take so many steps, rows and bytes as a
file of this length can honestly need.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from mats_model.errors import MatsError, ModelError, UsageError

Self = TypeVar("Self", bound="Database")
_PATIENCE = 60.0  # seconds, for another process that writes
_LEAVING = 10_000  # milliseconds, for another that reads when this one ends
_STEPS = 10_000  # of SQLite's machine between two looks at how many there were
_BUSY = ("database is locked", "database table is locked", "database schema is locked")
# what SQLite makes of itself: the indexes of keys, and the statistics of ANALYZE
_OWN = re.compile(r"index sqlite_autoindex_\w+ None|table sqlite_stat[14] CREATE TABLE sqlite_stat.*")


class Database:
    """Opened with `with`. While it is written a write-ahead log lies beside it; closed, it is one file.

    Errors: ModelError where it is not there, none of ours, or damaged; UsageError where the disk takes no more.
    """

    def __init__(self, path: Path, schema: str, version: int, create: bool, how: str) -> None:
        """`how` says how an index is made."""
        self.path, self.how, self.writes = path, how, create
        self._schema, self._version = [_one_line(each) for each in schema.split(";") if each.strip()], version
        self._beside: list[tuple[sqlite3.Connection, threading.Lock]] = []
        if not create and not path.exists():
            raise ModelError(f"there is no index {path}: {how}.")
        if path.exists() and not path.is_file():
            raise ModelError(f"{path} is no index of mats, and no file: give another path for the index.")
        with self._sentences():
            # what is not ours is never written to, so it is looked at before anything may write
            if not create or (path.exists() and path.stat().st_size):
                self.base = self._readable()
                self._check(create)
                if _left(path, "-journal"):
                    self._mend()
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
                self.base = self._writable()
                self._check(create)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """What was written moves into the file, and the log goes; where another process reads meanwhile, it stays
        there, empty."""
        for base, lock in self._beside:
            with lock:
                base.close()
        self._beside.clear()
        if self.writes:
            self.writes = False
            with contextlib.suppress(sqlite3.Error):
                self.base.execute(f"PRAGMA busy_timeout = {_LEAVING}")
                self.base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # a file that says of itself that it has a log cannot be read everywhere, and its readers leave files beside
            # it
            with contextlib.suppress(sqlite3.Error):
                self.base.execute("PRAGMA journal_mode = DELETE")
        self.base.close()

    # ---- opening

    def _connect(self, how: str = "", **more: Any) -> sqlite3.Connection:
        base = sqlite3.connect(
            f"{self.path.absolute().as_uri()}{how}", uri=True, timeout=_PATIENCE, isolation_level=None, **more
        )
        # bytes that are no UTF-8 stay recognisable, as in names of files
        base.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        for rule in ("trusted_schema = OFF", "cell_size_check = ON", "foreign_keys = ON"):
            base.execute(f"PRAGMA {rule}")
        return base

    def _readable(self) -> sqlite3.Connection:
        base = self._connect("?mode=ro")
        try:
            base.execute("SELECT 1 FROM sqlite_master").fetchone()
            return base
        except sqlite3.OperationalError as error:
            base.close()
            if str(error) in _BUSY:
                raise
        except BaseException:
            base.close()
            raise
        if _left(self.path, "-wal"):
            raise ModelError(
                f"{self.path}: a part of it lies in {self.path.name}-wal and cannot be read in this folder: copy both "
                "to another one."
            )
        # on a medium that takes no writing there is nobody else to write either
        return self._connect("?mode=ro&immutable=1")

    def _mend(self) -> None:
        """A killed writer's last step is undone, by SQLite itself, which may write for that."""
        self.base.close()
        try:
            with contextlib.closing(self._connect("?mode=rw")) as base:
                base.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            raise ModelError(
                f"{self.path} was left in mid-work ({self.path.name}-journal), and its folder takes no writing: copy "
                "both."
            ) from None
        self.base = self._connect("?mode=ro")

    def _writable(self) -> sqlite3.Connection:
        if getattr(self, "base", None):
            self.base.close()
        base = self._connect()
        try:
            # where a reader will not make room for the log, writers and readers wait for each other, and no more
            with contextlib.suppress(sqlite3.OperationalError):
                base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            base.execute("BEGIN IMMEDIATE")
            if (
                not base.execute("SELECT 1 FROM sqlite_master").fetchone()
                and not base.execute("PRAGMA user_version").fetchone()[0]
            ):
                for statement in self._schema:
                    base.execute(statement)
                base.execute(f"PRAGMA user_version = {self._version}")  # a number, not a text of the user's
            base.execute("COMMIT")
        except BaseException:
            base.close()
            raise
        return base

    def _check(self, create: bool) -> None:
        """That this is a file of ours and of this version, or one without anything in it, which may become one. Else it
        is closed."""
        try:
            version = int(self.one("PRAGMA user_version")[0])
            found: set[str] = set()
            for kind, name, said in self.ask("SELECT type, name, sql FROM sqlite_master"):
                if not _OWN.fullmatch(f"{kind} {name} {said}"):
                    found.add(_one_line(str(said)))
                if len(found) > len(self._schema):
                    break
            if version > self._version and found <= set(self._schema):
                raise ModelError(
                    f"{self.path} was made by a newer mats (its format is {version}, this one reads {self._version}): "
                    "update mats."
                )
            if version == 0 and not found:
                if not create:
                    raise ModelError(f"the index {self.path} is empty: {self.how}.")
            elif version != self._version or found != set(self._schema):
                raise ModelError(f"{self.path} is no index of mats: give another path for the index.")
        except BaseException:
            self.base.close()
            raise

    # ---- questions

    def ask(self, question: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows, one by one; more than the file can hold are an error."""
        size = self.size()
        rows, much = size // 4 + 1000, 2 * size + (1 << 20)
        with self._sentences():
            for row in self._run(question, values):
                rows, much = rows - 1, much - sum(len(cell) for cell in row if isinstance(cell, (str, bytes)))
                if rows < 0 or much < 0:
                    raise self.damaged("it holds more than fits into it")
                yield row

    def one(self, question: str, values: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        with self._sentences():
            return self._run(question, values).fetchone()

    def do(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """A statement that writes; within `writing`."""
        with self._sentences():
            return self._run(statement, values)

    def _run(self, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        # no Python runs in between, so that a signal is never taken for damage; the end of the steps is a
        # StopIteration, which stops it
        steps = itertools.repeat(0, (5_000_000 + 2 * self.size()) // _STEPS)
        self.base.set_progress_handler(steps.__next__, _STEPS)
        return self.base.execute(statement, values)

    def size(self) -> int:
        """Bytes, with those of the log."""
        return sum(place.stat().st_size for place in (self.path, Path(f"{self.path}-wal")) if place.exists())

    def beside(self) -> Callable[[str, Sequence[Any]], Any]:
        """`one` over another connection, for any thread; it is closed with this one."""
        base, lock = self._connect("?mode=ro", check_same_thread=False), threading.Lock()
        self._beside.append((base, lock))

        def one(question: str, values: Sequence[Any]) -> Any:
            with lock, self._sentences():
                return base.execute(question, values).fetchone()

        return one

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """All of it or nothing."""
        with self._sentences():
            self.base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.base.execute("COMMIT")
            except BaseException:
                if self.base.in_transaction:
                    self.base.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """One state of the file, whoever writes meanwhile."""
        with self._sentences():
            if self.base.in_transaction:
                yield
                return
            self.base.execute("BEGIN")
            try:
                yield
            finally:
                if self.base.in_transaction:  # damage may have ended it
                    self.base.execute("COMMIT")

    @contextlib.contextmanager
    def job(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """One writing job at a time: a second one says so through `waiting` and waits. The operating system takes the
        lock off a job that was killed."""
        place = Path(f"{self.path}.lock")
        if place.exists() and not place.is_file():
            raise UsageError(f"{place} is in the way, and no file: remove it.")
        lock = sqlite3.connect(place, timeout=0, isolation_level=None)
        told = False
        try:
            while True:
                try:
                    lock.execute("BEGIN EXCLUSIVE")
                    break
                except sqlite3.Error as error:
                    if str(error) not in _BUSY:
                        raise UsageError(f"{place} cannot be used ({error}): remove it.") from None
                    if not told:
                        waiting()
                    told = True
                    time.sleep(0.3)
            yield
        finally:
            lock.close()

    # ---- sentences

    def damaged(self, why: str) -> ModelError:
        """To be raised."""
        return ModelError(f"{self.path} is no index of mats, or is damaged ({why}): remove it and build it again.")

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """What SQLite refuses, in a sentence."""
        try:
            yield
        except MatsError:
            raise
        except sqlite3.OperationalError as error:
            if str(error) == "interrupted":
                raise self.damaged("it does not come to an end") from None
            # a file may say of itself that it is not to be written or read
            closed = str(error) == "attempt to write a readonly database" and all(
                os.access(each, os.W_OK) for each in (self.path, self.path.parent)
            )
            if closed or str(error) == "unsupported file format":
                raise self.damaged(str(error)) from None
            raise UsageError(
                f"the index {self.path} cannot be used ({error}): make room, or give another path for it."
            ) from None
        except sqlite3.DatabaseError as error:
            raise self.damaged(str(error)) from None
        except UnicodeDecodeError:
            # what SQLite has to say would name a thing of the file whose name is none
            raise self.damaged("its names are no text") from None
        except OSError as error:
            raise UsageError(
                f"the index {self.path} cannot be used ({error.strerror}): give another path for it."
            ) from None


def _one_line(statement: str) -> str:
    return " ".join(statement.split())


def _left(path: Path, ending: str) -> bool:
    """Whether a log lies beside a file, with something in it."""
    log = Path(f"{path}{ending}")
    return log.exists() and log.stat().st_size > 0
