"""Fetching, against a server on this machine that breaks off, lies, is busy, moves on, and asks for tokens."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, Request

import pytest
from webserver import REPO, Act, Handler, Site, announced, cut, deaf, ranged, stall, status, tag

from mats_model import __version__
from mats_model.errors import ModelError, UsageError
from mats_model.files import sha256
from mats_model.weights import connect, fetch, hub

DATA = bytes(range(256)) * 2000
OTHER = DATA[::-1]
DIGEST = hashlib.sha256(DATA).hexdigest()


# ---- what every test starts from


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's settings; short pauses."""
    for name in list(os.environ):
        if name.startswith("HF_") or name == "MATS_OFFLINE" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(connect, "PAUSE", 0.005)
    monkeypatch.setattr(connect, "TIMEOUT", 5.0)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.files["/model.bin"] = DATA
    yield made
    made.free.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "got" / "model.bin"


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, whoever opens a socket or looks up a name fails."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    def forbid() -> None:
        monkeypatch.setattr(socket, "socket", forbidden)
        monkeypatch.setattr(socket, "getaddrinfo", forbidden)

    return forbid


def left(to: Path) -> list[str]:
    """All that lies in the folder of the target."""
    return sorted(path.name for path in to.parent.iterdir())


# ---- one file


def get(url: str, to: Path, digest: str = "", **more: Any) -> Path:
    """`fetch.get` for somebody who says of a refusal no more than its code."""
    return fetch.get(url, to, digest, lambda code, headers: ModelError(f"the server answers {code}"), **more)


def test_fetches_and_says_so(site: Site, to: Path) -> None:
    said: list[str] = []
    counts: list[tuple[int, int]] = []
    got = get(
        f"{site.url}/model.bin?key=1", to, digest=DIGEST.upper(), say=said.append, progress=lambda *n: counts.append(n)
    )
    assert got == to and to.read_bytes() == DATA and left(to) == ["model.bin"]
    assert said == ["fetching model.bin of 0.5 MB from 127.0.0.1"]
    assert counts[-1] == (len(DATA), len(DATA)) and counts == sorted(counts)


def test_tells_nothing_of_the_user(site: Site, to: Path) -> None:
    get(f"{site.url}/model.bin", to)
    (headers,) = [headers for _, headers in site.seen]
    assert headers == {
        "Host": site.url[7:], "User-Agent": f"mats/{__version__}", "Accept-Encoding": "identity", "Connection": "close",
    }  # fmt: skip


def test_what_is_there_needs_no_socket(site: Site, to: Path, no_socket: Callable[[], None]) -> None:
    get(f"{site.url}/model.bin", to)
    no_socket()
    assert get(f"{site.url}/model.bin", to, digest=DIGEST) == to
    assert get("https://nowhere.invalid/model.bin", to) == to


def test_what_is_there_and_wrong_is_replaced_at_the_end(site: Site, to: Path) -> None:
    to.parent.mkdir()
    to.write_bytes(b"old")
    site.plan["/model.bin"] = [cut(1000)]
    held: list[bytes] = []
    get(f"{site.url}/model.bin", to, digest=DIGEST, progress=lambda *_: held.append(to.read_bytes()))
    assert to.read_bytes() == DATA and set(held) == {b"old"}


@pytest.mark.parametrize("by", ["option", "MATS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(by: str, to: Path, monkeypatch: pytest.MonkeyPatch, no_socket: Callable[[], None]) -> None:
    if by != "option":
        monkeypatch.setenv(by, "1")
    no_socket()
    asked = by == "option"
    for call in (
        lambda: get("https://nowhere.invalid/model.bin", to, offline=asked),
        lambda: hub.files(REPO, ["config.json"], to.parent, offline=asked),
        lambda: hub.names(REPO, offline=asked),
        lambda: fetch.wheel_file("some-package", "1.0", "some_package-1.0-py3-none-any.whl", to.parent, offline=asked),
    ):
        with pytest.raises(ModelError, match=r"is not here, and no connection may be opened \(offline\): "):
            call()
    assert not to.parent.exists()


def test_offline_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (connect.is_offline(), connect.is_offline(True)) == (False, True)
    for value, expected in (("0", False), ("", False), ("1", True), ("yes", True)):
        monkeypatch.setenv("MATS_OFFLINE", value)
        assert connect.is_offline() is expected


def test_resumes_after_a_cut(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [cut(100_000), cut(50_000)]
    seen: list[bool] = []
    said: list[str] = []
    get(f"{site.url}/model.bin", to, say=said.append, progress=lambda *_: seen.append(to.exists()))
    assert to.read_bytes() == DATA and left(to) == ["model.bin"] and not any(seen)
    assert site.ranges() == ["", "bytes=100000-", "bytes=150000-"]
    assert site.seen[1][1]["If-Range"] == tag(DATA)
    assert "127.0.0.1: it broke off at 100000 of 512000 bytes; trying again" in said


def test_gives_up_and_goes_on_with_the_next_command(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [cut(1000)] * connect.ATTEMPTS
    with pytest.raises(
        ModelError, match=r"did not come whole .*broke off at 4000 of 512000 bytes.*goes on from where it stopped"
    ):
        get(f"{site.url}/model.bin", to, digest=DIGEST)
    assert left(to) == [".model.bin.part", ".model.bin.part.json"]
    get(f"{site.url}/model.bin", to, digest=DIGEST)
    assert to.read_bytes() == DATA and site.ranges()[connect.ATTEMPTS :] == ["bytes=4000-"]


def test_bytes_that_came_renew_the_attempts(site: Site, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "CHUNK", 40_000)
    monkeypatch.setattr(connect, "CHUNK", 40_000)
    site.plan["/model.bin"] = [cut(50_000)] * (connect.ATTEMPTS + 3)
    assert get(f"{site.url}/model.bin", to, digest=DIGEST).read_bytes() == DATA
    # and where each attempt begins anew, they do not
    to.unlink()
    site.plan["/model.bin"] = [cut(50_000, by_range=False)] * 100
    with pytest.raises(ModelError, match="broke off"):
        get(f"{site.url}/model.bin", to)


def test_stalled_connection_is_left(site: Site, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "TIMEOUT", 0.2)
    site.plan["/model.bin"] = [stall(70_000)]
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA
    assert site.ranges() == ["", "bytes=70000-"]


def test_starts_anew_when_the_file_changed(site: Site, to: Path) -> None:
    def change(handler: Handler, data: bytes) -> None:
        cut(9000)(handler, data)
        site.files["/model.bin"] = OTHER

    site.plan["/model.bin"] = [change]
    assert get(f"{site.url}/model.bin", to).read_bytes() == OTHER
    assert site.ranges() == ["", "bytes=9000-"]


@pytest.mark.parametrize(
    "answer", [ranged("bytes 0-511999/512000"), ranged("bytes 9000-511998/511999"), ranged("nonsense"), status(416)]
)
def test_a_wrong_answer_to_a_range_is_not_believed(answer: Act, site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [cut(9000), answer]
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA
    assert site.ranges() == ["", "bytes=9000-", ""]


def test_a_server_that_knows_ranges_and_not_if_range(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [cut(9000), ranged("bytes 9000-511999/512000", seal='"another"')]
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA
    assert site.ranges() == ["", "bytes=9000-", ""]


def test_a_server_without_ranges(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [cut(9000), deaf]
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA
    assert site.ranges() == ["", "bytes=9000-"]


def test_a_server_that_seals_nothing_is_asked_for_all(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [announced(len(DATA), DATA[:9000])]
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA
    assert site.ranges() == ["", ""]


@pytest.mark.parametrize("spoil", ["another address", "no note", "half a note", "too long"])
def test_a_part_of_who_knows_what_is_not_gone_on_with(spoil: str, site: Site, to: Path) -> None:
    site.files["/other.bin"] = DATA
    site.plan["/other.bin"] = [cut(9000)] * connect.ATTEMPTS
    with pytest.raises(ModelError):
        get(f"{site.url}/other.bin", to)
    part, note = to.with_name(".model.bin.part"), to.with_name(".model.bin.part.json")
    told = json.loads(note.read_text())
    assert told == {"url": f"{site.url}/other.bin", "seal": tag(DATA), "total": len(DATA)}
    url = f"{site.url}/{'model' if spoil == 'another address' else 'other'}.bin"
    if spoil == "no note":
        note.unlink()
    if spoil == "half a note":
        note.write_text(note.read_text()[:20])
    if spoil == "too long":
        part.write_bytes(DATA + b"x")
    site.seen.clear()
    assert get(url, to).read_bytes() == DATA and left(to) == ["model.bin"]
    assert site.ranges(url.removeprefix(site.url)) == [""]


def test_announced_too_long(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [announced(len(DATA) + 5)] * connect.ATTEMPTS
    with pytest.raises(ModelError, match="broke off at 512000 of 512005 bytes"):
        get(f"{site.url}/model.bin", to)
    assert not to.exists()


def test_announced_too_short(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [announced(1000)] * 2
    with pytest.raises(ModelError, match="is not the file that mats knows"):
        get(f"{site.url}/model.bin", to, digest=DIGEST)
    assert left(to) == []
    # what is sent beyond the announced length is no part of the file
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA[:1000]


def test_no_length_at_all(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [announced(None)]
    with pytest.raises(ModelError, match="does not say how long it is"):
        get(f"{site.url}/model.bin", to)
    assert left(to) == []
    site.plan["/model.bin"] = [announced(None)]
    assert get(f"{site.url}/model.bin", to, digest=DIGEST).read_bytes() == DATA


def test_chunked(site: Site, to: Path) -> None:
    def chunked(whole: bool) -> Act:
        def act(handler: Handler, data: bytes) -> None:
            handler.head(200, {"Transfer-Encoding": "chunked"})
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if whole else b""))
            handler.close_connection = True

        return act

    site.plan["/model.bin"] = [chunked(False), chunked(True)]
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA
    assert len(site.seen) == 2


def test_wrong_digest_is_removed(site: Site, to: Path) -> None:
    with pytest.raises(ModelError, match=f"SHA-256 {DIGEST}, not {'0' * 64}.; it was removed"):
        get(f"{site.url}/model.bin", to, digest="0" * 64)
    assert left(to) == [] and len(site.seen) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_refusals_at_once(code: int, site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [status(code, ever=True)]
    with pytest.raises(ModelError, match=f"answers {code}"):
        get(f"{site.url}/model.bin", to)
    assert len(site.seen) == 1 and left(to) == []


def test_what_follows_an_address_is_never_shown(site: Site, to: Path) -> None:
    """It may be a signature."""
    site.plan["/model.bin"] = [status(503, ever=True)]
    with pytest.raises(ModelError, match="did not come whole") as caught:
        get(f"{site.url}/model.bin?signature=secret", to)
    assert "secret" not in str(caught.value)


def test_busy_for_a_while(site: Site, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(connect, "time", SimpleNamespace(sleep=pauses.append))
    site.plan["/model.bin"] = [status(503, Retry_After="2"), status(429, Retry_After="3600"), status(502)]
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA
    assert pauses == [2.0, connect.PATIENCE, connect.PAUSE * 4]


@pytest.mark.parametrize("code", [503, 429])
def test_busy_for_ever(code: int, site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [status(code, ever=True)]
    with pytest.raises(ModelError, match=f"answers {code}.*try again later"):
        get(f"{site.url}/model.bin", to)
    assert len(site.seen) == connect.ATTEMPTS and left(to) == []


def test_nobody_there(to: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ModelError, match=r"127\.0\.0\.1 cannot be reached .*refused.*check the network"):
            get(f"http://127.0.0.1:{taken.getsockname()[1]}/model.bin", to)


def test_a_bad_certificate_is_not_tried_again(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def refuse(url: str, *_: object) -> None:
        calls.append(url)
        raise URLError(ssl.SSLCertVerificationError("self-signed certificate"))

    monkeypatch.setattr(fetch, "opened", refuse)
    with pytest.raises(ModelError, match=r"example\.org cannot prove that it is example\.org .*SSL_CERT_FILE"):
        get("https://example.org/model.bin", to)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/x",
        "data:,x",
        "model.bin",
        "http://",
        "https://a b/",
        "http://u:p@host/",
        "http://h:x/",
        "https://ä/",
    ],
)
def test_only_http_and_https(url: str, to: Path, no_socket: Callable[[], None]) -> None:
    no_socket()
    with pytest.raises(UsageError, match="is no address to fetch from"):
        get(url, to)


def test_redirects(site: Site, to: Path) -> None:
    site.plan["/a"] = [status(302, Location="/b")]
    site.plan["/b"] = [status(308, Location=f"{site.url}/model.bin")]
    assert get(f"{site.url}/a", to).read_bytes() == DATA
    for place in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        site.plan["/a"] = [status(302, Location=place)]
        with pytest.raises(ModelError, match=r"not safe to follow|answers 302"):
            get(f"{site.url}/a", to.with_name("other"))
    site.plan["/a"] = [status(302, ever=True, Location="/a")]
    with pytest.raises(ModelError, match="answers 302"):
        get(f"{site.url}/a", to.with_name("other"))
    assert left(to) == ["model.bin"]


def test_where_redirects_may_lead() -> None:
    (handler,) = [each for each in connect._opener().handlers if isinstance(each, HTTPRedirectHandler)]
    request = Request("https://hub.org/x", headers={"Range": "bytes=5-"})
    request.add_unredirected_header("Authorization", "Bearer t")

    def led(place: str) -> Request:
        return handler.redirect_request(request, None, 302, "", {}, place)

    for place in ("http://hub.org/x", "ftp://hub.org/x"):
        with pytest.raises(ModelError, match=f"https://hub.org/x leads to {place}, which is not safe"):
            led(place)
    assert led("https://hub.org/y").get_header("Authorization") == "Bearer t"
    assert led("https://hub.org/y").get_header("Range") == "bytes=5-"
    for elsewhere in ("https://cdn.org/y", "https://hub.org:444/y", "https://hub.org.evil.org/y"):
        assert led(elsewhere).get_header("Authorization") is None


def test_proxies_of_the_environment(site: Site, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    assert get("http://nowhere.invalid/model.bin", to).read_bytes() == DATA
    assert site.seen[0][1]["Host"] == "nowhere.invalid"


def test_no_space_is_known_before(site: Site, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.plan["/model.bin"] = [cut(112_000)] * connect.ATTEMPTS
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=399_999))
        with pytest.raises(ModelError, match=f"{to.parent} is full, model.bin needs 0.5 MB more: make room"):
            get(f"{site.url}/model.bin", to)
        assert left(to) == [] and len(site.seen) == 1
        # what is here already needs no room: four fifths are left to come, and just fit
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=len(DATA)))
        site.plan["/model.bin"] = [cut(112_000), status(404)]
        with pytest.raises(ModelError, match="answers 404"):
            get(f"{site.url}/model.bin", to)
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=400_000))
        assert get(f"{site.url}/model.bin", to).read_bytes() == DATA


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_no_space_is_met_midway(site: Site, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "own", lambda part, flags: os.open("/dev/full", os.O_RDWR))
    with pytest.raises(ModelError, match=f"{to.parent} is full, model.bin needs 0.5 MB more"):
        get(f"{site.url}/model.bin", to)
    assert not to.exists() and len(site.seen) == 1


def test_what_another_put_there_is_neither_believed_nor_written_to(site: Site, to: Path, tmp_path: Path) -> None:
    """In a shared folder the name of an unfinished file can be guessed."""
    to.parent.mkdir()
    part, note, other = to.with_name(".model.bin.part"), to.with_name(".model.bin.part.json"), tmp_path / "other"
    other.write_bytes(b"planted")
    part.symlink_to(other)
    note.write_text(json.dumps({"url": f"{site.url}/model.bin", "seal": '"x"', "total": 7}))
    with pytest.raises(ModelError, match=r"\.model\.bin\.part cannot be written"):
        get(f"{site.url}/model.bin", to)
    assert other.read_bytes() == b"planted" and not to.exists()
    part.unlink()
    os.link(other, part)
    with pytest.raises(ModelError, match=r"cannot be written \(it is another's, or a link\)"):
        get(f"{site.url}/model.bin", to)
    assert other.read_bytes() == b"planted" and not to.exists()
    part.unlink()
    assert get(f"{site.url}/model.bin", to).read_bytes() == DATA


def test_folder_that_cannot_be_made(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        get(f"{site.url}/model.bin", tmp_path / "file" / "model.bin")
    (tmp_path / "model.bin").mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        get(f"{site.url}/model.bin", tmp_path / "model.bin")


def process(site: Site, to: Path) -> subprocess.Popen[str]:
    """The same download in a process of its own, which prints what it says."""
    code = "import sys; from pathlib import Path; from mats_model.weights.fetch import get"
    code += "; get(sys.argv[1], Path(sys.argv[2]), '', None, say=lambda said: print(said, flush=True))"
    return subprocess.Popen(
        [sys.executable, "-c", code, f"{site.url}/model.bin", str(to)], stdout=subprocess.PIPE, text=True
    )


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_and_begun_again(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [stall(200_000)]
    part = to.with_name(".model.bin.part")
    with process(site, to) as running:
        until(lambda: part.exists() and part.stat().st_size == 200_000)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL and not to.exists()
    assert get(f"{site.url}/model.bin", to, digest=DIGEST).read_bytes() == DATA
    assert site.ranges() == ["", "bytes=200000-"] and left(to) == ["model.bin"]


def test_killed_between_the_last_byte_and_the_name(
    site: Site, to: Path, monkeypatch: pytest.MonkeyPatch, no_socket: Callable[[], None]
) -> None:
    replace = os.replace

    def dies(source: Path, target: Path) -> None:
        if source.name == ".model.bin.part":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            get(f"{site.url}/model.bin", to)
    assert not to.exists()
    no_socket()
    assert get(f"{site.url}/model.bin", to, digest=DIGEST).read_bytes() == DATA


@pytest.mark.skipif(sys.platform == "win32", reason="no fcntl")
def test_two_at_once_fetch_once(site: Site, to: Path) -> None:
    site.plan["/model.bin"] = [stall(1000)]
    with process(site, to) as first:
        assert first.stdout and first.stdout.readline().startswith("fetching model.bin")
        with process(site, to) as second:
            assert (
                second.stdout
                and second.stdout.readline() == f"another mats is fetching into {to.parent}; waiting for it\n"
            )
            site.free.set()
    assert (first.returncode, second.returncode) == (0, 0)
    assert to.read_bytes() == DATA and len(site.seen) == 1 and left(to) == ["model.bin"]


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    counts: list[tuple[int, int]] = []
    assert sha256(tmp_path / "a", lambda *n: counts.append(n)) == DIGEST
    assert counts == [(len(DATA), len(DATA))]


# ---- the hub


FILES = {"config.json": b"{}\n", "model.bin": DATA, "sub/merges.txt": b"a b\n"}
LIST = f"/api/models/{REPO}/revision/main"
HELD = f"/{REPO}/resolve/c1/model.bin"


@pytest.fixture
def held(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("HF_ENDPOINT", site.url + "/")
    site.hub(FILES)
    return site


def test_hub_files(held: Site, tmp_path: Path, no_socket: Callable[[], None]) -> None:
    folder, counts, said = tmp_path / "m", [], []  # type: ignore[var-annotated]
    asked = ["config.json", "model.bin", "model.safetensors", "sub/merges.txt"]
    got = hub.files(REPO, asked, folder, say=said.append, progress=lambda *n: counts.append(n))
    assert got == {name: folder / name for name in FILES}
    assert {name: path.read_bytes() for name, path in got.items()} == FILES and not any(
        path.is_symlink() for path in got.values()
    )
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(
        [".hub.json", *FILES]
    )
    total = sum(map(len, FILES.values()))
    assert counts == sorted(counts) and counts[-1] == (total, total) and len(said) == 3
    assert [path for path, _ in held.seen] == [LIST, *(f"/{REPO}/resolve/c1/{name}" for name in FILES)]
    no_socket()
    # also the name that the repository was seen to lack is not asked for again
    assert hub.files(REPO, asked, folder) == got == hub.files(REPO, asked, folder, offline=True)


def test_hub_files_put_there_by_hand(held: Site, tmp_path: Path, no_socket: Callable[[], None]) -> None:
    (tmp_path / "config.json").write_text("mine")
    assert hub.files(REPO, ["config.json", "model.bin"], tmp_path)["config.json"].read_text() == "mine"
    assert [path for path, _ in held.seen] == [LIST, HELD]
    (tmp_path / ".hub.json").unlink()
    no_socket()
    assert list(hub.files(REPO, ["config.json", "other"], tmp_path, offline=True)) == ["config.json"]


def test_hub_files_offline_after_a_half(held: Site, tmp_path: Path, no_socket: Callable[[], None]) -> None:
    held.plan[HELD] = [status(500, ever=True)]
    with pytest.raises(ModelError, match="did not come whole"):
        hub.files(REPO, ["config.json", "model.bin"], tmp_path)
    no_socket()
    with pytest.raises(ModelError, match=f"model.bin of {REPO} is not here, and no connection may be opened .offline."):
        hub.files(REPO, ["config.json", "model.bin"], tmp_path, offline=True)


def test_hub_resumes_at_the_commit_it_began_with(held: Site, tmp_path: Path) -> None:
    held.plan[HELD] = [cut(1000)] * connect.ATTEMPTS
    with pytest.raises(ModelError, match="goes on from where it stopped"):
        hub.files(REPO, list(FILES), tmp_path)
    held.hub({name: OTHER for name in FILES}, "c2")
    got = hub.files(REPO, list(FILES), tmp_path)
    assert {name: path.read_bytes() for name, path in got.items()} == FILES
    assert held.ranges(HELD)[-1] == f"bytes={1000 * connect.ATTEMPTS}-"


def test_hub_record_of_another_revision(held: Site, tmp_path: Path) -> None:
    hub.files(REPO, ["config.json"], tmp_path)
    held.files[f"/api/models/{REPO}/revision/v2"] = held.files[LIST].replace(b'"c1"', b'"c2"')
    held.files[f"/{REPO}/resolve/c2/model.bin"] = DATA
    hub.files(REPO, ["config.json", "model.bin"], tmp_path, revision="v2")
    assert [path for path, _ in held.seen[2:]] == [f"/api/models/{REPO}/revision/v2", f"/{REPO}/resolve/c2/model.bin"]


def test_hub_wrong_bytes(held: Site, tmp_path: Path) -> None:
    held.files[HELD] = OTHER
    with pytest.raises(ModelError, match="is not the file that mats knows"):
        hub.files(REPO, ["model.bin"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".hub.json"]


def test_hub_has_none_of_these(held: Site, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=f"{REPO} on the hub has none of a, b .it holds config.json, model.bin, sub/merges.txt"
    ):
        hub.files(REPO, ["a", "b"], tmp_path)
    # the record is no reason to miss what came there since
    held.hub(FILES | {"a": b"new"}, "c2")
    assert hub.files(REPO, ["a", "b"], tmp_path)["a"].read_bytes() == b"new"


def test_hub_names(held: Site) -> None:
    assert hub.names(REPO) == sorted(FILES)
    assert [path for path, _ in held.seen] == [LIST]


@pytest.mark.parametrize(("code", "token"), [(404, ""), (401, ""), (401, "hf_good")])
def test_hub_unknown_repository(
    code: int, token: str, held: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    held.plan["/api/models/laion/clap-htsat-fussed/revision/main"] = [
        status(code, ever=True, X_Error_Code="RepoNotFound")
    ]
    with pytest.raises(
        ModelError, match=rf"there is no model laion/clap-htsat-fussed on the hub: did you mean {REPO}\?"
    ):
        hub.files("laion/clap-htsat-fussed", ["config.json"], tmp_path / "m", known=["microsoft/phi", REPO])
    with pytest.raises(ModelError, match="check its name"):
        hub.names("laion/clap-htsat-fussed", known=["microsoft/phi"])
    assert len(held.seen) == 2 and not (tmp_path / "m").exists()


def test_hub_unknown_revision(held: Site) -> None:
    held.plan[f"/api/models/{REPO}/revision/refs%2Fpr%2F1"] = [status(404, X_Error_Code="RevisionNotFound")]
    with pytest.raises(ModelError, match=f"{REPO} has no revision refs/pr/1 "):
        hub.names(REPO, revision="refs/pr/1")


@pytest.mark.parametrize(("code", "token"), [(401, ""), (401, "hf_good"), (403, "hf_good")])
@pytest.mark.parametrize("path", [LIST, HELD])
def test_hub_licence(
    path: str, code: int, token: str, held: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    held.plan[path] = [status(code, X_Error_Code="GatedRepo")]
    with pytest.raises(
        ModelError, match=f"licence: accept it on its page https://huggingface.co/{REPO} and set HF_TOKEN"
    ):
        hub.files(REPO, ["model.bin"], tmp_path)
    assert not (tmp_path / "model.bin").exists()


def test_hub_token_of_somebody_else(held: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    invalid = status(401, X_Error_Message="Invalid credentials in Authorization header", X_Error_Code="RepoNotFound")
    held.plan[LIST] = [invalid, status(401), status(403)]
    for sentence in (
        "refuses the token of HF_TOKEN",
        "refuses the token of HF_TOKEN",
        "does not give .* to this account",
    ):
        with pytest.raises(ModelError, match=sentence):
            hub.names(REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_\nsplit")
    with pytest.raises(UsageError, match="HF_TOKEN"):
        hub.names(REPO)


def test_hub_token_goes_to_the_hub_alone(held: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cdn = Site()
    cdn.files["/blob"] = DATA
    held.plan[HELD] = [status(307, Location="/here"), status(404)]
    held.plan["/here"] = [status(302, Location=f"{cdn.url}/blob?signature=x")]
    token = tmp_path / "hf" / "token"
    token.parent.mkdir()
    token.write_text("hf_logged_in\n")
    hub.files(REPO, ["model.bin"], tmp_path / "m")
    cdn.shutdown()
    cdn.server_close()
    assert [(path, headers.get("Authorization")) for path, headers in held.seen] == [
        (path, "Bearer hf_logged_in") for path in (LIST, HELD, "/here")
    ]
    assert [(path, headers.get("Authorization")) for path, headers in cdn.seen] == [("/blob", None)]
    assert {headers["User-Agent"] for _, headers in held.seen + cdn.seen} == {f"mats/{__version__}"}
    monkeypatch.setenv("HF_TOKEN", "hf_of_environment")
    hub.names(REPO)
    assert held.seen[-1][1]["Authorization"] == "Bearer hf_of_environment"


@pytest.mark.parametrize("body", [b"<html>please log in</html>", b"[]", b"{}", b'{"siblings": [{}]}', b"\xff"])
def test_not_the_hub(body: bytes, held: Site, tmp_path: Path) -> None:
    held.files[LIST] = body
    with pytest.raises(ModelError, match="does not answer like the hub"):
        hub.files(REPO, ["config.json"], tmp_path)


def test_hub_is_busy(held: Site) -> None:
    held.plan[LIST] = [status(503), cut(10), status(429)]
    assert hub.names(REPO) == sorted(FILES)


@pytest.mark.parametrize(
    "repo",
    ["", "clap", "a/b/c", "../b", "a/..", ".a/b", "a/b?x", "ä/b", "a b/c", "a/b\n", "https://huggingface.co/a/b"],
)
def test_names_of_no_repository(repo: str, tmp_path: Path, no_socket: Callable[[], None]) -> None:
    no_socket()
    with pytest.raises(UsageError, match="is no name of a model on the hub"):
        hub.files(repo, ["config.json"], tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "\\x", "..\\x", "C:x", "C:\\x"])
def test_names_of_no_file(name: str, tmp_path: Path, no_socket: Callable[[], None]) -> None:
    no_socket()
    with pytest.raises(UsageError, match="is no name of a file in a repository"):
        hub.files(REPO, ["config.json", name], tmp_path)


# ---- pip


def test_wheel_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links, folder, wheel = tmp_path / "links", tmp_path / "downloads", "mats_made_up-1.0-py3-none-any.whl"
    links.mkdir()
    with zipfile.ZipFile(links / wheel, "w") as made:
        made.writestr(
            "mats_made_up-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mats-made-up\nVersion: 1.0\n"
        )
        made.writestr(
            "mats_made_up-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr("mats_made_up-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    said: list[str] = []
    got = fetch.wheel_file("mats-made-up", "1.0", wheel, folder, say=said.append)
    assert got == folder / wheel and got.read_bytes() == (links / wheel).read_bytes() and left(got) == [wheel]
    assert said == ["fetching mats-made-up 1.0 with pip"]
    with pytest.raises(
        ModelError, match=r"pip could not fetch mats-made-up 2\.0: see its message above, or put other.whl into "
    ):
        fetch.wheel_file("mats-made-up", "2.0", "other.whl", folder)
    assert left(got) == [wheel]
    monkeypatch.setattr(subprocess, "run", None)
    assert fetch.wheel_file("mats-made-up", "1.0", wheel, folder) == got
