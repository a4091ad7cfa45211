"""A web server on this machine that breaks off, lies, is busy, moves on, and looks like the hub."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPO = "laion/clap-htsat-fused"
Act = Callable[["Handler", bytes], None]


class Site(ThreadingHTTPServer):
    """`files` by path; `plan[path]` holds what the next requests get instead, `seen` what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.plan: dict[str, list[Act]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.free = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def ranges(self, path: str = "/model.bin") -> list[str]:
        return [headers.get("Range", "") for seen, headers in self.seen if seen == path]

    def hub(
        self, files: dict[str, bytes], commit: str = "c1", large: tuple[str, ...] = ("model.bin",), repo: str = REPO
    ) -> None:
        """A repository as the hub shows it: large files lie elsewhere, and have a SHA-256."""
        siblings: list[dict[str, Any]] = []
        for name, data in files.items():
            digest = hashlib.sha256(data).hexdigest()
            siblings.append(
                {
                    "rfilename": name,
                    "size": len(data),
                    "lfs": {"sha256": digest, "size": len(data)} if name in large else None,
                }
            )
            self.files[f"/{repo}/resolve/{commit}/{name}"] = data
        self.files[f"/api/models/{repo}/revision/main"] = json.dumps(
            {"id": repo, "sha": commit, "siblings": siblings}
        ).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        path = re.sub(r"^http://[^/]+|\?.*$", "", self.path)
        self.server.seen.append((path, dict(self.headers)))
        plan = self.server.plan.get(path, [])
        act = plan[0] if plan else serve if path in self.server.files else status(404)
        if len(plan) > 1 or not getattr(act, "ever", False):
            del plan[:1]
        act(self, self.server.files.get(path, b""))

    def head(self, code: int, headers: dict[str, object]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *said: object) -> None: ...


def tag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def start(handler: Handler, data: bytes, by_range: bool = True) -> int:
    """The head of an honest answer; returns the first byte that is to follow."""
    wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if by_range and wanted and handler.headers.get("If-Range", tag(data)) == tag(data):
        at = int(wanted[1])
        handler.head(
            206,
            {
                "Content-Range": f"bytes {at}-{len(data) - 1}/{len(data)}",
                "Content-Length": len(data) - at,
                "ETag": tag(data),
            },
        )
        return at
    handler.head(200, {"Content-Length": len(data), "ETag": tag(data)})
    return 0


def serve(handler: Handler, data: bytes) -> None:
    handler.wfile.write(data[start(handler, data) :])


def cut(size: int, by_range: bool = True) -> Act:
    """Announces all and closes the connection after `size` bytes."""

    def act(handler: Handler, data: bytes) -> None:
        at = start(handler, data, by_range)
        handler.wfile.write(data[at : at + size])
        handler.close_connection = True

    return act


def stall(size: int) -> Act:
    """Sends `size` bytes, and no more before `free` is set."""

    def act(handler: Handler, data: bytes) -> None:
        at = start(handler, data)
        handler.wfile.write(data[at : at + size])
        handler.wfile.flush()
        handler.server.free.wait(20)
        handler.wfile.write(data[at + size :])

    return act


def deaf(handler: Handler, data: bytes) -> None:
    """Knows no ranges."""
    handler.wfile.write(data[start(handler, data, False) :])


def announced(size: int | None, body: bytes = b"") -> Act:
    """Says `size` bytes, or nothing of it, and sends what it has."""

    def act(handler: Handler, data: bytes) -> None:
        handler.head(200, {} if size is None else {"Content-Length": size})
        handler.wfile.write((body or data)[:700])
        time.sleep(0.02)  # in two pieces, the second of which may go beyond
        handler.wfile.write((body or data)[700:])
        handler.close_connection = True

    return act


def ranged(span: str, seal: str = "") -> Act:
    """206 whatever was asked, with this Content-Range."""

    def act(handler: Handler, data: bytes) -> None:
        handler.head(206, {"Content-Range": span, "Content-Length": len(data), "ETag": seal or tag(data)})
        handler.wfile.write(data)
        handler.close_connection = True

    return act


def status(code: int, ever: bool = False, **headers: str) -> Act:
    def act(handler: Handler, data: bytes) -> None:
        handler.head(code, {"Content-Length": 0} | {name.replace("_", "-"): value for name, value in headers.items()})

    act.ever = ever  # type: ignore[attr-defined]
    return act
