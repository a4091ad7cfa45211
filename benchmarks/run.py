"""`make bench`: all benchmarks, one after the other; results go to benchmarks/results.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = [["esc10.py"], ["audiocaps.py"], ["speed.py"]]


def main() -> None:
    parts = ["# Results\n\nWritten by `make bench`."]
    for command in COMMANDS:
        done = subprocess.run(
            [sys.executable, HERE / command[0], *command[1:]], capture_output=True, text=True, check=False
        )
        print(done.stdout, done.stderr, flush=True)
        parts.append(
            f"## {command[0]}\n\n{done.stdout if done.returncode == 0 else 'did not run: ' + done.stderr[-300:]}"
        )
    (HERE / "results.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
