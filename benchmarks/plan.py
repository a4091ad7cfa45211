"""What `mats train -n` promises beside what a run then takes: memory, and minutes.

    python benchmarks/plan.py --data DATA [--recipe custom-labels nano smollm2] [--steps 20]

A run is a process of its own; its memory is the most that the system ever gave it. Of a long recipe only some steps are
taken, with an evaluation and a checkpoint, and the time of one step stands for the rest. Beside the minutes by the
clock stands what they would be if the processors had done nothing else, by the time that they worked for the run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, arguments, machine

COMMAND = [sys.executable, "-m", "mats_cli", "train"]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--recipe", nargs="+", default=["custom-labels", "nano", "smollm2"])
    parser.add_argument("--steps", type=int, default=20, help="of a recipe that takes more; 0 takes them all")
    options = parser.parse_args()
    print(f"{machine()}\n")
    print(
        "| recipe | memory planned | used | minutes planned | by the clock | by work alone |\n|---|---|---|---|---|---|"
    )
    for name in options.recipe:
        own = name == "custom-labels"
        recipe = [str(ROOT / "recipes" / f"{name}.yaml"), *([] if own else ["--data", str(options.data)])]
        steps = 0 if own else options.steps
        print(row(name, recipe, steps), flush=True)


def row(name: str, recipe: list[str], steps: int) -> str:
    """The plan of a recipe, and a run of it with so many steps, 0 for all."""
    done = subprocess.run([*COMMAND, *recipe, "-n", "--json"], capture_output=True, text=True, check=True)
    plan = json.loads(done.stdout)
    fewer = [f"--set=train.{key}={steps}" for key in ("steps", "evaluate_every", "sample_every", "save_every") if steps]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        process = subprocess.Popen([*COMMAND, *recipe, *fewer, "-q", "-o", folder])
        _, status, used = os.wait4(process.pid, 0)
        clock, work = time.monotonic() - began, used.ru_utime + used.ru_stime
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{name} did not run")
        told = [json.loads(line) for line in (Path(folder) / "training" / "steps.jsonl").read_text().splitlines()]
    if steps:
        # what came before the first step and after the last does not grow with the steps
        each = [row for row in told if row["kind"] == "step"][1:]
        a_step = sum(plan["batch"] / row["examples"] for row in each) / len(each)
        more = a_step * (plan["batches"] - steps)
        work += more * work / clock
        clock += more
    return (
        f"| {name} | {plan['megabytes']} MB | {used.ru_maxrss / 1e3:.0f} MB | {plan['minutes']:.1f} | "
        f"{clock / 60:.1f} | {work / 60:.1f} |"
    )


if __name__ == "__main__":
    main()
