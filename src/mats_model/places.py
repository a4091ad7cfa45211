"""Where mats keeps things of its own: $MATS_HOME, or the folders that each system has for that."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
import tempfile
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


def hub_home() -> Path:
    """The folder of the hub's own library, in which other programs keep their token and what they fetched."""
    kept = os.environ.get("HF_HOME")
    return expanded(kept) if kept else Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "huggingface"


def hub_cache() -> Path:
    """What the hub's own library fetched."""
    return expanded(os.environ.get("HF_HUB_CACHE") or str(hub_home() / "hub"))


def _folder(variable: str, linux: str, macos: str) -> Path:
    if kept := os.environ.get("MATS_HOME"):
        return expanded(kept)
    if sys.platform == "darwin":
        return home() / macos / "mats"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home()) / "mats"
    return Path(os.environ.get(variable) or home() / linux) / "mats"


def expanded(name: str) -> Path:
    """A path with ~ as a shell reads it; as it stands where nobody is called so."""
    return Path(os.path.expanduser(name))


def home() -> Path:
    """The user's folder. A user who has none, as in many containers, gets one among the temporary files that nobody
    else may write into."""
    try:
        return Path.home()
    except RuntimeError:
        return _homeless()


@functools.cache
def _homeless() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"mats-{user}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        known = folder.lstat()
        if stat.S_ISDIR(known.st_mode) and known.st_uid == user and not known.st_mode & 0o022:
            return folder
    # another user was there first
    return Path(tempfile.mkdtemp(prefix="mats-"))
