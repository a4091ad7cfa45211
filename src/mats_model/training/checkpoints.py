"""Checkpoints of a run: the last, the one before it and the best, each written whole or not at all, each of one run."""

from __future__ import annotations

import math
import os
import pickle
import platform
from pathlib import Path
from typing import Any

import torch

from mats_model import __version__
from mats_model.errors import UsageError
from mats_model.files import whole
from mats_model.training.compare import differences

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
State = dict[str, Any]


class OtherRunError(UsageError):
    """A folder holds the checkpoints of another run."""


class Checkpoints:
    """Of one run in one folder; `facts` decide its weights and are held against those of a checkpoint: "recipe", as
    written, and others by name."""

    def __init__(self, work: Path, facts: dict[str, Any]) -> None:
        self.work, self.facts = work, facts
        self.versions = {"mats": __version__, "torch": str(torch.__version__), "python": platform.python_version()}

    def newest(self) -> tuple[State | None, list[str]]:
        """The newest that is whole, and what to say of one that is not. Errors: OtherRunError."""
        said = []
        for path in (self.work / LAST, self.work / PREVIOUS):
            if not path.exists():
                continue
            state = _read(path)
            if state is None:
                said.append(
                    f"{path} cannot be read, perhaps because the disk was full or it was cut: going on from the one "
                    "before it."
                )
                continue
            self._same_run(state["facts"])
            best = self.work / BEST
            if best.exists() and _read(best) is None:
                state["best"] = math.inf
                said.append(f"{best} cannot be read: the next evaluation writes it anew.")
            return state, said
        return None, said

    def _same_run(self, facts: dict[str, Any]) -> None:
        changed = differences(facts["recipe"], self.facts["recipe"])
        other = [key for key in self.facts if key != "recipe" and facts.get(key) != self.facts[key]]
        if changed or other:
            which = f"its recipe differs: {changed}" if changed else f"its {other[0]} differs"
            raise OtherRunError(f"{self.work} holds another run ({which}): give another folder, or begin anew.")

    def write(self, state: State, again: bool = False) -> Path:
        """last.pt, and the one before it kept; `again` where that one is of the same step. Errors: UsageError when the
        disk refuses."""
        write_state(self._whole(state), self.work / LAST, None if again else self.work / PREVIOUS)
        return self.work / LAST

    def write_best(self, state: State) -> None:
        """best.pt. Errors: UsageError when the disk refuses."""
        write_state(self._whole(state), self.work / BEST)

    def best(self) -> State | None:
        """None where nothing was evaluated, or best.pt was cut."""
        return _read(self.work / BEST)

    def shrink(self) -> None:
        """Of a run that is complete: last.pt without what only a further step would need, and not the one before it.
        Errors: UsageError when the disk refuses."""
        state = _read(self.work / LAST)
        if state is not None and state["optimiser"]:
            write_state({**state, "optimiser": {}}, self.work / LAST)
        if state is not None:
            (self.work / PREVIOUS).unlink(missing_ok=True)

    def _whole(self, state: State) -> State:
        return {**state, "facts": self.facts, "versions": self.versions}


def _read(path: Path) -> State | None:
    """A checkpoint of ours, or None where it is not there or not whole."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and {"facts", "trained"} <= state.keys() else None


def write_state(state: object, path: Path, before: Path | None = None) -> None:
    """Whole or not at all; what is there becomes `before`. Errors: UsageError when the disk refuses."""
    try:
        with whole(path) as file:
            torch.save(state, file)
            file.flush()  # a full disk says so here, while the one before still has its name
            if before is not None and path.exists():
                os.replace(path, before)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"{path} cannot be written ({why}): make room; the checkpoint before it is whole.") from None
