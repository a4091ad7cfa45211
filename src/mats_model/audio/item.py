"""What is to be heard: a file, the bytes of one, or samples; and what there is to say about it besides what was
heard."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mats_model.errors import InputError


@dataclass(frozen=True)
class Facts:
    """What a file's header says: container or codec, samples a second, channels; "" and 0 where it says nothing."""

    format: str = ""
    sample_rate: int = 0
    channels: int = 0


@dataclass(frozen=True)
class AudioSource:
    """A file, the bytes of one that came through a pipe, or samples as they are; `name` is what the user called it.

    `notes` and `missing` fill while it is decoded: sentences to be said beside the result; a sound with something
    missing was heard in part.
    """

    name: str
    path: Path | None = None
    data: bytes | None = None
    samples: np.ndarray | None = field(default=None, compare=False)  # (s,) or (s, channels), float32
    sample_rate: int = 0  # of the samples
    notes: list[str] = field(default_factory=list, compare=False)  # said beside the result, not errors
    missing: list[str] = field(default_factory=list, compare=False)  # those of the notes that say what was not heard
    progress: Callable[[float], None] | None = field(default=None, compare=False)  # told how many seconds were decoded
    about: list[Facts] = field(default_factory=list, compare=False)  # of the parts that were decoded

    def say(self, text: str) -> None:
        """A note, once."""
        line = f"{self.name}: {text}"
        if line not in self.notes:
            self.notes.append(line)

    def miss(self, text: str) -> None:
        """A note about sound that is not there to be heard."""
        self.say(text)
        line = f"{self.name}: {text}"
        if line not in self.missing:
            self.missing.append(line)

    def open(self) -> Any:
        """A seekable binary handle; InputError says why there is none."""
        if self.data is not None:
            return io.BytesIO(self.data)
        assert self.path is not None
        try:
            if self.path.is_symlink() and not self.path.exists():
                raise InputError(f"{self.name} is a link to a file that is not there.")
            if self.path.is_dir():
                raise InputError(f"{self.name} is a folder, not a sound.")
            if not self.path.is_file() and self.path.exists():
                raise InputError(f"{self.name} is not a regular file; pipe it in with `-` instead.")
            # without a buffer of Python's: who reads it buffers by itself, or reads by its descriptor
            return self.path.open("rb", buffering=0)
        except FileNotFoundError:
            if "://" in self.name:
                raise InputError(
                    f"{self.name} is an address, and mats opens none: download it first, as in `curl -LO {self.name}`."
                ) from None
            raise InputError(f"{self.name} is not there; check the path.") from None
        except PermissionError as error:
            raise InputError(f"{self.name} may not be read; check its permissions.") from error
        except (OSError, ValueError) as error:
            code = getattr(error, "errno", None)
            reason = (
                "is part of a loop of links"
                if code == 40
                else f"cannot be opened ({getattr(error, 'strerror', None) or error})"
            )
            raise InputError(f"{self.name} {reason}.") from None


def source(thing: str | os.PathLike[str] | bytes | AudioSource, name: str | None = None) -> AudioSource:
    """A path or the bytes of a file as a AudioSource."""
    if isinstance(thing, AudioSource):
        return thing
    if isinstance(thing, bytes):
        return AudioSource(name or "stdin", data=thing)
    return AudioSource(name or str(thing), path=Path(thing))
