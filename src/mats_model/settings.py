"""A dataclass of settings from plain values, strictly: whatever is wrong is said with its file, line and name.

A class of settings may have `MAY`, the bounds of its fields, so that what is made of them stays within reason before
anything is made; and `FORMER`, names of before that are still read.
"""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_type_hints

from mats_model.errors import MatsError, UsageError, is_text

Settings = TypeVar("Settings")
# what a setting may be: numbers lie between two, words are among these
May = tuple[float, float] | tuple[str, ...]


class FormerNameWarning(FutureWarning):
    """A setting is read by a name that it had before."""


class Where:
    """A file and, by dotted name of the setting, its lines: the beginning of every complaint about it."""

    def __init__(self, file: str, lines: Mapping[str, int] | None = None) -> None:
        self.file, self.lines = file, lines or {}

    def of(self, name: str) -> str:
        line = self.lines.get(name)
        return f"{self.file}:{line}" if line else self.file


def fill(default: Settings, values: Any, where: Where | str, error: type[MatsError], prefix: str = "") -> Settings:
    """`default`, a dataclass of dataclasses, with `values` in the place of its fields; strict in names and kinds."""
    where = Where(where) if isinstance(where, str) else where
    if not isinstance(values, dict):
        raise error(f"{where.of(prefix.rstrip('.'))}: {prefix.rstrip('.') or 'it'} should be a group of settings.")
    known = [entry.name for entry in fields(default)]  # type: ignore[arg-type]
    hints = get_type_hints(type(default))
    filled: dict[str, Any] = {}
    former: Mapping[str, str] = getattr(default, "FORMER", {})
    may: Mapping[str, May] = getattr(default, "MAY", {})
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key in former:
            if former[key] in values:
                raise error(f"{where.of(name)}: {name} is what {former[key]} was called before: leave one of them out.")
            warnings.warn(f"{where.of(name)}: {name} is called {former[key]} now.", FormerNameWarning, stacklevel=2)
            key = former[key]
        if key not in known:
            near = difflib.get_close_matches(str(key)[:80], known, 1)
            raise error(
                f"{where.of(name)}: unknown setting {name[:80]}"
                + (f"; did you mean {prefix}{near[0]}?" if near else ".")
            )
        old = getattr(default, key)
        if is_dataclass(old):
            value = fill(old, value, where, error, f"{name}.")
        elif isinstance(old, list):
            value = _filled_list(get_args(hints[key])[0], value, where, error, name)
        else:
            value = _of_kind(type(old), value, where, error, name)
            _check(may.get(key), value, where.of(name), error, name)
        filled[key] = value
    return replace(default, **filled)  # type: ignore[type-var]


def _filled_list(kind: Any, value: Any, where: Where, error: type[MatsError], name: str) -> list[Any]:
    if not isinstance(value, list):
        raise error(f"{where.of(name)}: {name} should be a list, not {shown(value)}.")
    if is_dataclass(kind):
        return [fill(kind(), each, where, error, f"{name}.{number}.") for number, each in enumerate(value)]  # type: ignore[operator]
    return [_of_kind(kind, each, where, error, f"{name}.{number}") for number, each in enumerate(value)]


def _check(may: May | None, value: Any, where: str, error: type[MatsError], name: str) -> None:
    if may is None or not isinstance(value, str | int | float):
        return
    if isinstance(value, str):
        if value not in may:
            raise error(f"{where}: {name} {shown(value)}: choose one of {', '.join(map(str, may))}.")
    elif not may[0] <= value <= may[1]:  # type: ignore[operator]
        raise error(f"{where}: {name} should lie between {may[0]:g} and {may[1]:g}, not {shown(value)}.")


def shown(value: Any) -> str:
    """A value in a sentence, however long or deep it is."""
    try:
        shown = repr(value)
    except (RecursionError, ValueError):
        return "what is too much to be shown"
    return shown if len(shown) <= 80 else f"{shown[:80]}..."


def _of_kind(kind: Any, value: Any, where: Where, error: type[MatsError], name: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if isinstance(value, str) and not is_text(value):
        raise error(f"{where.of(name)}: {name} holds half of a surrogate pair, which is no text: {shown(value)}.")
    if (
        type(value) is kind
        and not (kind is float and not math.isfinite(value))
        and not (kind is int and abs(value) >= 2**63)
    ):
        return value
    said = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}.get(
        kind.__name__, kind.__name__
    )
    if kind is float and isinstance(value, str) and _number(value):
        plain = f"{float(value):.10f}".rstrip("0")
        raise error(
            f"{where.of(name)}: {name} should be a number, but YAML reads {value} as text: write it as {plain}."
        )
    raise error(f"{where.of(name)}: {name} should be {said}, not {shown(value)}.")


def _number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


# ---- in one line


def name_and_value(pair: str) -> tuple[str, str]:
    """ "beams=4" -> its two sides; the right one is empty where there is none."""
    name, _, value = pair.partition("=")
    return name.strip(), value.strip()


def changed(settings: Settings, text: str, said: str, names: Mapping[str, str] | None = None) -> Settings:
    """`settings` with some of them as in "beams=4,temperature=0.7". `names` are those that may be given, each with its
    field: all fields, each by its own name, if not given. `said` is what errors call it all. Errors: UsageError."""
    former: Mapping[str, str] = getattr(settings, "FORMER", {})
    if names is None:
        names = {each.name: each.name for each in fields(settings)}  # type: ignore[arg-type]
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, written = name_and_value(pair)
        name = former.get(name, name)
        if name not in names:
            raise UsageError(f"{said} {pair}: there is no setting {name!r}; there are {', '.join(names)}.")
        kind = type(getattr(settings, names[name]))
        try:
            value = kind(written)
        except ValueError:
            what = {int: "a whole number", float: "a number"}.get(kind, "text")
            raise UsageError(f"{said} {pair}: {name} should be {what}.") from None
        _check(getattr(settings, "MAY", {}).get(names[name]), value, f"{said} {pair}", UsageError, name)
        settings = replace(settings, **{names[name]: value})  # type: ignore[type-var]
    return settings
