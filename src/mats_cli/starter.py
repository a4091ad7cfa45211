"""The command that `mats listen` starts when a label passes: without a shell, so that a label cannot become one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

from mats_model.errors import UsageError


@dataclass
class Starter:
    """Commands, each label's one at a time."""

    words: list[str]  # {label}, {score} and {time} are filled in
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, command: str | None, watched: bool) -> Starter | None:
        """A command line, where labels are watched for. Errors: UsageError."""
        if command is None:
            return None
        if not watched:
            raise UsageError("--run goes with --on: say what it should wait for.")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--run {command!r} cannot be split into words ({error}).") from None
        if not words or not shutil.which(words[0]):
            raise UsageError(
                f"--run: there is no command {words[0] if words else ''!r}; it is started without a shell."
            )
        return cls(words)

    def start(self, label: str, score: float, when: str) -> str | None:
        """Starts it for a label that passed; returns what is wrong, if anything."""
        earlier = self.running.get(label)
        if earlier is not None and earlier.poll() is None:
            return f"the command for {label} still runs; it is not started again."
        filled = {"{label}": label, "{score}": f"{score:.3f}", "{time}": when}
        words = list(self.words)
        for mark, value in filled.items():
            words = [word.replace(mark, value) for word in words]
        told = {"MATS_LABEL": label, "MATS_SCORE": f"{score:.3f}", "MATS_TIME": when}
        try:
            # what it says is not part of the diary
            self.running[label] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=sys.stderr, env={**os.environ, **told}
            )
        except OSError as error:
            return f"{words[0]} cannot be started ({error.strerror})."
        return None
