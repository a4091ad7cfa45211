"""docs/cli.md, docs/data.md, docs/design.md and completions/ are what program and code say today."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_nothing_has_drifted(tmp_path: Path) -> None:
    for folder in ("docs", "completions"):
        (tmp_path / folder).mkdir()
    env = {**os.environ, "COLUMNS": "100", "TERM": "dumb"}
    subprocess.run([sys.executable, "-m", "mats_cli.generated", str(tmp_path)], check=True, env=env)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert [str(path) for path in made] == [
        "completions/_mats",
        "completions/mats.bash",
        "completions/mats.fish",
        "docs/cli.md",
        "docs/data.md",
        "docs/design.md",
    ]
    for path in made:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), f"{path}: run make generated"


def test_completion_answers() -> None:
    env = {**os.environ, "COMP_WORDS": "mats caption --eve", "COMP_CWORD": "2", "_MATS_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-m", "mats_cli"], env=env, capture_output=True, check=False)
    assert done.stdout.decode().split() == ["--every", "--events"]
