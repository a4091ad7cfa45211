"""A YAML file -> plain values and the line of each; what could exhaust the machine is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mats_model.errors import UsageError
from mats_model.files import read_text
from mats_model.settings import Where

_LONGEST = 1 << 18  # bytes of a recipe
_MOST_VALUES = 100_000


def read_values(path: Path) -> tuple[dict[str, Any], Where]:
    """The recipe's plain values, and the line of each. Errors: UsageError."""
    import yaml

    try:
        text = read_text(path, _LONGEST)
    except (OSError, ValueError) as error:
        raise UsageError(f"the recipe {path} cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    try:
        tree = yaml.compose(text, yaml.SafeLoader)
        if tree is not None and _unfolded(tree, {}) > _MOST_VALUES:
            raise ValueError(f"what its aliases stand for is more than {_MOST_VALUES} values")
        values = yaml.safe_load(text)
    except MemoryError:
        raise
    except Exception as error:  # numbers and dates that are none, lists as names: the library has many kinds
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        why = (
            "it is too deep"
            if isinstance(error, RecursionError)
            else getattr(error, "problem", None) or str(error) or type(error).__name__
        )
        raise UsageError(f"{path} is no YAML{where}: {str(why).splitlines()[0][:200]}.") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe is a list of settings; this one is empty or something else.")
    lines: dict[str, int] = {}
    _lines(tree, "", lines, 0)
    return values, Where(str(path), lines)


def _unfolded(node: Any, known: dict[int, int]) -> int:
    """Values below a node, those that aliases stand for counted wherever they stand. Errors: ValueError where it holds
    itself."""
    if id(node) not in known:
        known[id(node)] = -1
        children = (
            [each for entry in node.value for each in (entry if isinstance(entry, tuple) else (entry,))]
            if isinstance(node.value, list)
            else []
        )
        known[id(node)] = 1 + sum(_unfolded(child, known) for child in children)
    if known[id(node)] < 0:
        raise ValueError("it holds an alias of what it stands in")
    return known[id(node)]


def _lines(node: Any, prefix: str, lines: dict[str, int], depth: int) -> None:
    if depth > 20:
        return
    if isinstance(node.value, list):
        for number, entry in enumerate(node.value):
            key, value = (entry[0].value, entry[1]) if isinstance(entry, tuple) else (number, entry)
            start = entry[0] if isinstance(entry, tuple) else entry
            name = f"{prefix}{key}"
            lines[name] = start.start_mark.line + 1
            _lines(value, f"{name}.", lines, depth + 1)
