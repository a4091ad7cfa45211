"""Files and folders of ours: SHA-256 of a file; a file or folder that is there whole or not at all.

What is unfinished lies beside its place under a name that nobody can guess, made anew and reached through no link, so
that whoever else may write into the folder cannot lead a write elsewhere. It is locked while it grows; what a killed
run left is not, and the next run takes it away.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

_CHUNK = 1 << 20
_UNFINISHED = re.compile(r"\.mats-[0-9a-f]{16}\.tmp")
_BINARY = getattr(os, "O_BINARY", 0)  # of Windows
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_tidied: set[str] = set()  # folders that this process has looked through


def sha256(path: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """Of a file's bytes, in lower-case hex; `progress` is told bytes so far and in all."""
    total = path.stat().st_size
    with path.open("rb") as file:
        return sha256_of(file, (lambda done: progress(done, total)) if progress else None)


def sha256_of(file: IO[bytes], progress: Callable[[int], None] | None = None, before: bytes = b"") -> str:
    """Of `before` and what is left to read; `progress` is told bytes so far."""
    digest = hashlib.sha256(before)
    while data := file.read(_CHUNK):
        digest.update(data)
        if progress:
            progress(file.tell())
    return digest.hexdigest()


def copy(source: IO[bytes], target: IO[bytes], size: int | None = None) -> str:
    """What is left to read, `size` bytes of it if given, and its SHA-256; never more than a piece of it in memory."""
    digest, left = hashlib.sha256(), size
    while data := source.read(_CHUNK if left is None else min(left, _CHUNK)):
        digest.update(data)
        target.write(data)
        left = left and left - len(data)
    return digest.hexdigest()


def read_text(path: Path, most: int = 1 << 28) -> str:
    """UTF-8 text of a file that is one. Errors: ValueError, with what is wrong; OSError."""
    if not path.is_file():
        raise ValueError("it is not there" if not path.exists() else "it is no file")
    if (size := path.stat().st_size) > most:
        raise ValueError(f"it has {size} bytes; at most {most} are read")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if "\0" in text:
        raise ValueError("it is not text")
    return text


def read_json(path: Path, most: int = 1 << 24) -> dict[str, Any]:
    """A group of settings, as JSON. Errors: ValueError, with what is wrong; OSError."""
    return parse_json(read_text(path, most))


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Errors: ValueError, with what is wrong."""
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("it is too deep") from None
    if not isinstance(values, dict):
        raise ValueError(
            f"it should be a group of settings, not {'nothing' if values is None else type(values).__name__}"
        )
    return values


def write(path: Path, data: bytes) -> None:
    """A file whole or not at all. Errors: OSError, which names this file and not the unfinished one."""
    try:
        with whole(path) as file:
            file.write(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """To be written into; the file takes its place when the block ends well, and else leaves nothing. Errors: OSError.

    A pipe or a device, which nothing can take the place of, is written to as it is.
    """
    if _is_special(path):
        with path.open("wb") as file:
            yield file
        return
    _tidy(path.parent)
    temporary, handle = _anew(
        path.parent, lambda place: os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY, 0o666)
    )
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            if os.name == "posix":
                # while it is locked, so that nobody tidies it away before it has its name
                os.replace(temporary, path)
        if os.name != "posix":
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def whole_folder(path: Path, instead: bool = False) -> Iterator[Path]:
    """A folder to be filled, which takes its place when the block ends well, and else leaves nothing; with `instead` in
    the place of what is there.

    Errors: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with staging(path.parent) as made:
        yield made
        settle(made, path, instead)


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """An empty folder in another one, gone after the block, whatever then lies in it. Errors: OSError."""
    _tidy(parent)
    made, handle = _anew(parent, _make_folder)
    try:
        yield made
    finally:
        if made.exists():
            shutil.rmtree(made, ignore_errors=True)
        if handle >= 0:
            os.close(handle)


def settle(made: Path, path: Path, instead: bool) -> None:
    """A folder takes its place; with `instead`, what was there makes room first and is gone after. Errors: OSError."""
    if not instead or not os.path.lexists(path):
        os.replace(made, path)
        return
    with staging(path.parent) as room:
        os.replace(path, room / "old")
        try:
            os.replace(made, path)
        except BaseException:
            os.replace(room / "old", path)
            raise


def own(path: Path, flags: int) -> int:
    """A file of a name that another run must find again, opened for writing: made anew, or the user's own and reached
    through no link.

    Errors: OSError.
    """
    handle = os.open(
        path, os.O_RDWR | os.O_CREAT | (flags & ~os.O_TRUNC) | _NO_LINK | _BINARY | getattr(os, "O_NONBLOCK", 0), 0o666
    )
    if not _is_own(os.fstat(handle)):
        os.close(handle)
        raise OSError(errno.EPERM, "it is another's, or a link", str(path))
    if flags & os.O_TRUNC:
        os.truncate(handle, 0)
    return handle


def is_own(path: Path) -> bool:
    """Whether there is a file of the user's own there, and no link."""
    try:
        return _is_own(path.lstat())
    except OSError:
        return False


def _is_own(found: os.stat_result) -> bool:
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_nlink == 1
        and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())
    )


def _is_special(path: Path) -> bool:
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(kind) and not stat.S_ISDIR(kind)


# ---- names that nobody can guess


def _make_folder(place: Path) -> int:
    place.mkdir()
    return os.open(place, os.O_RDONLY | _NO_LINK) if os.name == "posix" else -1


def _anew(parent: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Something new under such a name, and its handle, locked where the system can."""
    while True:
        place = parent / f".mats-{secrets.token_hex(8)}.tmp"
        try:
            handle = make(place)
        except FileExistsError:
            continue
        # another run may have taken it for left behind between the two
        if handle < 0 or (_locked(handle) is not False and place.exists()):
            return place, handle
        os.close(handle)


def _locked(handle: int) -> bool | None:
    """False where another holds it, None where there are no locks (Windows, some network drives)."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _tidy(folder: Path) -> None:
    """What killed runs of this user left in a folder goes, once for each run; what another run is writing stays."""
    if (key := os.path.abspath(folder)) in _tidied:
        return
    _tidied.add(key)
    with contextlib.suppress(OSError):
        left = [Path(entry.path) for entry in os.scandir(folder) if _UNFINISHED.fullmatch(entry.name)]
        for place in left:
            with contextlib.suppress(OSError):
                _remove_if_left(place)


def _remove_if_left(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0))
    try:
        found: Any = os.fstat(handle)
        if hasattr(os, "geteuid") and found.st_uid == os.geteuid() and _locked(handle):
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink()
    finally:
        os.close(handle)
