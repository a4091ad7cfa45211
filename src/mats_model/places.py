"""Where mats keeps things of its own: $MATS_HOME, or the folders that each system has for that."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache() -> Path:
    """What was fetched or can be computed again."""
    return _folder("XDG_CACHE_HOME", ".cache", "Library/Caches")


def data() -> Path:
    """What is the user's: the library index."""
    return _folder("XDG_DATA_HOME", ".local/share", "Library/Application Support")


def state() -> Path:
    """What it remembers of its use: the questions of a chat."""
    return _folder("XDG_STATE_HOME", ".local/state", "Library/Application Support")


def _folder(variable: str, linux: str, macos: str) -> Path:
    if home := os.environ.get("MATS_HOME"):
        return Path(home).expanduser()
    if sys.platform == "darwin":
        return Path.home() / macos / "mats"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "mats"
    return Path(os.environ.get(variable) or Path.home() / linux) / "mats"
