"""Bytes of a handle as a decoder should see them: stretches of the file, with other bytes between them where a header
was wrong."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

Piece = bytes | tuple[int, int]  # bytes of our own, or [first, end) of the file


class View(io.RawIOBase):
    """A file made of pieces. It never raises into the C code that reads it: an error is kept in `failed`, and the bytes
    end there."""

    def __init__(self, handle: Any, pieces: Sequence[Piece]) -> None:
        self.handle, self.pieces = handle, [piece for piece in pieces if _length(piece) > 0]
        self.starts = [0]
        for piece in self.pieces:
            self.starts.append(self.starts[-1] + _length(piece))
        self.size = self.starts[-1]
        self.at = 0
        self.failed: OSError | None = None
        self._lent = -1  # the file's descriptor, where somebody else reads by it

    def lend(self) -> int | None:
        """The descriptor of a file that is seen as it is, from its beginning, for C code that reads by itself and so in
        a tenth of the time; `returned` says how it went."""
        if self.pieces != [(0, self.size)] or not hasattr(self.handle, "fileno"):
            return None
        try:
            number = int(self.handle.fileno())
            if os.fstat(number).st_size != self.size or os.lseek(number, 0, os.SEEK_SET):
                return None
        except OSError:
            return None
        self._lent = number
        return number

    def returned(self) -> None:
        """Where the reading stopped, and whether the bytes end there because they cannot be read."""
        if self._lent < 0:
            return
        try:
            self.at = os.lseek(self._lent, 0, os.SEEK_CUR)
            os.read(self._lent, 1)
            os.lseek(self._lent, self.at, os.SEEK_SET)
        except OSError as error:
            self.failed = error

    def readable(self) -> bool:
        """As files are."""
        return True

    def seekable(self) -> bool:
        """As files are."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position, or -1 where there is none."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}.get(whence)
        if base is None or base + offset < 0:
            return -1
        self.at = base + offset
        return self.at

    def readinto(self, buffer: Any) -> int:
        """Fills all of it, unless the bytes end."""
        wanted = memoryview(buffer).cast("B")
        done = 0
        while done < len(wanted) and self.at < self.size and self.failed is None:
            number = bisect_right(self.starts, self.at) - 1
            piece, inside = self.pieces[number], self.at - self.starts[number]
            count = min(len(wanted) - done, _length(piece) - inside)
            part = wanted[done : done + count]
            got = self._file(piece[0] + inside, part) if isinstance(piece, tuple) else count
            if isinstance(piece, bytes):
                part[:] = piece[inside : inside + count]
            if not got:
                break
            done += got
            self.at += got
        return done

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all."""
        buffer = bytearray(self.size - self.at if size is None or size < 0 else min(size, max(0, self.size - self.at)))
        return bytes(buffer[: self.readinto(buffer)])

    def _file(self, at: int, part: memoryview) -> int:
        try:
            self.handle.seek(at)
            if hasattr(self.handle, "readinto"):
                return self.handle.readinto(part) or 0
            got = self.handle.read(len(part))
            part[: len(got)] = got
            return len(got)
        except OSError as error:
            self.failed = error
            return 0


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]


class Peek:
    """Looks at bytes here and there, reading a block at a time. Errors: OSError."""

    BLOCK = 1 << 20

    def __init__(self, handle: Any, size: int) -> None:
        self.handle, self.size = handle, size
        self.buffer, self.base = b"", 0

    def get(self, at: int, count: int) -> bytes:
        """Up to `count` bytes from `at`; fewer at the end."""
        if at < self.base or at + count > self.base + len(self.buffer):
            if at >= self.size:
                return b""
            self.handle.seek(at)
            self.buffer, self.base = self.handle.read(max(count, min(self.BLOCK, self.size - at))), at
        return self.buffer[at - self.base : at - self.base + count]

    def find(self, what: bytes, at: int, limit: int) -> int:
        """Where `what` begins in [at, limit), or -1."""
        limit = min(limit, self.size)
        while at < limit:
            block = self.get(at, min(1 << 16, limit - at + len(what) - 1))
            place = block.find(what)
            if place >= 0:
                return at + place
            if len(block) < len(what):
                return -1
            at += len(block) - len(what) + 1
        return -1

    def zeros(self, at: int) -> int:
        """Where the zeros that begin at `at` end."""
        while at < self.size:
            block = self.get(at, 1 << 16)
            rest = block.lstrip(b"\0")
            at += len(block) - len(rest)
            if rest or not block:
                break
        return at
