"""A label that is shown instead of told: "my kettle: kettle/*.wav" is a name, and sounds of it."""

from __future__ import annotations

from pathlib import Path

from mats_model.audio import SUFFIXES
from mats_model.errors import UsageError

MOST = 100  # sounds of one label; two to five are enough


def example(line: str, folder: Path) -> tuple[str, list[Path]]:
    """A line of a label file in `folder` -> the label, and the files behind its colon, by name; none where what stands
    there is no file's name. Errors: UsageError, where no such file is there or there are too many."""
    name, _, pattern = (part.strip() for part in line.partition(": "))
    if not name or not _names_files(pattern, folder):
        return line, []
    place = (folder / pattern).absolute()
    try:
        if place.is_dir():
            place = place / "*"
        files = sorted(Path(place.anchor).glob(str(place.relative_to(place.anchor))))
    except (OSError, ValueError, NotImplementedError) as error:
        raise UsageError(f"the label {name!r}: {pattern} cannot be looked for ({error}).") from None
    found = [file for file in files if file.is_file() and file.suffix.lower() in SUFFIXES]
    if not found:
        raise UsageError(f"the label {name!r} is shown by {pattern}, but {folder} holds no such sound.")
    if len(found) > MOST:
        raise UsageError(f"the label {name!r} is shown by {len(found)} sounds; at most {MOST} are heard.")
    return name, found


def _names_files(text: str, folder: Path) -> bool:
    """Whether that looks like the names of sounds, and not like a part of a label."""
    try:
        return "*" in text or Path(text).suffix.lower() in SUFFIXES or bool(text and (folder / text).is_dir())
    except (OSError, ValueError):
        return False
