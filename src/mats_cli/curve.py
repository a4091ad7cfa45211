"""What is kept of a run for later eyes: every report as JSONL, the loss as a picture, TensorBoard where it is
installed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_model.files import write

if TYPE_CHECKING:
    from mats_model.training.events import Evaluated, Sample, Step


class Curve:
    """`folder`/steps.jsonl and loss.png. Reports after `step`, of a run that was killed later than it saved, are
    dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self.file, self.picture = folder / "steps.jsonl", folder / "loss.png"
        self.rows: list[dict[str, Any]] = []
        if self.file.exists():
            for line in self.file.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if row.get("step", 0) <= step:
                    self.rows.append(row)
        folder.mkdir(parents=True, exist_ok=True)
        write(self.file, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
        self.board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"))
        except ImportError:
            pass

    def add(self, event: Step | Evaluated | Sample) -> None:
        """Append at once, so that another program may follow."""
        kind = type(event).__name__.lower()
        row = {"kind": kind, **asdict(event)}
        self.rows.append(row)
        with self.file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
        if self.board is not None and "loss" in row:
            self.board.add_scalar("loss/" + ("training" if kind == "step" else "held out"), row["loss"], row["step"])

    def draw(self) -> bool:
        """The picture; False where matplotlib is not installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return False
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        for kind, name, style in (
            ("step", "training", {"lw": 1}),
            ("evaluated", "held out", {"lw": 1.5, "marker": "o", "ms": 4}),
        ):
            points = [(row["step"], row["loss"]) for row in self.rows if row["kind"] == kind]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, **style)
        axes.set_xlabel("step")
        axes.set_ylabel("loss per token of an answer")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
        temporary = self.picture.with_name(".loss.png")
        figure.savefig(str(temporary), format="png", dpi=110)
        temporary.replace(self.picture)
        return True

    def close(self) -> None:
        """TensorBoard's file."""
        if self.board is not None:
            self.board.close()
