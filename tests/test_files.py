"""A file is whole or not there, and nobody who may write into its folder leads the write elsewhere."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from mats_model import files


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / ("a" * 251)
    files.write(place, b"first")
    with pytest.raises(RuntimeError), files.whole(place) as file:
        file.write(b"half")
        seen = [name for name in names(tmp_path) if name != place.name]
        raise RuntimeError
    assert place.read_bytes() == b"first" and names(tmp_path) == [place.name]
    # a name that nobody can guess, and rights as of any other file
    assert re.fullmatch(r"\.mats-[0-9a-f]{16}\.tmp", seen[0])
    (tmp_path / "other").write_bytes(b"")
    assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)
    place.unlink()
    place.symlink_to(tmp_path / "other")
    files.write(place, b"new")
    assert (tmp_path / "other").read_bytes() == b"" and not place.is_symlink() and place.read_bytes() == b"new"


def test_what_was_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even who guessed the name gains nothing: it is made anew or not at all."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    guesses = iter(["0" * 16, "1" * 16, "2" * 16])
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: next(guesses))
    (tmp_path / f".mats-{'0' * 16}.tmp").symlink_to(victim)
    (tmp_path / f".mats-{'1' * 16}.tmp").symlink_to(tmp_path / "nowhere")
    files.write(tmp_path / "out", b"data")
    assert (
        victim.read_bytes() == b"mine"
        and (tmp_path / "out").read_bytes() == b"data"
        and not (tmp_path / "nowhere").exists()
    )
    assert next(guesses, None) is None


def test_a_pipe_and_a_device_are_written_to_as_they_are(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    files.write(tmp_path / "pipe", b"data")
    reader.join()
    assert got == [b"data"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(OSError), files.whole(Path("/dev/full")) as file:
        file.write(b"x" * 100_000)
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_what_a_killed_run_left_goes_and_what_is_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, foreign = tmp_path / ".mats-00000000000000ff.tmp", tmp_path / ".mats-notours.tmp"
    left.write_bytes(b"half")
    foreign.write_bytes(b"x")
    (tmp_path / ".mats-00000000000000fe.tmp").symlink_to(foreign)
    monkeypatch.setattr(files, "_tidied", set())
    with files.whole(tmp_path / "a") as file, files.staging(tmp_path) as folder:
        assert not left.exists()
        (folder / "kept").write_bytes(b"x")
        monkeypatch.setattr(files, "_tidied", set())
        files.write(tmp_path / "b", b"b")
        file.write(b"a")
        assert (folder / "kept").exists()
    assert (
        names(tmp_path) == [".mats-00000000000000fe.tmp", ".mats-notours.tmp", "a", "b"]
        and (tmp_path / "a").read_bytes() == b"a"
    )


def test_a_folder_in_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "old").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "f", instead=True) as made:
        (made / "half").write_bytes(b"")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["f"] and names(tmp_path / "f") == ["old"]
    with files.whole_folder(tmp_path / "f", instead=True) as made:
        (made / "new").write_bytes(b"")
    assert names(tmp_path) == ["f"] and names(tmp_path / "f") == ["new"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[]", "a group of settings, not list"),
        (b"null", "a group of settings, not nothing"),
        (b"[" * 200_000, "too deep"),
        (b'{"a":' * 200_000, "too deep"),
        (b"\xff\xfe", "not UTF-8"),
        (b"\x00" * 10, "not text"),
        (b"{", "Expecting property name"),
        (b"", "Expecting value"),
        (b'{"a": ' + b"9" * 5000 + b"}", "integer string conversion"),
    ],
)
def test_json_that_is_no_group_of_settings(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match="it has"):
        files.read_json(tmp_path / "a.json", len(data) - 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it is no file"):
        files.read_json(tmp_path / "pipe")


class Counting(io.BytesIO):
    """Remembers how much was asked for at once."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None and size >= 0, "all of it at once"
        self.most = max(self.most, size)
        return super().read(size)


def test_a_large_file_is_hashed_and_copied_in_blocks() -> None:
    data = bytes(range(256)) * 20_000
    digest = hashlib.sha256(data).hexdigest()
    source, target = Counting(data), io.BytesIO()
    assert files.sha256_of(source) == digest and source.most == files._CHUNK < len(data)
    assert files.sha256_of(Counting(data[3:]), before=data[:3]) == digest
    source.seek(0)
    assert files.copy(source, target) == digest and target.getvalue() == data
    source.seek(5)
    assert files.copy(source, target, 10) == hashlib.sha256(data[5:15]).hexdigest() and source.tell() == 15
    assert files.copy(source, target, 0) == hashlib.sha256().hexdigest()
