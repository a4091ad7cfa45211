"""`make demo`: what mats hears in examples/, by its own command line, and how long that took from a cold start."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LABELS = "dog bark,rain,baby crying,clock ticking,sneeze,rooster,helicopter,violin"


def show(*words: str) -> None:
    print(f"\n$ mats {shlex.join(words)}", flush=True)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "mats_cli", *words], cwd=ROOT, check=False)
    print(f"# {time.perf_counter() - began:.1f} s, start of Python included", flush=True)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    show("caption", "examples/dog.ogg")
    show("caption", "examples")
    show("classify", "examples", "--labels", LABELS)
    print("\nNow try your own: .venv/bin/mats caption SOUND_OR_FOLDER")
