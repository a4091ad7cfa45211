"""docs/cli.md, docs/data.md, docs/design.md and the completions, made from the program itself: `python -m
mats_cli.generated FOLDER` writes them."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import mats_model
from mats_cli.main import make_app
from mats_model.weights.data_sets import DATA_SETS

SHELLS = {"bash": "mats.bash", "zsh": "_mats", "fish": "mats.fish"}


def _help(words: list[str]) -> str:
    os.environ["COLUMNS"] = "100"  # whatever the terminal is
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        make_app()([*words, "--help"], prog_name="mats", standalone_mode=False)
    return shown.getvalue().rstrip()


def _names(group: Any) -> list[str]:
    return [command.name or command.callback.__name__ for command in group.registered_commands]


def _first_sentence(file: Path) -> str:
    """Of a module's docstring. Errors: ValueError where it has none."""
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not said:
        raise ValueError(f"{file} says in no docstring what it is")
    return re.split(r"(?<=\.)(?<!eq\.)\s", " ".join(said.split("\n\n")[0].split()), maxsplit=1)[0]


def _imports(file: Path) -> set[str]:
    """Dotted names of what a module imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _reading_order(units: dict[str, set[str]]) -> list[str]:
    """Names of units so that each stands after those it imports, else by name; a ring is cut at its first."""
    order: list[str] = []
    while left := sorted(units.keys() - set(order)):
        free = [name for name in left if not units[name] & (set(left) - {name})]
        order.append((free or left)[0])
    return order


def _needs(folder: Path, package: str, names: list[str]) -> dict[str, set[str]]:
    """Of modules and folders of modules: which of the others each imports from."""
    needs = {}
    for name in names:
        path = folder / name
        files = [path.with_suffix(".py")] if not path.is_dir() else list(path.glob("*.py"))
        told = {each for file in files for each in _imports(file)}
        needs[name] = {other for other in names if any(f"{each}.".startswith(f"{package}.{other}.") for each in told)}
    return needs


def _units(folder: Path) -> list[str]:
    modules = [file.stem for file in folder.glob("*.py") if not file.stem.startswith("__")]
    return modules + [file.parent.name for file in folder.glob("*/__init__.py")]


def _tree(folder: Path, package: str) -> list[str]:
    """A line for each module, what it imports before it, folders with their modules below them."""
    lines = [f"- **{folder.name}/** {_first_sentence(folder / '__init__.py')}"]
    for name in _reading_order(_needs(folder, package, _units(folder))):
        path = folder / name
        if path.is_dir():
            lines += [f"  {line}" for line in _tree(path, f"{package}.{name}")]
        else:
            lines.append(f"  - `{name}.py` {_first_sentence(path.with_suffix('.py'))}")
    return lines


_DESIGN = """# The layout of the code

Made by `make generated` from the first sentence of each module; a test compares it with the code. Each file stands
after those that it imports: data flows down this page (tests/test_layers.py holds the order). Open
[mats.py](../src/mats_model/mats.py) first. Why some things are as they are: [choices.md](choices.md).

"""


def design() -> str:
    """docs/design.md."""
    home = Path(mats_model.__file__).parent
    trees = [_tree(home, "mats_model"), _tree(home.parent / "mats_cli", "mats_cli")]
    return _DESIGN + "\n".join(line for tree in trees for line in tree) + "\n"


_DATA = """# Data sets by name

Made by `make generated` from [the catalogue](../src/mats_model/weights/data_sets.py); a test compares it.

A recipe may write `data: audiocaps/train` in the place of `file:`, in a source and in `held_out`; `leave_out` and
`names` take a name or a file. A name is looked for below `--data DIR`, as the file of the third column, then among what
mats fetched, which it keeps in the folder `data` of `mats models path`, and is else fetched once, its terms shown first
and its SHA-256 checked. Without a network: `mats models bundle` and `import`, or the file itself below `--data DIR`.

    mats models pull audiocaps/train
    mats models info audiocaps/train     address, SHA-256, columns, terms, where it is
    mats models rm audiocaps/train

Those marked "evaluation" are what models are measured with. A source that names one of them, or a file with the same
bytes, is refused; `leave_out` and `held_out` take them.

| name | rows | file | MB | terms | |
|---|---|---|---|---|---|
"""


def data_sets() -> str:
    """docs/data.md."""
    rows = []
    for each in DATA_SETS.values():
        terms = f"[{each.licence}]({each.page})" if each.page else each.licence
        remark = f"{each.remark}{'; evaluation' if each.evaluation else ''}"
        place = f"`{each.file}`" if not each.inside else "comes with mats"
        rows.append(f"| `{each.name}` | {each.rows} | {place} | {each.megabytes:g} | {terms} | {remark} |\n")
    return _DATA + "".join(rows)


def contents() -> dict[str, str]:
    """Path in the repository -> text."""
    from typer._completion_shared import get_completion_script

    groups = [(group.name or "", ["", *_names(group.typer_instance)]) for group in make_app().registered_groups]
    verbs = [[name] for name in _names(make_app())] + [[group, name] for group, names in groups for name in names]
    parts = ["# The command line\n\nMade by `make generated`; a test compares it with the program.\n"]
    for words in ([], *(list(filter(None, verb)) for verb in verbs)):
        parts.append(f"## {' '.join(['mats', *words])}\n\n```\n{_help(words)}\n```\n")
    made = {"docs/cli.md": "\n".join(parts), "docs/data.md": data_sets(), "docs/design.md": design()}
    for shell, name in SHELLS.items():
        made[f"completions/{name}"] = (
            get_completion_script(prog_name="mats", complete_var="_MATS_COMPLETE", shell=shell).strip() + "\n"
        )
    return made


if __name__ == "__main__":
    for name, text in contents().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
