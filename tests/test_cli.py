"""The program as its users meet it: exact output, exit codes, pipes, bad inputs, Ctrl-C, going on after a kill."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES, ROOT, Run, encoded, noise

from mats_cli.formats import FORMATS
from mats_model import __version__


def text(done: subprocess.CompletedProcess[bytes]) -> tuple[int, str, str]:
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def mixed(tmp_path: Path, dog: Path) -> Path:
    """A folder as they are: good, bad, odd names, other files, a loop of links."""
    folder = tmp_path / "mixed"
    (folder / "sub").mkdir(parents=True)
    (folder / "a dog.ogg").write_bytes(dog.read_bytes())
    (folder / "sub" / "no suffix").write_bytes(encoded(noise(1)))
    (folder / "new\nline \U0001f415.wav").write_bytes(encoded(noise(1)))
    (folder / "words.wav").write_text("not a sound")
    (folder / "empty.wav").touch()
    (folder / "quiet.wav").write_bytes(encoded(np.zeros(32_000, np.float32)))
    (folder / "gone.flac").symlink_to(folder / "nowhere.flac")
    (folder / "notes.txt").write_text("not for us")
    (folder / ".hidden.wav").write_text("not for us")
    (folder / "sub" / "loop").symlink_to(folder)
    return folder


# ---- help


def test_help_loads_no_torch() -> None:
    code = (
        "import sys, mats_cli.main; sys.exit(bool({'torch', 'numpy', 'soundfile', 'tokenizers', 'rich'} & "
        "set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("words", [["--help"], ["caption", "--help"], ["classify", "-h"], ["train", "--help"]])
def test_help_has_examples(mats: Run, words: list[str]) -> None:
    began = time.monotonic()
    code, out, err = text(mats(*words))
    assert (code, err) == (0, "") and "Examples:" in out and "  mats " in out
    # well under a second when the machine is idle; room for one that is not
    assert time.monotonic() - began < 5


def test_version(mats: Run) -> None:
    assert text(mats("--version")) == (0, f"mats {__version__}\n", "")


# ---- caption


def test_one_input_one_sentence(mats: Run, dog: Path) -> None:
    code, out, err = text(mats("caption", dog))
    assert code == 0 and err == "" and out.count("\n") == 1 and "\t" not in out and "dog" in out.lower()
    assert text(mats("caption", "-", stdin=dog.read_bytes())) == (0, out, "")


def test_several_inputs_name_each(mats: Run, dog: Path) -> None:
    sentence = text(mats("caption", dog))[1]
    code, out, _ = text(mats("caption", dog, "-", stdin=dog.read_bytes()))
    assert (code, out) == (0, f"{dog}\t{sentence}-\t{sentence}")


def test_folder_of_all_kinds(mats: Run, mixed: Path) -> None:
    code, out, err = text(mats("caption", mixed))
    lines = out.splitlines()
    assert code == 3 and [line.split("\t")[0].removeprefix(f"{mixed}/") for line in lines] == [
        "a dog.ogg", "new\\nline \U0001f415.wav", "quiet.wav", "sub/no suffix",
    ]  # fmt: skip
    assert lines[2].endswith("\t(silence)")
    assert err.splitlines() == [
        "mats: 1 file was passed over, whose endings are of no known sound: 1 .txt.",
        f"mats: {mixed}/empty.wav is empty (0 bytes).",
        f"mats: {mixed}/gone.flac is a link to a file that is not there.",
        f"mats: {mixed}/words.wav is not a sound: its content is text.",
        "mats: 3 of 7 inputs failed.",
    ]


def test_exit_codes(mats: Run, tmp_path: Path, dog: Path) -> None:
    (tmp_path / "nothing").mkdir()
    folder = "The path of a folder does as well."
    cases = [
        (["caption", "missing.wav"], 4, "mats: missing.wav is not there; check the path.\n"),
        (["caption", "nothing"], 4, "mats: no sounds were found in nothing.\n"),
        (
            ["caption", dog, "--model", "no-such"],
            5,
            f"mats: there is no model 'no-such': `mats models list` shows what there is. {folder}\n",
        ),
        (["caption", dog, "--model", "nothing"], 5, "mats: nothing is no model folder: config.json is missing.\n"),
        (
            ["caption", dog, "--format", "xml"],
            2,
            f"mats: --format xml: choose one of {', '.join(FORMATS)}.\n",
        ),
        (["caption", dog, "--json", "--csv"], 2, "mats: --format json and csv were both asked for: choose one.\n"),
        (["caption", dog, dog.parent, "--format", "srt"], 2, None),
        (["caption", dog, "--every", "0"], 2, "mats: --every 0: give between 0.1 and 86400 seconds.\n"),
        (["caption"], 2, None),
        (["caption", dog, "--evry", "5"], 2, None),
        (["classify", dog, "--labels", "dog", "--threshold", "0.3"], 2, None),
        (["classify", dog, "--labels", "none.txt"], 2, None),
    ]
    for words, expected, said in cases:
        code, out, err = text(mats(*words))
        assert code == expected and out == "" and err.startswith(("mats: ", "Usage: ")), (words, code, err)
        assert said is None or err == said


def test_every_and_subtitles(mats: Run, tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(encoded(np.concatenate([noise(2), np.zeros(64_000, np.float32), noise(1)])))
    code, out, _ = text(mats("caption", "long.wav", "--every", "2"))
    assert code == 0 and [line.split("\t")[0] for line in out.splitlines()] == [
        "0:00-0:02", "0:02-0:04", "0:04-0:05",
    ]  # fmt: skip
    said = [line.split("\t")[1] for line in out.splitlines()]
    assert said[1] == "(silence)"
    srt = text(mats("caption", "long.wav", "--every", "2", "--format", "srt"))[1]
    assert srt.startswith(
        f"1\n00:00:00,000 --> 00:00:02,000\n{said[0]}\n\n2\n00:00:02,000 --> 00:00:04,000\n(silence)\n"
    )
    vtt = text(mats("caption", "long.wav", "--every", "2", "--format", "vtt"))[1]
    assert vtt.startswith(f"WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n{said[0]}\n")


def test_machine_formats(mats: Run, dog: Path) -> None:
    sentence = text(mats("caption", dog))[1].strip()
    document = json.loads(mats("caption", dog, "missing.wav", "--json").stdout)
    assert document[0] == {
        "path": str(dog),
        "model": document[0]["model"],
        "mats": __version__,
        "segments": [
            {
                "start": 0.0,
                "end": (segment := document[0]["segments"][0])["end"],
                "silent": False,
                "caption": sentence,
                "score": segment["score"],
            }
        ],
    }
    assert 0.2 < segment["score"] <= 1.0
    assert document[1] == {
        "path": "missing.wav", "model": document[0]["model"], "mats": __version__,
        "error": "missing.wav is not there; check the path.",
    }  # fmt: skip
    lines = mats("caption", dog, "missing.wav", "--format", "jsonl").stdout.decode().splitlines()
    assert [json.loads(line) for line in lines] == document
    rows = mats("caption", dog, "--csv").stdout.decode().splitlines()
    assert rows[0] == "path,start,end,text,score,probability,nearest,error" and rows[1].startswith(f"{dog},0.000,")


def test_output_file_and_folder(mats: Run, tmp_path: Path, mixed: Path, dog: Path) -> None:
    assert text(mats("caption", dog, "-o", "out.txt"))[:2] == (0, "")
    sentence = (tmp_path / "out.txt").read_text()
    assert mats("caption", mixed, "-o", "out/").returncode == 3
    assert (tmp_path / "out" / "a dog.ogg.txt").read_text() == sentence
    made = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert made == ["a dog.ogg.txt", "new\nline \U0001f415.wav.txt", "quiet.wav.txt", "sub/no suffix.txt"]


def test_killed_job_goes_on(mats: Run, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02d}.wav").write_bytes(encoded(noise(0.5, seed=number)))
    whole = mats("caption", ".", "-o", "whole.txt")
    assert whole.returncode == 0
    job = subprocess.Popen(
        [sys.executable, "-m", "mats_cli", "caption", ".", "-o", "part.txt"], cwd=tmp_path, stderr=subprocess.PIPE
    )
    journal = tmp_path / ".part.txt.unfinished.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (journal.exists() and journal.read_bytes().count(b"\n") >= 5):
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert journal.exists() and not (tmp_path / "part.txt").exists()
    code, _, err = text(mats("caption", ".", "-o", "part.txt"))
    assert code == 0 and err.startswith("mats: going on: ") and not journal.exists()
    assert (tmp_path / "part.txt").read_text() == (tmp_path / "whole.txt").read_text()


def test_ctrl_c(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.wav").write_bytes(encoded(noise(3, seed=number)))
    job = subprocess.Popen(
        [sys.executable, "-m", "mats_cli", "caption", "."], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert job.stdout is not None
    job.stdout.readline()
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=30)
    assert job.returncode == 130 and err == b"mats: stopped. With -o, the same command goes on where this one ended.\n"


def test_closed_pipe_is_quiet(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.wav").write_bytes(encoded(noise(0.3, seed=number)))
    command = f"{sys.executable} -m mats_cli classify . --labels dog,rain | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0 and done.stderr == b"" and done.stdout.count(b"\n") == 1


def test_no_socket_is_opened(tmp_path: Path, dog: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a socket was opened')\n"
        "socket.socket.__init__ = refuse\n"
        "from mats_cli.main import main\n"
        f"main(['caption', {str(dog)!r}])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


# ---- classify


def test_classify_one_and_many(mats: Run, dog: Path, tmp_path: Path) -> None:
    code, out, err = text(mats("classify", dog, "--labels", "rain,dog bark,helicopter"))
    label, share, probability = out.strip().split("\t")
    assert (code, err, label) == (0, "", "dog bark") and 0.5 < float(share) <= 1 and 0.5 < float(probability) <= 1
    (tmp_path / "labels.txt").write_bytes("\ufeffrain\r\n\r\ndog bark\r\nrain\r\n".encode())
    code, out, err = text(mats("classify", EXAMPLES, "--labels", "labels.txt", "--top-k", "2"))
    passed = "mats: 1 file was passed over, whose endings are of no known sound: 1 .md.\n"
    assert code == 0 and err == "mats: labels.txt names 1 label(s) twice ('rain' first); each counts once.\n" + passed
    lines = [line.split("\t") for line in out.splitlines()]
    assert len(lines) == 2 * len(list(EXAMPLES.glob("*.ogg"))) and {line[-3] for line in lines} == {"rain", "dog bark"}
    assert [line[1] for line in lines if line[0].endswith("rain.ogg")][:1] == ["rain"]
    # a rooster is neither, and has its lines all the same
    assert [line[1] for line in lines if line[0].endswith("rooster.ogg")] == ["(none fits)"] * 2


def test_labels_from_stdin(mats: Run, dog: Path) -> None:
    assert text(mats("classify", dog, "--labels", "-", stdin=b"rain\ndog bark\n"))[1].startswith("dog bark\t")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "holds no labels"), (b"\r\n \n", "holds no labels"), (b"\xff\xfe\x00d", "is not UTF-8 text")],
)
def test_bad_label_files(mats: Run, dog: Path, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    code, out, err = text(mats("classify", dog, "--labels", "labels.txt"))
    assert code == 2 and out == "" and said in err


def test_multi_joins_neighbours(mats: Run, dog: Path) -> None:
    words = ["classify", dog, "--labels", "dog bark,violin", "--multi", "--threshold", "0.3", "--every", "2", "--json"]
    segments = json.loads(mats(*words).stdout)[0]["segments"]
    assert segments and all(segment["labels"][0]["label"] == "dog bark" for segment in segments)
    assert all(a["end"] <= b["start"] for a, b in itertools.pairwise(segments))
    assert all(segment["labels"][0]["score"] >= 0.3 for segment in segments)


def test_multi_says_silence(mats: Run, tmp_path: Path) -> None:
    (tmp_path / "quiet.wav").write_bytes(encoded(np.zeros(96_000, np.float32)))
    assert text(mats("classify", "quiet.wav", "--labels", "dog,rain", "--multi", "--every", "1")) == (
        0,
        "0:00-0:03\t(silence)\n",
        "",
    )


def test_a_model_without_its_base_says_how_to_get_it(
    mats: Run, dog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels need no language model; captions do, and with --offline its absence is an error of one line."""
    (tmp_path / "model").mkdir()
    config = {"format": 1, "clap": "nano", "llm": {"kind": "transformers", "base": "smollm2-135m"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    code, out, err = text(mats("caption", dog, "--model", "model", "--offline"))
    said = (
        "mats: the language model smollm2-135m is not here: `mats models pull smollm2-135m` gets it once (93 MB, "
        "Apache-2.0);"
    )
    assert (code, out) == (5, "") and err.startswith(said) and err.count("\n") == 1
    code, out, err = text(mats("classify", dog, "--labels", "dog,rain", "--model", "model", "--offline"))
    assert (code, err) == (0, "") and out.startswith(("dog\t1.000\t0.9", "dog\t0.999\t0.9"))


# ---- train


def test_train_refuses_bad_recipes(mats: Run, tmp_path: Path) -> None:
    (tmp_path / "wheel.whl").touch()
    good = {"kind": "nano", "language": str(ROOT / "recipes" / "nano.yaml")}
    cases = [
        ("kind: [", 2, "is no YAML at line"),
        ("kind: gpt", 2, "recipe.yaml:1: kind 'gpt': this version knows text and nano."),
        (json.dumps({**good, "erly": {}}), 2, "unknown setting erly; did you mean early?"),
        (
            json.dumps({**good, "early": {"learning_rate": "1e-3"}}),
            2,
            "early.learning_rate should be a number, but YAML reads 1e-3 as text: write it as 0.001.",
        ),
        (json.dumps({**good, "examples": 3}), 2, "examples should be a group of settings"),
        (json.dumps(good), 2, "is missing: give as data the folder"),
    ]
    for recipe, expected, said in cases:
        (tmp_path / "recipe.yaml").write_text(recipe)
        code, _, err = text(mats("train", "recipe.yaml", "--data", "nowhere", "--minilm", "wheel.whl", "-o", "out"))
        assert code == expected and said in err and err.count("\n") == 1, err


def test_bar_only_on_a_terminal(tmp_path: Path, dog: Path) -> None:
    import pty

    (tmp_path / "a.ogg").write_bytes(dog.read_bytes())
    (tmp_path / "b.wav").write_bytes(encoded(noise(1)))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mats_cli", "classify", ".", "--labels", "dog,rain"]
    job = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone when the program is
        while part := os.read(ours, 10_000):
            shown += part
    os.close(ours)
    out, _ = job.communicate()
    assert job.returncode == 0 and b"/2 [" in shown and out.count(b"\n") == 2 and b"\x1b" not in out
