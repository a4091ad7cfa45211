"""The one place that opens a connection: to http and https addresses, through the proxies of the environment.

Of the user nothing is told but a token, and that to the hub alone, never to a host that the hub leads to.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from mats_model import __version__
from mats_model.errors import ModelError, UsageError

if TYPE_CHECKING:
    from email.message import Message

TIMEOUT = 30.0  # seconds, to connect and between two pieces
ATTEMPTS = 4  # in a row that brought next to nothing
PAUSE = 0.5  # seconds before the second attempt, doubled for each one after
PATIENCE = 5.0  # seconds, at most, that a server's Retry-After is honoured
CHUNK = 1 << 20  # bytes
_BUSY = (408, 425, 429, 500, 502, 503, 504)
Say = Callable[[str], None]
Refused = Callable[[int, "Message"], ModelError]  # status and headers of an answer that no other attempt would change
T = TypeVar("T")


def is_offline(asked: bool = False) -> bool:
    """Whether no connection may be opened: it was asked for, or MATS_OFFLINE or HF_HUB_OFFLINE says so."""
    return asked or any(os.environ.get(name, "") not in ("", "0") for name in ("MATS_OFFLINE", "HF_HUB_OFFLINE"))


def refuse_offline(what: str, hint: str, asked: bool) -> None:
    """Errors: ModelError about what is not here, where no connection may be opened."""
    if is_offline(asked):
        raise ModelError(f"{what} is not here, and no connection may be opened (offline): {hint}.")


def check_url(url: str) -> None:
    """Errors: UsageError for an address that is none of http or https."""
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        good = False
    if not good or not re.fullmatch("[!-~]+", url):
        raise UsageError(f"{url} is no address to fetch from: give one that begins with https:// or http://.")


def shown(url: str) -> str:
    """An address in a sentence."""
    return url.partition("?")[0]  # what follows may be a signature


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
                f"{shown(url)} did not come whole ({why}): try again later; the same command goes on from where it "
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
                    f"{shown(req.full_url)} leads to {shown(newurl)}, which is not safe to follow: fetch it by hand."
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
