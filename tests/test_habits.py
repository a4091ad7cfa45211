"""What the program is like to use: help, completion, what it says of a slip of the fingers, and where bars stand."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Run, encoded, noise

from mats_cli import loading
from mats_cli.helptext import fitted
from mats_cli.labels import read_labels
from mats_model.audio import AudioSource, seconds

VERBS = (
    "",
    "caption",
    "classify",
    "chat",
    "listen",
    "search",
    "train",
    "models",
    "models pull",
    "index",
    "index library",
)


def helped(verb: str, columns: int) -> str:
    env = {**os.environ, "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "mats_cli", *verb.split(), "--help"]
    return subprocess.run(command, capture_output=True, env=env, check=True).stdout.decode()


@pytest.mark.parametrize("verb", VERBS)
def test_help_breaks_no_word(verb: str) -> None:
    narrow, wide = helped(verb, 40), helped(verb, 80)
    assert set(narrow.split()) <= set(wide.split()) and max(map(len, narrow.splitlines())) <= 40
    assert "..." not in narrow.split("Commands:")[-1] if verb in ("", "index", "models") else True


def test_daily_options_come_first() -> None:
    text = helped("caption", 80)
    assert text.index("--every") < text.index("--output") < text.index("Model:") < text.index("--quantize")


def test_long_lines_go_on_between_words() -> None:
    assert (
        fitted("  mats caption film.wav --every 5\nshort", 20)
        == "  mats caption\n      film.wav\n      --every 5\nshort"
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["song.wav"], 2, "mats: song.wav is no command. Did you mean: mats caption song.wav"),
        (["my song.wav", "b"], 2, "mats: my song.wav is no command. Did you mean: mats caption 'my song.wav' b"),
        (["https://a.org/b.wav"], 2, "mats opens none: curl -L https://a.org/b.wav | mats caption -"),
        (["caption", "https://a.org/b.wav"], 4, "is an address, and mats opens none: download it first"),
        (["help"], 0, "Usage: mats [OPTIONS]"),
        (["help", "models", "pull"], 0, "Usage: mats models pull"),
        (["version"], 0, "mats 0."),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_what_was_meant_is_said(mats: Run, words: list[str], code: int, said: str) -> None:
    done = mats(*words)
    assert done.returncode == code and said in (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("given", ["dog|rain", "dog;rain", "dog | rain"])
def test_labels_with_other_marks_are_questioned(given: str) -> None:
    labels = read_labels(given)
    names, (note,) = labels.names, labels.notes
    assert names == [given] and "did you mean 'dog,rain'" in note
    assert read_labels("dog|rain,cat").notes == []


@pytest.mark.parametrize(
    ("given", "meant", "said"),
    [
        ((None, "auto", ""), (None, "auto"), ""),
        (("2", "cuda:1", ""), ("2", "cuda:1"), ""),
        ((None, "usb", ""), ("usb", "auto"), "--mic usb"),
        ((None, "2", "cpu"), ("2", "cpu"), "--device now"),
        ((None, "auto", "cuda"), (None, "cuda"), "--device now"),
    ],
)
def test_device_is_the_processor(
    given: tuple[str | None, str, str], meant: tuple[str | None, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loading.microphone_and_device(*given) == meant
    assert said in capsys.readouterr().err


def test_models_list_has_a_head(mats: Run) -> None:
    head, nano, *_ = mats("models", "list").stdout.decode().splitlines()
    assert head.split() == ["KIND", "NAME", "HERE", "SIZE", "STILL", "TO", "FETCH", "TERMS"]
    assert nano.split()[:6] == ["model", "nano", "yes", "36", "MB", "-"]


# ---- the tab key


def completed(line: str) -> tuple[list[str], float]:
    words = line.split(" ")
    env = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_MATS_COMPLETE": "complete_bash"}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "mats_cli"], env=env, capture_output=True, check=False)
    return done.stdout.decode().split(), time.monotonic() - began


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mats caption --format v", ["vtt"]),
        ("mats caption --model na", ["nano"]),
        ("mats classify --clap msc", ["msclap-2023"]),
        ("mats chat --device cu", ["cuda", "cuda:0"]),
        ("mats caption --quantize n", ["none", "nf4"]),
        ("mats models pull smo", ["smollm2-135m"]),
        ("mats classify --labels la", []),
    ],
)
def test_tab_completes_values(line: str, offered: list[str]) -> None:
    assert completed(line)[0] == offered


def test_tab_is_quick() -> None:
    # 0.3 s on an idle machine; the processor's own time does not count what others do
    began = os.times()
    completed("mats caption --model na")
    ended = os.times()
    assert ended.children_user + ended.children_system - began.children_user - began.children_system < 0.6


def test_shells_complete_files_where_nothing_is_offered() -> None:
    assert "-o default" in (ROOT / "completions" / "mats.bash").read_text()
    env = {**os.environ, "_TYPER_COMPLETE_ARGS": "mats classify --labels la", "_MATS_COMPLETE": "complete_zsh"}
    done = subprocess.run([sys.executable, "-m", "mats_cli"], env=env, capture_output=True, check=False)
    assert done.stdout.decode().strip() == "_files"


# ---- bars


def on_terminal(words: list[str], cwd: Path) -> bytes:
    """All that a terminal gets."""
    ours, theirs = pty.openpty()
    job = subprocess.Popen([sys.executable, "-m", "mats_cli", *words], cwd=cwd, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone when the program is
        while part := os.read(ours, 10_000):
            shown += part
    os.close(ours)
    assert job.wait() == 0
    return shown


def lines(shown: bytes, width: int = 80) -> list[str]:
    """What stands on the screen in the end: a carriage return goes back, and letters replace those that were there."""
    screen, column = [[" "] * width], 0
    for letter in shown.decode():
        if letter == "\r":
            column = 0
        elif letter == "\n":
            screen.append([" "] * width)
        elif column < width:
            screen[-1][column] = letter
            column += 1
    return ["".join(line).rstrip() for line in screen if "".join(line).strip()]


def test_bars_are_taken_away_before_a_result(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(encoded(noise(1)))
    shown = on_terminal(["classify", ".", "--labels", "dog"], tmp_path)
    assert b"file" in shown and [line.split("\t")[0] for line in lines(shown)] == ["a.wav", "b.wav", "c.wav"]


def test_one_long_sound_shows_how_far_it_is(tmp_path: Path) -> None:
    wave = np.tile(noise(5, 8000), 12)
    (tmp_path / "long.wav").write_bytes(encoded(wave, 8000, subtype="PCM_16"))
    assert seconds(AudioSource("long.wav", path=tmp_path / "long.wav")) == 60
    shown = on_terminal(["classify", "long.wav", "--labels", "dog"], tmp_path)
    assert b" of 1:00 |" in shown and "\tdog\t" in lines(shown)[-1] and len(lines(shown)) == 1
