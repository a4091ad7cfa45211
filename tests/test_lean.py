"""With nano nothing but training imports torch: each verb is run where an import of it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES, ROOT, noise

_WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "scipy"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Without())
from mats_cli.main import main
main()
"""


def run(folder: Path, *words: str | Path, stdin: bytes = b"") -> str:
    env = {**os.environ, "NO_COLOR": "1", "MATS_HOME": str(folder / "home")}
    command = [sys.executable, "-c", _WITHOUT, *(str(word) for word in words)]
    done = subprocess.run(command, input=stdin, capture_output=True, cwd=folder, env=env, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_the_hook_works(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="torch is imported"):
        run(tmp_path, "train", ROOT / "recipes" / "custom-labels.yaml", "-n")


def test_captions_and_labels(tmp_path: Path) -> None:
    assert "dog" in run(tmp_path, "caption", EXAMPLES / "dog.ogg").lower()
    assert run(tmp_path, "classify", EXAMPLES, "--labels", "dog bark,rain", "--json").count("dog bark") >= 5


def test_libraries_and_memories(tmp_path: Path) -> None:
    run(tmp_path, "index", "library", EXAMPLES, "--index", "l.mats")
    assert "dog.ogg" in run(tmp_path, "search", "a dog barks", "--index", "l.mats").splitlines()[0]
    (tmp_path / "texts.txt").write_text("a dog barks\nrain falls\n")
    run(tmp_path, "index", "memory", "texts.txt", "-o", "memory")
    assert run(tmp_path, "caption", EXAMPLES / "dog.ogg", "--memory", "memory").endswith(".\n")


def test_microphones_and_questions(tmp_path: Path) -> None:
    wave = (noise(6, 16_000) * 32767).astype("<i2").tobytes() + np.zeros(16_000, "<i2").tobytes()
    assert run(tmp_path, "listen", "--mic", "-", "--raw", "s16le,16000,1", stdin=wave)
    said = run(tmp_path, "chat", EXAMPLES / "dog.ogg", stdin=b"what is it?\nis there a dog?\n")
    assert said.splitlines()[-1].startswith("Yes")
    assert "nano" in run(tmp_path, "models", "list")


def test_threads_do_not_spin() -> None:
    told = "import os, mats_cli; print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['OMP_WAIT_POLICY'])"
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("O", "GOMP"))}
    for own, expected in (({}, "1 PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "1 ACTIVE")):
        done = subprocess.run([sys.executable, "-c", told], env=bare | own, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
