"""`make bench`: all benchmarks, one after the other; results go to benchmarks/results.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common import NEW_LABELS

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data"
COMMANDS = {
    "mats evaluate esc10/ --together --synonyms benchmarks/esc10.csv": [
        *("-m", "mats_cli", "evaluate", str(DATA / "esc10"), "-q", "--together", "--synonyms"),
        str(HERE / "esc10.csv"),
    ],
    **{
        f"mats evaluate esc10/ --no-generated --labels '{','.join(labels)}'": [
            *("-m", "mats_cli", "evaluate", str(DATA / "esc10"), "-q", "--no-generated", "--labels"),
            ",".join(labels),
        ]
        for labels in NEW_LABELS
    },
    "mats evaluate --set audiocaps --text-to-text": [
        *("-m", "mats_cli", "evaluate", "-q", "--set", "audiocaps", "--text-to-text", "--data"),
        str(DATA / "captions"),
    ],
    "speed.py": [str(HERE / "speed.py")],
}


def main() -> None:
    parts = ["# Results\n\nWritten by `make bench`."]
    for name, command in COMMANDS.items():
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, flush=True)
        # a table of a verb is text in columns
        text = f"```\n{done.stdout}```\n" if "-m" in command else done.stdout
        parts.append(f"## {name}\n\n{text if done.returncode == 0 else 'did not run: ' + done.stderr[-300:]}")
    (HERE / "results.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
