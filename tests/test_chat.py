"""mats chat and mats listen as they are used: in a pipe, in a terminal, and with a microphone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import EXAMPLES, Run
from virtual_mic import VirtualMic, missing, virtual_mic

pexpect = pytest.importorskip("pexpect", reason="pip install 'mats[dev]'")
RATE = 32_000
RAW = ("--mic", "-", "--raw", f"s16le,{RATE},1")


def text(done: subprocess.CompletedProcess[bytes]) -> tuple[int, str, str]:
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def scene(*parts: str | float) -> bytes:
    """Recordings by name and pauses in seconds, as raw samples with the hiss of a room."""
    waves = []
    for part in parts:
        if isinstance(part, str):
            samples, sample_rate = soundfile.read(EXAMPLES / f"{part}.ogg", dtype="float32", always_2d=True)
            waves.append(soxr.resample(samples.mean(1), sample_rate, RATE))
        else:
            waves.append(np.zeros(round(part * RATE), np.float32))
    wave = np.concatenate(waves)
    wave = wave + np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32) * 2e-4
    return (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()


# ---- scripted


def test_one_question_one_answer(mats: Run, dog: Path) -> None:
    code, out, err = text(mats("chat", dog, "--json", stdin=b"Is anyone speaking?\n"))
    told = json.loads(out)
    assert (
        (code, err, out.count("\n")) == (0, "", 1)
        and told["question"] == "Is anyone speaking?"
        and told["answer"].startswith("No, a person speaking")
    )
    assert (
        told["kind"] == "present"
        and told["labels"][0]["score"] < 0.3
        and told["sound"] == str(dog)
        and told["model"] == "nano"
    )
    code, out, err = text(mats("chat", dog, "--ask", "Is there a dog?", "--ask", "How long is it?"))
    assert (code, err) == (0, "") and re.fullmatch(
        r"Yes, dog: 0\.9\d at 0\.0-5\.0 s\.\n5\.0 seconds were heard\.\n", out
    )


def test_a_sound_from_a_pipe(mats: Run, dog: Path) -> None:
    code, out, err = text(mats("chat", "-", "--ask", "Is there a dog?", stdin=dog.read_bytes()))
    assert (code, err) == (0, "") and out.startswith("Yes, dog: ")
    code, out, err = text(
        mats(
            "chat",
            *RAW,
            "--listen",
            "4",
            "--ask",
            "Is there a dog?",
            "--ask",
            "how long is it?",
            "-q",
            stdin=scene("dog", 3.0),
        )
    )
    assert (code, err) == (0, "") and out.startswith("Yes, dog: ") and out.endswith("4.0 seconds were heard.\n")


def test_commands(mats: Run, dog: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "rain.ogg", tmp_path / "my rain.ogg")
    lines = [
        "What is it?", "/file my rain.ogg", "Is there a dog?", "/history", "/clear", "/history", "/why", "/set",
        "/set gate=-40", "/set strict=on",
        "/set lambda=0.5", "/set", "/set lambda=2", "/set x=1", "/set window=x", "/window 99", "/wyh", "/save a.wav",
        "/save", "/file nowhere.wav",
        "/file", "/file .", '/file "', "/model nowhere", "/model", "/help", "/listen", "x" * 3000, "/bye",
        "Is there a dog?",
    ]  # fmt: skip
    code, out, err = text(mats("chat", dog, stdin="\n".join(lines).encode()))
    assert code == 7 or code == 0
    assert re.match("A (small )?dog barks", out) and "No, dog is not heard" in out
    assert re.search("> What is it\\?\nA (small )?dog", out)
    assert "-- another sound\n> Is there a dog?\nNo, dog" in out and out.count("> What is it?") == 1
    assert "tags\n" in out and "nearest captions of the memory\n" in out
    assert (
        "window=10 gate=-55 strict=off\nlambda=1 tau=0.04 k=16 way=blend\n" in out
        and "gate=-40 strict=on\nlambda=0.5 tau" in out
    )
    said = err.splitlines()
    for expected in (
        "mats: santa lambda=2: lambda should lie between 0 and 1, not 2.0.",
        "mats: santa x=1: there is no setting 'x'",
        "mats: /window 99: give between 1 and 60 seconds.",
        "mats: there is no command /wyh; did you mean /why?",
        "mats: /save: my rain.ogg is a file already.",
        "mats: /save: give the name of a file that ends in .wav.",
        "mats: nowhere.wav is not there; check the path.",
        "mats: /file: say which.",
        "mats: . is a folder, not a sound.",
        "mats: there is no model 'nowhere'",
    ):
        assert any(line.startswith(expected) for line in said), (expected, err)
    assert out.count("/listen [S]") == 1


def test_wrong_ways_to_begin(mats: Run, dog: Path) -> None:
    for words, expected, said in (
        (("nowhere.wav",), 4, "nowhere.wav is not there; check the path."),
        ((dog, "--listen", "3"), 2, "is a file: --listen, --rate, --mic and --raw are for a microphone."),
        ((*RAW, "--rate", "8000", "--ask", "x"), 2, "--rate is for a microphone"),
        (("--mic", "-", "--ask", "x"), 2, "go together"),
        (("--window", "0.1"), 2, "--window"),
        ((*RAW, "--ask", "What is it?"), 4, "standard input is empty: pipe raw samples in."),
        ((dog, "--model", "nowhere"), 5, "there is no model 'nowhere'"),
    ):
        code, out, err = text(mats("chat", *words))
        assert code == expected and out == "" and said in err, (words, code, err)


def test_nobody_can_ask(tmp_path: Path, dog: Path) -> None:
    command = f"{sys.executable} -m mats_cli chat {dog} <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=tmp_path, check=False)
    assert text(done) == (2, "", "mats: standard input is closed, so nobody can ask: use --ask QUESTION.\n")


# ---- a diary


def test_diary_of_a_pipe(mats: Run, tmp_path: Path) -> None:
    sound = scene(2.0, "dog", 3.0, "clock", 1.0, "baby")
    done = mats("listen", *RAW, "--clips", "clips", "-q", stdin=sound)
    code, out, err = text(done)
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (0, "")
    heard = [row for row in rows if len(row) == 3]
    assert heard[0][0] == "0:02" and "Bark" in heard[0][1] and "dog" in heard[0][2].lower()
    assert any("Baby cry" in row[1] for row in heard) and any(row[1:] == ["(quiet)"] for row in rows)
    clips = sorted((tmp_path / "clips").iterdir())
    assert [row[1] for row in rows if row[1].startswith("clips/")] == [f"clips/{path.name}" for path in clips] and len(
        clips
    ) == len(heard)
    samples, sample_rate = soundfile.read(clips[0])
    # two seconds before the dog, and half a second after it
    assert (
        sample_rate == RATE
        and 6.5 < len(samples) / sample_rate < 8.0
        and np.abs(samples[: round(1.9 * sample_rate)]).max() < 0.01 < np.abs(samples).max()
    )
    # the same bytes, the same diary
    assert text(mats("listen", *RAW, "-q", stdin=sound))[1] == "".join(
        line + "\n" for line in out.splitlines() if "\tclips/" not in line
    )


def test_diary_that_starts_commands(mats: Run, tmp_path: Path) -> None:
    script = (
        "import os, sys; open('said.txt', 'a').write(' '.join(sys.argv[1:]) + ' ' + os.environ['MATS_LABEL'] + "
        "chr(10)); print('heard')"
    )
    (tmp_path / "say it.py").write_text(script)
    # no shell: what a label holds is one argument, whatever it is
    label = "dog barking; touch x $(touch y)"
    words = (
        "listen",
        *RAW,
        "--json",
        "--on",
        f"{label}:0.3",
        "--on",
        "piano",
        "--run",
        f"{sys.executable} 'say it.py' {{label}} {{score}} {{time}}",
        "-q",
    )
    code, out, err = text(mats(*words, stdin=scene(1.0, "dog", 4.0, "dog", 1.0)))
    rows = [json.loads(line) for line in out.splitlines()]
    passed = [row for row in rows if row["event"] == "label"]
    assert (
        code == 0
        and len(passed) == 2
        and {row["label"] for row in passed} == {label}
        and 1.0 <= passed[0]["start"] <= 2.5
    )
    assert err == "heard\nheard\n" and not (tmp_path / "x").exists() and not (tmp_path / "y").exists()
    said = (tmp_path / "said.txt").read_text().splitlines()
    name, score, rest = re.fullmatch(r"(.*) (0\.\d{3}) (\S+ .*)", said[0]).groups()  # type: ignore[union-attr]
    assert (name, rest) == (label, f"{passed[0]['time']} {label}") and len(said) == 2
    assert abs(float(score) - passed[0]["score"]) <= 0.001
    assert {row["event"] for row in rows} == {"label", "sound", "quiet"} and all(
        row["tags"] for row in rows if row["event"] == "sound"
    )


def test_wrong_diaries(mats: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words, expected, said in (
        (("--on", "x:2"), 2, "--on 'x:2': give a label and a probability above 0 and up to 1"),
        (("--on", ":0.5"), 2, "give a label and a probability"),
        (("--run", "true"), 2, "--run goes with --on"),
        (("--on", "dog", "--run", "no-such-command"), 2, "there is no command 'no-such-command'"),
        (("--on", "dog", "--run", "'"), 2, "cannot be split into words"),
        (("--clips", "file"), 2, "--clips file cannot be made"),
        (RAW, 4, "standard input is empty"),
        (("--mic", "-", "--raw", "x"), 2, "--raw x: give format, rate and channels"),
    ):
        code, out, err = text(mats("listen", *words))
        assert code == expected and out == "" and said in err, (words, code, err)


def test_diary_stops(tmp_path: Path) -> None:
    """--for, a closed pipe, and Ctrl-C."""
    command = [sys.executable, "-m", "mats_cli", "listen", *RAW]
    sound = scene(1.0, "dog", 2.0)
    done = subprocess.run([*command, "--for", "3", "-q"], input=sound, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 0 and re.match(rb"0:01\t(Bark|Dog)", done.stdout)
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert job.stdin and job.stderr and b"listening" in job.stderr.readline()
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=30)
    assert (job.returncode, err) == (130, b"")


# ---- in a terminal


# the terminal is told that a prompt stands, and pasted text may come
PROMPT = r"\x1b\[\?2004h"


class Terminal:
    """`mats ...` on a terminal of so many columns."""

    def __init__(self, folder: Path, *words: str | Path, columns: int = 100, env: dict[str, str] | None = None) -> None:
        more = {"TERM": "xterm", "MATS_HOME": str(folder / "home"), **(env or {})}
        # what the terminal says of its size counts, not what the shell once said
        kept = {key: value for key, value in (os.environ | more).items() if key not in ("COLUMNS", "LINES")}
        self.job = pexpect.spawn(
            sys.executable,
            ["-m", "mats_cli", *map(str, words)],
            cwd=str(folder),
            env=kept,
            dimensions=(24, columns),
            timeout=60,
        )

    def expect(self, what: str, timeout: float = 60) -> None:
        """Meanwhile, as a terminal does, say where the cursor is when asked."""
        while self.job.expect([what, r"\x1b\[6n"], timeout=timeout):
            self.job.send("\x1b[1;1R")

    def see(self, what: str) -> None:
        """On the whole screen, drawn anew until it is there."""
        for _ in range(60):
            self.job.send("\x0c")
            with contextlib.suppress(pexpect.TIMEOUT):
                return self.expect(what, timeout=0.5)
        raise AssertionError(f"{what} was not seen; last {self.job.before!r}")

    def type(self, line: str) -> None:
        self.job.send(line + "\r")

    def end(self) -> int:
        while self.job.expect([pexpect.EOF, r"\x1b\[6n"]):
            self.job.send("\x1b[1;1R")
        self.job.close()
        return int(self.job.exitstatus)


def test_a_chat_in_a_terminal(tmp_path: Path, dog: Path) -> None:
    chat = Terminal(tmp_path, "chat", dog)
    chat.expect("ask a question; /help shows the commands, /bye leaves")
    chat.expect(PROMPT)
    chat.type("Is there a dog?")
    chat.expect(r"Yes, dog: 0\.\d\d at 0\.0-5\.0 s\.")
    # a command and a path are completed
    shutil.copy(EXAMPLES / "rain.ogg", tmp_path / "rain.ogg")
    for keys in ("/fi", "\t", " ra", "\t", "\r"):
        chat.job.send(keys)
        time.sleep(0.5)
    chat.type("is it raining?")
    chat.expect("Yes, raining")
    # several lines, by Esc and Enter
    chat.job.send("Is there\x1b\ra dog?\r")
    chat.expect("No, dog is not heard")
    chat.job.send("\x04")
    assert chat.end() == 0
    # what was asked is remembered, for its owner alone
    kept = tmp_path / "home" / "chat_history"
    assert "+Is there a dog?" in kept.read_text() and kept.stat().st_mode & 0o077 == 0
    again = Terminal(tmp_path, "chat", dog)
    again.expect(PROMPT)
    for keys in ["\x1b[A"] * 5 + ["\r"]:
        again.job.send(keys)
        time.sleep(0.3)
    again.expect(r"Yes, dog: 0\.\d\d")
    again.type("/bye")
    assert again.end() == 0


def test_ctrl_c_at_the_prompt_leaves(tmp_path: Path, dog: Path) -> None:
    chat = Terminal(tmp_path, "chat", dog)
    chat.expect(PROMPT)
    chat.job.send("\x03")
    assert chat.end() == 130


def test_ctrl_c_stops_an_answer(tmp_path: Path, dog: Path) -> None:
    """An answer that never ends is stopped; the chat goes on."""
    (tmp_path / "endless.py").write_text(
        "import sys, time\n"
        "from mats_model.live import talk\n"
        "first = talk.Conversation._pieces\n"
        "def endless(self, asked, answer):\n"
        "    if 'dog' not in answer.question:\n"
        "        while True:\n"
        "            yield 'and on '\n"
        "            time.sleep(0.05)\n"
        "    yield from first(self, asked, answer)\n"
        "talk.Conversation._pieces = endless\n"
        "from mats_cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    job = pexpect.spawn(
        sys.executable,
        ["endless.py", "chat", str(dog)],
        cwd=str(tmp_path),
        env={**os.environ, "MATS_HOME": str(tmp_path)},
        timeout=60,
    )
    job.expect(PROMPT)
    job.send("What is it?\r")
    job.expect("and on and on and on")
    job.sendintr()
    job.expect(r"\(stopped\)")
    job.expect(PROMPT)
    job.send("Is there a dog?\r")
    job.expect("Yes, dog")
    # before the prompt it would stop this answer alone
    job.expect(PROMPT)
    job.sendintr()
    job.expect(pexpect.EOF)
    job.close()
    assert job.exitstatus == 130


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_terminals(tmp_path: Path, dog: Path, env: dict[str, str]) -> None:
    chat = Terminal(tmp_path, "chat", dog, env=env)
    chat.expect(">" if env.get("TERM") == "dumb" else PROMPT)
    chat.type("Is there a dog?")
    chat.expect("Yes, dog")
    chat.type("/bye")
    before = chat.job.before
    assert chat.end() == 0
    # neither colour
    assert not re.search(rb"\x1b\[(3|4|9|10)\d(;\d+)*m", before + chat.job.before)


def test_answers_go_to_a_file_and_the_prompt_does_not(tmp_path: Path, dog: Path) -> None:
    chat = Terminal(tmp_path, "chat", dog)
    chat.job.close()
    job = pexpect.spawn(
        "/bin/sh",
        ["-c", f"{sys.executable} -m mats_cli chat {dog} > said.txt"],
        cwd=str(tmp_path),
        env={**os.environ, "MATS_HOME": "."},
    )
    job.expect(PROMPT, timeout=60)
    job.send("Is there a dog?\r")
    time.sleep(2)
    job.send("/bye\r")
    job.expect(pexpect.EOF, timeout=60)
    assert re.fullmatch(r"Yes, dog: 0\.\d\d at 0\.0-5\.0 s\.\n", (tmp_path / "said.txt").read_text())


# ---- with a microphone


@pytest.fixture(scope="module")
def mic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMic]:
    if lacking := missing():
        pytest.skip(f"the virtual microphone needs {lacking}")
    with virtual_mic(tmp_path_factory.mktemp("mic")) as made:
        yield made


@pytest.fixture(scope="module")
def dog_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples, sample_rate = soundfile.read(EXAMPLES / "dog.ogg", always_2d=True)
    path = tmp_path_factory.mktemp("wav") / "dog.wav"
    soundfile.write(path, samples, sample_rate)
    return path


def test_chat_hears_the_microphone(mic: VirtualMic, dog_wav: Path, tmp_path: Path) -> None:
    """From the sound card to the answer, on a terminal that grows narrow meanwhile."""
    chat = Terminal(tmp_path, "chat", env=mic.env)
    chat.expect("listening to .* at 4[48][01]00 Hz")
    chat.see(r"-120 dB  default sends only zeros: is it muted\?")
    chat.type("What do you hear?")
    chat.expect(r"It is quiet \(-120 dB\): there is nothing to be heard|was heard for")
    playing = mic.play(dog_wav)
    chat.see(r"\] -?\d+ dB  (Bark|Dog|Bow-wow)")
    playing.wait()
    chat.type("Is there a dog?")
    chat.expect(r"Yes, dog: 0\.\d\d at ")
    chat.see(r"dB  \(silence\)")
    chat.job.setwinsize(20, 40)
    chat.see(r"\n-120 dB  \(silence\)|[hm;H]-120 dB  \(silence\)")
    chat.type("/save heard.wav")
    chat.expect("saved to heard.wav")
    chat.type("/bye")
    assert chat.end() == 0
    samples, sample_rate = soundfile.read(tmp_path / "heard.wav")
    assert 4.0 < len(samples) / sample_rate <= 10.0 and np.abs(samples).max() > 0.1


def test_listen_hears_the_microphone(mic: VirtualMic, dog_wav: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mats_cli", "listen", "--json", "--for", "12"]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=mic.env)
    assert job.stderr and b"listening to" in job.stderr.readline()
    time.sleep(1)
    mic.play(dog_wav).wait()
    out, err = job.communicate(timeout=60)
    rows = [json.loads(line) for line in out.splitlines()]
    heard = [row for row in rows if row["event"] == "sound"]
    assert job.returncode == 0 and heard and heard[0]["tags"][0]["label"] in ("Bark", "Dog", "Bow-wow"), (out, err)
    # by the wall's clock
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", heard[0]["time"])


def test_devices_are_listed(mic: VirtualMic, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mats_cli", "chat", "--devices"],
        capture_output=True,
        cwd=tmp_path,
        env=mic.env,
        check=False,
    )
    assert (
        done.returncode == 0
        and re.search(rb"\d+\tdefault\t\d+ channels\t\d+ Hz\tdefault\n", done.stdout)
        and done.stderr == b""
    )
    done = subprocess.run(
        [sys.executable, "-m", "mats_cli", "chat", "--devices", "--json"],
        capture_output=True,
        cwd=tmp_path,
        env=mic.env,
        check=False,
    )
    assert any(json.loads(line)["chosen"] for line in done.stdout.splitlines())


def test_a_microphone_that_disappears(dog_wav: Path, tmp_path: Path) -> None:
    """Last, since the sound system is gone afterwards."""
    if lacking := missing():
        pytest.skip(f"the virtual microphone needs {lacking}")
    with virtual_mic(tmp_path / "mic") as mic:
        job = subprocess.Popen(
            [sys.executable, "-m", "mats_cli", "listen"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=mic.env,
        )
        assert job.stderr and b"listening to" in job.stderr.readline()
        time.sleep(2)
        mic.unplug()
        _, err = job.communicate(timeout=60)
        assert job.returncode == 7 and b"sends nothing any more: was it unplugged?" in err
