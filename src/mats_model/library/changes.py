"""Folders and a library -> what is new, changed or gone. Nothing is read but names, sizes and times."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mats_model.audio.folders import Item, find_sounds
from mats_model.library.records import State, in_shard, state_of
from mats_model.library.store import Library


@dataclass
class Changes:
    """What differs between folders and a library; `todo` is to be heard, `gone` to be taken out."""

    folders: list[str]  # that were looked at, as absolute paths
    todo: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    kept: int = 0  # files that are as they were
    fresh: int = 0  # of those to do, not known before
    failed: list[tuple[str, str]] = field(default_factory=list)  # path, and why it cannot be heard
    found: int = 0  # files that are there
    cut: int = 0  # of those to do, heard without what is missing in them
    passed: str | None = None  # which files of the folders were passed over, in words

    @property
    def nothing(self) -> bool:
        """No sounds were found, and none is missed."""
        return not self.found and not self.gone and not self.failed


def compare(library: Library, folders: Iterable[str | Path] = (), shard: tuple[int, int] = (1, 1)) -> Changes:
    """Folders or files, or those that the library remembers, against what it holds; of part i (from 1) of n."""
    changes = Changes([os.path.abspath(name) for name in folders] or library.roots())
    there = [name for name in changes.folders if os.path.exists(name)]
    for name in changes.folders:
        if name not in there:
            stay = len(library.known(name))
            left = f"; its {stay} files stay in the index until `mats index rm {name}`" if stay else ""
            changes.failed.append((name, f"{name} is not there{left}."))
    known: dict[str, State] = {}
    for name in there:
        known |= library.known(name)
    found = find_sounds(there)
    changes.passed = found.passed_over()
    # what lies in a folder that may not be listed, or belongs to another part, is not gone
    closed = tuple(item.name.rstrip(os.sep) + os.sep for item in found.items if item.problem)
    seen: set[str] = set()
    for item in found.items:
        if item.problem is None or not in_shard(str(item.tree), shard):
            seen.add(item.name)
        if in_shard(str(item.tree), shard):
            _look(changes, item, known.get(item.name))
    changes.gone = [path for path in known if path not in seen and not path.startswith(closed)]
    return changes


def _look(changes: Changes, item: Item, before: State | None) -> None:
    """One file or folder, and its state when it was read."""
    if item.problem:
        changes.failed.append((item.name, item.problem))
        return
    changes.found += 1
    try:
        now = state_of(item.name)
    except OSError:
        now = None  # a dead link, or gone just now: reading it says what is wrong
    if before is None or now is None or not before.same(now) or (before.error and _mended(before.error)):
        changes.todo.append(item.name)
        changes.fresh += before is None
    elif before.error:
        changes.failed.append((item.name, before.error))
    else:
        changes.kept += 1


def _mended(error: str) -> bool:
    """What a file lacked, an extra of mats, has been installed since."""
    return "mats[media]" in error and importlib.util.find_spec("av") is not None
