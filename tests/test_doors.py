"""Doors that everything comes through: one input, one row, one text, a signal, a standard stream. None of them ends a
job that could go on."""

from __future__ import annotations

import errno
import io
import os
import pwd
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import EXAMPLES, Run, encoded, noise
from typer.main import get_command

from mats_cli import console, inputs, job, microphone
from mats_cli.chat.commands import handle
from mats_cli.chat.session import Session, Settings
from mats_cli.chat.verb import _read
from mats_cli.formats import Result, Row
from mats_cli.index.library import _update
from mats_cli.inputs import expand, read_stdin
from mats_cli.journal import fitting
from mats_cli.labels import Labels, read_labels
from mats_cli.main import make_app
from mats_cli.microphone import RawPipe
from mats_cli.options import _Verb
from mats_model import audio, places
from mats_model.errors import DeviceError, InputError, ModelError, UnexpectedError, UsageError, one_input
from mats_model.library import crawl
from mats_model.library.changes import compare
from mats_model.library.search import query
from mats_model.library.store import Library
from mats_model.many import Listened
from mats_model.mats import Mats
from mats_model.training.sources import BadRow, SourceSettings, captions_in, read_source

ODD = b"K\xe4uzchen".decode("utf-8", "surrogateescape")
WHERE = "which was not expected: MATS_DEBUG=1 shows where."


# ---- one input


def test_what_passes_the_door_of_one_input() -> None:
    for error, kind, said in (
        (ValueError("a\nb \ud83d"), UnexpectedError, f"x.wav cannot be heard (ValueError: a b \\ud83d), {WHERE}"),
        (
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
            UnexpectedError,
            r"x.wav cannot be heard (UnicodeDecodeError: ",
        ),
        (OSError(errno.EIO, "Input/output error"), InputError, "x.wav cannot be read (Input/output error)."),
        (OSError("seek"), UnexpectedError, f"x.wav cannot be heard (OSError: seek), {WHERE}"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError, ""),
        (
            RuntimeError("CUDA error: an illegal access. CUDA kernel errors might"),
            DeviceError,
            "the device failed (CUDA error: an illegal access.)",
        ),
        (InputError("as it is"), InputError, "as it is"),
        (UsageError("as it is"), UsageError, "as it is"),
        (MemoryError(), MemoryError, ""),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
    ):
        with pytest.raises(kind) as caught, one_input("x.wav"):
            raise error
        assert type(caught.value) is kind and str(caught.value).startswith(said)
    with pytest.raises(UnexpectedError) as caught, one_input("x"):
        raise ValueError
    assert "test_doors.py" in caught.value.trace


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that stumbles over whatever is called odd, as one did over metadata that are no UTF-8."""
    real = audio.blocks

    def blocks(item: audio.AudioSource, sample_rate: int) -> Iterator[np.ndarray]:
        if Path(item.name).name.startswith("odd"):
            b"\xff".decode()
        yield from real(item, sample_rate)

    monkeypatch.setattr("mats_model.audio.window.blocks", blocks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    for name in ("a.wav", "odd.wav", "z.wav"):
        (made / name).write_bytes(encoded(noise(0.5, seed=ord(name[0]))))
    return made


def told(heard: Iterator[Listened]) -> Iterator[tuple[Any, Result]]:
    for one in heard:
        yield one.item, Result(one.item.name, [] if one.error else [Row(0, 1, "Heard.")], one.error)


def run(nano: Mats, names: list[str], output: str | None = None, kind: str = "text") -> int:
    return job.run(nano, expand(names), job.Options(None, kind, output, False, False), {"verb": "caption"}, told)


@pytest.mark.usefixtures("broken")
def test_an_odd_input_is_a_sentence(
    nano: Mats, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    said = f"mats: {folder}/odd.wav cannot be heard ({why}), {WHERE}"
    assert run(nano, [str(folder)]) == 3
    out, err = capsys.readouterr()
    assert out == f"{folder}/a.wav\tHeard.\n{folder}/z.wav\tHeard.\n"
    assert err.splitlines() == [said, "mats: 1 of 3 inputs failed."]
    assert run(nano, [str(folder / "odd.wav")]) == 4
    assert capsys.readouterr() == ("", said + "\n")
    monkeypatch.setenv("MATS_DEBUG", "1")
    assert run(nano, [str(folder)], str(folder / "out.txt")) == 3 and not list(folder.glob(".*"))
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-2].startswith("UnicodeDecodeError: ")


@pytest.mark.usefixtures("broken")
def test_the_library_goes_on_and_does_not_stick(
    nano: Mats, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "odd too.wav").write_bytes(encoded(noise(0.5)))
    for done, todo in ((0, 4), (2, 0)):
        with Library(tmp_path / "l.db", create=True) as store:
            change = compare(store, [folder])
            assert (change.kept, len(change.todo)) == (done, todo)
            _update(store, change, lambda: nano, "", False)
            assert len(change.failed) == 2 and store.info().files == 4 and store.info().sounds == 2
        assert capsys.readouterr().err.count(WHERE) == 2


def test_a_disk_that_failed_says_nothing_of_the_file(nano: Mats, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: str) -> str:
        raise errors.pop()

    monkeypatch.setattr(crawl, "digest_of", failing)
    errors: list[Exception] = [OSError(errno.EIO, "Input/output error"), OSError("seek"), InputError("it is text.")]
    for remembered in (True, True, False):
        read = crawl.read(nano, str(folder / "a.wav"), lambda digest: False)
        assert read.state.error and bool(read.state.mtime_ns) == remembered


def test_a_file_that_lacked_an_extra_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mats_model.library.records import state_of

    with Library(tmp_path / "l.db", create=True) as store:
        for name, why in (
            ("a.wav", "a.wav holds mp4, which needs the extra `media`: pip install 'mats[media]'."),
            ("z.wav", "z.wav is empty (0 bytes)."),
        ):
            store.fail(str(folder / name), state_of(folder / name), why)
        for there, todo in ((None, ["odd.wav"]), ("here", ["a.wav", "odd.wav"])):
            monkeypatch.setattr("importlib.util.find_spec", lambda name, there=there: there)
            assert [Path(path).name for path in compare(store, [folder]).todo] == todo


@pytest.mark.usefixtures("broken")
def test_a_chat_and_a_search_say_what_is_wrong_with_a_file(
    nano: Mats, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnexpectedError, match=r"odd\.wav cannot be heard"):
        query(nano, [], [str(folder / "odd.wav")])
    monkeypatch.setattr("mats_cli.loading.load_model", lambda *_: nano)
    session = Session(Settings(), lambda: pytest.fail("no microphone was asked for"))
    with pytest.raises(UnexpectedError, match=r"odd\.wav cannot be heard"):
        session.open_file(str(folder / "odd.wav"))
    with pytest.raises(InputError, match=r"^~nobody-of-that-name/a\.wav is not there"):
        handle(session, "/file ~nobody-of-that-name/a.wav")
    with pytest.raises(UsageError, match=r"the question K\\xe4uzchen\? is not UTF-8 text"):
        handle(session, f"{ODD}?")


def test_samples_beyond_all_measure(nano: Mats) -> None:
    with pytest.raises(
        InputError,
        match=r"stdin cannot be heard: its samples reach \de\+30 times full scale \(at 0 s\); export it again\.",
    ):
        nano.caption(encoded(noise(1) * 1e31))
    assert nano.caption(encoded(noise(1) * 1e7)).endswith(".")  # integers of 24 bits that were written as they are
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano.clap, "embed_windows", lambda waves: np.full((len(waves), 256), np.nan, np.float32))
        with pytest.raises(ModelError, match="its weights are damaged"):
            nano.caption(encoded(noise(1)))


# ---- names


def test_names_fit() -> None:
    assert fitting("a.wav", ".txt") == "a.wav.txt" and fitting("a" * 251, ".txt") == "a" * 251 + ".txt"
    names = ("a" * 252, "a" * 253, "\xe9" * 127, "\U0001f415" * 63, b"\xff".decode("utf-8", "surrogateescape") * 255)
    long = [fitting(name, ".txt") for name in names]
    assert len(set(long)) == 5 and all(
        len(os.fsencode(name)) <= 255 and name.endswith(".txt") and "~" in name for name in long
    )


def test_names_as_long_as_names_can_be(nano: Mats, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["b" * 247 + ".wav", "b" * 251 + ".wav", "\xe9" * 125 + ".wav"]
    for name in names:
        (folder / name).write_bytes(encoded(noise(0.2)))
    out = folder.parent / "out"
    # a folder stands where one result belongs
    (out / "z.wav.txt").mkdir(parents=True)
    assert run(nano, [str(folder)], f"{out}/") == 3
    said = f"mats: what was heard in {folder}/z.wav cannot be written to {out}/z.wav.txt (Is a directory)."
    assert capsys.readouterr().err.splitlines() == [said, "mats: 1 of 6 inputs failed."]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["a.wav.txt", "odd.wav.txt", "z.wav.txt", names[0] + ".txt", *(fitting(name, ".txt") for name in names[1:])]
    )
    name = folder / ("c" * 255)
    assert run(nano, [str(folder / "a.wav")], str(name)) == 0 and name.read_text() == "Heard.\n"


def test_a_path_longer_than_paths_can_be(mats: Run, tmp_path: Path) -> None:
    long = "d" * 300
    assert [item.name for item in expand([long, long]).items] == [long, long]
    done = mats("index", "memory", "c.txt", "-o", long)
    assert (done.returncode, done.stderr.decode()) == (
        2,
        f"mats: {long} cannot be used (File name too long): give another path.\n",
    )


def test_a_disk_that_takes_nothing_ends_the_job(nano: Mats, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mats_cli.job.os.replace", full)
    with pytest.raises(
        UsageError, match=r"a\.wav\.txt cannot be written \(No space left on device\); choose another place with -o\."
    ):
        run(nano, [str(folder)], f"{folder}/out/")
    assert [path.name for path in (folder / "out").iterdir()] == [".mats-unfinished.jsonl"]


def test_a_sentence_of_a_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    from mats_model.library.records import State

    with Library(tmp_path / "l.db", create=True) as store:
        store.fail(f"/{ODD}/a", State(1, 1), f"/{ODD}/a is empty.")
        assert store.known(f"/{ODD}") == {f"/{ODD}/a": State(1, 1, "/K\\xe4uzchen/a is empty.")}


# ---- one row


def test_rows_that_are_none(tmp_path: Path) -> None:
    lines = [
        '{"a": 1}',
        '{"caption": "A \\ud83d bird"}',
        '{"caption":' * 100_000,
        '{"caption": "a dog barks"}',
        '{"text": "x"}',
        '{"caption": ""}',
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    rows = list(captions_in(tmp_path / "c.jsonl"))
    assert [row for row in rows if isinstance(row, str)] == ["a dog barks"]
    bad = [
        (1, "lacks a column that is needed; it has a"),
        (3, "is nested too deeply"),
        (5, "has no column 'caption'"),
        (6, "column 'caption' is blank"),
    ]
    assert [(row.line, row.why) for row in rows if isinstance(row, BadRow) and row.line != 2] == bad
    # before the first good row nobody knows the columns, but a row that has them is judged by itself
    assert (
        str(next(row for row in rows if isinstance(row, BadRow) and row.line == 2))
        == f"{tmp_path}/c.jsonl:2: column 'caption' is not UTF-8"
    )
    source = read_source(SourceSettings(file="c.jsonl"), tmp_path)
    assert [example.text for example in source.examples] == ["a dog barks"] and [row.line for row in source.bad] == [
        1,
        2,
        3,
        5,
        6,
    ]
    with pytest.raises(UsageError, match=r"c\.jsonl:1: the row lacks a column that is needed; it has a\."):
        read_source(SourceSettings(file="c.jsonl"), tmp_path, strict=True)
    for settings in (SourceSettings(file="c.jsonl", text="said"), SourceSettings(file="c.jsonl", task="question")):
        with pytest.raises(UsageError, match=r"c\.jsonl(: say which column| has no column 'said')"):
            read_source(settings, tmp_path)
    with pytest.raises(UsageError, match=r"c\.jsonl has no column 'said' \(text\); it has a\."):
        list(captions_in(tmp_path / "c.jsonl", "said"))
    (tmp_path / "d.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="nested too deeply"):
        list(captions_in(tmp_path / "d.json"))


def test_a_memory_of_rows_that_are_none(mats: Run, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(
        '{"caption": "A dog barks"}\n{"caption": "A \\ud83d bird"}\n{"other": "x"}\n{"caption": "Rain"}\n'
    )
    done = mats("index", "memory", "c.jsonl", "-o", "memory")
    assert (done.returncode, done.stdout) == (0, b"memory: 2 captions in 1 clusters, 2 bad rows skipped\n")
    assert done.stderr == b"mats: c.jsonl:2: column 'caption' is not UTF-8\nmats: c.jsonl:3: has no column 'caption'\n"


# ---- texts


def test_a_recipe_of_half_a_surrogate(tmp_path: Path) -> None:
    from mats_model.training.recipe import text_recipe
    from mats_model.training.values import read_values

    (tmp_path / "r.yaml").write_text('sources:\n- file: a.txt\n  instructions: ["What \\ud83d?"]\n')
    with pytest.raises(
        UsageError, match=r"r\.yaml:\d: sources\.0\.instructions\.0 holds half of a surrogate pair, which is no text"
    ):
        text_recipe(*read_values(tmp_path / "r.yaml"))


def commands(command: Any) -> Iterator[Any]:
    for each in getattr(command, "commands", {}).values():
        yield each
        yield from commands(each)


def test_every_verb_has_the_door_of_texts() -> None:
    verbs = [each for each in commands(get_command(make_app())) if not hasattr(each, "commands")]
    assert len(verbs) > 15 and all(isinstance(each, _Verb) for each in verbs)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["classify", "a.wav", "--labels", f"{ODD},dog"], r"--labels K\xe4uzchen,dog"),
        (["classify", "a.wav", "--labels", "dog", "--template", f"{ODD} {{}}"], r"--template K\xe4uzchen {}"),
        (["search", "an", ODD], r"QUERY K\xe4uzchen"),
        (["search", "an owl", "--not", ODD], r"--not K\xe4uzchen"),
        (["chat", "a.wav", "--ask", "Is it?", "--ask", ODD], r"--ask K\xe4uzchen"),
        (["listen", "--on", f"{ODD}:0.5"], r"--on K\xe4uzchen:0.5"),
        (["index", "library", "x", "--tags", ODD], r"--tags K\xe4uzchen"),
        (["caption", "a.wav", "--santa", ODD], r"--santa K\xe4uzchen"),
        (["train", "r.yaml", "--set", f"name={ODD}"], r"--set name=K\xe4uzchen"),
        (["models", "path", ODD], r"NAME K\xe4uzchen"),
    ],
)
def test_a_text_that_is_none(words: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        make_app()(words, prog_name="mats", standalone_mode=False)
    assert (
        str(caught.value) == f"{what} is not UTF-8 text: set the terminal to UTF-8, or type it anew."
        and caught.value.exit_code == 2
    )


def test_paths_may_hold_any_byte(mats: Run, tmp_path: Path, dog: Path) -> None:
    (tmp_path / ODD).mkdir()
    (tmp_path / ODD / f"{ODD}.ogg").write_bytes(dog.read_bytes())
    (tmp_path / f"{ODD}.txt").write_text("# sounds\nrain\ndog bark\n")
    done = mats("classify", ODD, "--labels", f"{ODD}.txt", "-o", f"{ODD}.csv", "--csv")
    assert (done.returncode, done.stderr) == (0, b"") and re.search(
        rb",dog bark,(1\.0|0\.9)", (tmp_path / f"{ODD}.csv").read_bytes()
    )
    assert mats("index", "library", ODD, "--index", f"{ODD}.db").stdout.startswith(b"1 new; 1 files")
    done = mats("search", "dog", "--in", ODD, "--index", f"{ODD}.db", "--clips", f"{ODD}/clips")
    assert (done.returncode, done.stderr) == (0, b"") and len(list((tmp_path / ODD / "clips").iterdir())) == 1
    done = mats("search", "dog", "--not", ODD, "--index", f"{ODD}.db")
    assert (done.returncode, done.stdout) == (2, b"") and done.stderr.startswith(
        rb"mats: --not K\xe4uzchen is not UTF-8 text"
    )


def test_label_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.txt"
    path.write_text("\ufeff# what is there\n\\#1 hit\n   # more\ndog # bark\n\\\\x\n\ndog # bark\n")
    assert read_labels(str(path)) == Labels(
        ["#1 hit", "dog # bark", "\\\\x"],
        [f"{path} names 1 label(s) twice ('dog # bark' first); each counts once."],
    )
    assert read_labels("#1 hit,dog") == Labels(["#1 hit", "dog"])
    path.write_text("# nothing\n#else\n")
    with pytest.raises(UsageError, match="holds no labels"):
        read_labels(str(path))
    # the last of very many comes twice: looked for once
    path.write_text("".join(f"{n}\n" for n in range(90_000)) + "89999\n" * 200_000)
    began = time.monotonic()
    assert len(read_labels(str(path)).names) == 90_000 and time.monotonic() - began < 5
    path.write_text("".join(f"{n}\n" for n in range(100_001)))
    with pytest.raises(UsageError, match=r"l\.txt holds 100001 labels; at most 100000 are read\."):
        read_labels(str(path))
    with path.open("wb") as handle:
        handle.truncate(118_000_000)
    with pytest.raises(
        UsageError,
        match=r"l\.txt is longer than 8 MB, the most that is read of labels: is it a file of labels, one per line\?",
    ):
        read_labels(str(path))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"dog\n" * 3_000_000), closed=False))
    with pytest.raises(
        UsageError,
        match="standard input holds more than 8 MB, the most that is read of labels from there: name a file instead",
    ):
        read_labels("-")


# ---- standard input


def stdin(monkeypatch: pytest.MonkeyPatch, data: Any) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=data, closed=False, fileno=data.fileno))


def test_standard_input_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for path, most, said in (
        ("/dev/zero", 1 << 40, "standard input is not a sound: its first 4 MB are one byte again and again."),
        (
            "/dev/urandom",
            3_000_000,
            "standard input holds more than 3 MB, the most that is read of a sound from there: name a file instead.",
        ),
        ("/dev/null", 10, "standard input is empty: pipe a sound in."),
    ):
        with open(path, "rb") as handle:
            stdin(monkeypatch, handle)
            with pytest.raises(InputError) as caught:
                read_stdin(most)
            assert str(caught.value) == said
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed: pipe a sound in"):
        read_stdin()
    silence = encoded(np.zeros(2_000_000, np.float32))
    stdin(monkeypatch, io.BytesIO(silence))
    assert read_stdin() == silence  # its header is another byte


def test_standard_input_that_is_no_sound_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless one is refused early; a tag that is longer than that is waited for."""
    chance = np.random.default_rng(0).bytes(1 << 20)
    cover = b"ID3\3\0\0" + bytes((5_000_000 >> shift) & 127 for shift in (21, 14, 7, 0)) + chance * 5
    mp3 = cover[:5_000_010] + encoded(noise(1), kind="MP3", subtype="MPEG_LAYER_III")
    for first, again, said, most in (
        (b"", chance, "its content is of no known audio format", 4),
        (b"", b"words\n" * 200_000, "its content is text", 4),
        (cover[:5_000_010], chance, "its content is of no known audio format", 10),
    ):
        pieces, read = iter([first] * bool(first)), list[int]()
        reader = SimpleNamespace(
            read1=lambda _, pieces=pieces, again=again, read=read: read.append(1) or next(pieces, again),
            fileno=lambda: -1,
        )
        stdin(monkeypatch, reader)
        with pytest.raises(InputError, match=f"^standard input is not a sound: {said}"):
            read_stdin()
        assert len(read) <= most
    stdin(monkeypatch, io.BytesIO(mp3))
    assert read_stdin() == mp3


def test_standard_input_that_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(inputs, "_PATIENCE", 0.1)
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as handle:
        stdin(monkeypatch, handle)
        threading.Timer(0.4, lambda: (os.write(theirs, b"sound"), os.close(theirs))).start()
        assert read_stdin() == b"sound"
    assert (
        capsys.readouterr().err
        == "mats: standard input has not ended (0.0 MB so far): a sound is read to its end first.\n"
    )


def test_raw_samples_that_are_waited_for(
    nano: Mats, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(microphone, "_GONE", 0.2)
    monkeypatch.setattr("mats_cli.loading.load_model", lambda *_: nano)
    ours, theirs = os.pipe()
    session = Session(Settings(), lambda: RawPipe("s16le,16000,1", os.fdopen(ours, "rb")))
    sound = (noise(1, 16_000) * 30_000).astype("<i2").tobytes()
    threading.Timer(1.0, lambda: (os.write(theirs, sound), os.close(theirs))).start()
    session.listen(5.0)
    assert session.conversation.hearing and session.conversation.hearing.seconds == pytest.approx(1.0)
    waits = "mats: standard input sends nothing (0.0 s of sound came so far): it is waited for; Ctrl-C stops."
    assert capsys.readouterr().err.splitlines() == ["mats: listening to standard input at 16000 Hz.", waits]


# ---- signals

_HANG = """
import sys, time
import mats_cli.main as program
def work(*a, **k):
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        if "clean" in sys.argv:
            print("cleaning up", flush=True)
            time.sleep(60)
program.make_app = lambda verbs: work
program.main()
"""


def working(*words: str, **more: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HANG, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )
    assert process.stdout and process.stdout.readline() == b"at work\n"
    return process


def test_signals_stop_and_have_their_codes() -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        process = working()
        process.send_signal(number)
        assert (process.communicate(timeout=20)[1], process.returncode) == (b"mats: stopped.\n", code)


def test_a_second_signal_ends_at_once() -> None:
    process = working("clean")
    process.send_signal(signal.SIGTERM)
    assert process.stdout and process.stdout.readline() == b"cleaning up\n"
    # `timeout` sends it to the program and then to its group: that is one wish
    process.send_signal(signal.SIGTERM)
    time.sleep(1.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
    process.communicate()


def test_nohup_is_respected() -> None:
    process = working(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    process.communicate()


def test_a_job_that_is_told_to_end_goes_on_later(mats: Run, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02d}.wav").write_bytes(encoded(noise(1, seed=number)))
    command = [sys.executable, "-m", "mats_cli", "classify", ".", "--labels", "dog,rain"]
    process = subprocess.Popen([*command, "-o", "part.txt"], cwd=tmp_path, stderr=subprocess.PIPE)
    journal, until = tmp_path / ".part.txt.unfinished.jsonl", time.monotonic() + 60
    while time.monotonic() < until and not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=30)[1].decode()
    done = int(err.removeprefix("mats: stopped: ").split(" ")[0])
    assert (process.returncode, err) == (
        143,
        f"mats: stopped: {done} of 40 inputs are done. The same command goes on from there.\n",
    )
    again = mats(*command[3:], "-o", "part.txt")
    assert again.returncode == 0 and again.stderr.startswith(b"mats: going on: ")
    assert (tmp_path / "part.txt").read_bytes() == mats(*command[3:]).stdout and not journal.exists()


# ---- standard streams


def shell(words: str, folder: Path) -> tuple[int, str, str]:
    command = f"{sys.executable} -m mats_cli {words}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, timeout=60, check=False, text=True)
    return done.returncode, done.stdout, done.stderr


CLOSED = "mats: standard output is closed: there is nowhere to write results to.\n"
FULL = "mats: standard output cannot be written (No space left on device): make room, or send it elsewhere.\n"


def test_standard_streams_closed_or_full(tmp_path: Path) -> None:
    place = f"{tmp_path}/l.db\n"
    for words, expected in (
        (f"index path --index {tmp_path}/l.db >&-", (2, "", CLOSED)),
        (f"index path --index {tmp_path}/l.db >/dev/full", (2, "", FULL)),
        ("--version >/dev/full", (2, "", FULL)),
        ("caption --help >&-", (2, "", CLOSED)),
        (f"index path --index {tmp_path}/l.db 2>&-", (0, place, "")),
        (f"index path --index {tmp_path}/l.db <&- 2>/dev/full", (0, place, "")),
        ("index info --index none.db 2>&-", (5, "", "")),
        ("index info --index none.db >&- 2>/dev/full", (5, "", "")),
        ("caption 2>&-", (2, "", "")),
        ("classify a.wav --labels - <&-", (2, "", "mats: standard input is closed: pipe labels in.\n")),
        ("index path --index l.db <&- >&- 2>&-", (2, "", "")),
    ):
        assert shell(words, tmp_path) == expected, words


def test_results_come_out_whatever_becomes_of_remarks(nano: Mats, tmp_path: Path, dog: Path) -> None:
    sentence = f"{nano.caption(dog)}\n"
    assert shell(f"caption {dog} none.wav 2>/dev/full", tmp_path) == (3, f"{dog}\t{sentence}", "")
    # the reader of stderr leaves before the first remark
    assert shell("index info --index none.db 2> >(exec <&-)", tmp_path)[:2] == (5, "")
    # said before anything is heard; and with -o nothing needs standard output
    assert shell(f"caption none.wav {dog} >&-", tmp_path) == (2, "", CLOSED)
    assert (
        shell(f"caption {dog} -o out.txt <&- >&- 2>&-", tmp_path)[0] == 0
        and (tmp_path / "out.txt").read_text() == sentence
    )


def test_a_chat_does_not_ask_on_into_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(line: str) -> None:
        asked.append(line)
        raise UsageError("a question that is none") if line == "one" else console.OutputError("full")

    with pytest.raises(console.OutputError):
        _read(SimpleNamespace(ask=ask), ["one", "two", "three"])  # type: ignore[arg-type]
    assert asked == ["one", "two"]


# ---- a user without a home


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "MATS_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    places._homeless.cache_clear()
    home = tmp_path / f"mats-{os.getuid()}"
    assert places.home() == home and home.stat().st_mode & 0o777 == 0o700
    assert (
        str(places.data()).startswith(str(home))
        and str(places.cache()).startswith(str(home))
        and str(places.state()).startswith(str(home))
    )
    assert places.expanded("~/a") == Path("~/a") and places.expanded("~nobody-of-that-name/a") == Path(
        "~nobody-of-that-name/a"
    )
    # somebody else may write there: not ours
    home.chmod(0o777)
    places._homeless.cache_clear()
    assert places.home() != home and places.home().parent == tmp_path and places.home().stat().st_mode & 0o777 == 0o700
    home.chmod(0o700)
    places._homeless.cache_clear()
    assert make_app()(["index", "path"], prog_name="mats", standalone_mode=False) in (0, None)
    with pytest.raises(ModelError, match="there is no model 'none'"):
        make_app()(["caption", str(EXAMPLES / "dog.ogg"), "--model", "none"], prog_name="mats", standalone_mode=False)
    places._homeless.cache_clear()


@pytest.mark.skipif(os.name != "posix", reason="a terminal of POSIX")
def test_the_terminal_is_as_wide_as_it_is() -> None:
    """Our own standard output is the one that shutil asks."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 43, 0, 0))
    code = "from mats_cli import console; console.streams(); import shutil; print(shutil.get_terminal_size().columns)"
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env=environment, check=True)
    os.close(theirs)
    assert os.read(ours, 100).split() == [b"43"]
    os.close(ours)
