"""docs/cli.md and the completions, made from the program itself: `python -m mats_cli.generated FOLDER` writes them."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any

from mats_cli.main import app

SHELLS = {"bash": "mats.bash", "zsh": "_mats", "fish": "mats.fish"}


def _help(words: list[str]) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        app([*words, "--help"], prog_name="mats", standalone_mode=False)
    return shown.getvalue().rstrip()


def _names(group: Any) -> list[str]:
    return [command.name or command.callback.__name__ for command in group.registered_commands]


def contents() -> dict[str, str]:
    """Path in the repository -> text."""
    from typer._completion_shared import get_completion_script

    groups = [(group.name or "", ["", *_names(group.typer_instance)]) for group in app.registered_groups]
    verbs = [[name] for name in _names(app)] + [[group, name] for group, names in groups for name in names]
    parts = ["# The command line\n\nMade by `make generated`; a test compares it with the program.\n"]
    for words in ([], *(list(filter(None, verb)) for verb in verbs)):
        parts.append(f"## {' '.join(['mats', *words])}\n\n```\n{_help(words)}\n```\n")
    made = {"docs/cli.md": "\n".join(parts)}
    for shell, name in SHELLS.items():
        made[f"completions/{name}"] = (
            get_completion_script(prog_name="mats", complete_var="_MATS_COMPLETE", shell=shell).strip() + "\n"
        )
    return made


if __name__ == "__main__":
    for name, text in contents().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
