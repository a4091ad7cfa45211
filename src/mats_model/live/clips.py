"""What a diary tells of, kept as WAV files: from two seconds before to half a second after, at most 30 s long."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mats_model.audio import write_wav
from mats_model.live.diarist import Described, Entry, Look
from mats_model.live.diary import Ended, Passed
from mats_model.live.stream import Stream

BEFORE, AFTER, LONGEST = 2.0, 0.5, 30.0  # seconds before an entry, after its end, and in all


@dataclass(frozen=True)
class Clip:
    """A file that was written for what began at `start` seconds; `problem` says why it was not."""

    start: float
    path: Path
    problem: str | None = None


class Clips:
    """Told what a diary tells, entry by entry and look by look; yields what it wrote.

    `watched`: clips of labels that passed, instead of all sounds; `stamp` writes a time into the name of a file;
    `used` are the names that several streams share.
    Errors: OSError where the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        stream: Stream,
        watched: bool = False,
        stamp: Callable[[float], str] = "{:.3f}".format,
        used: set[Path] | None = None,
    ) -> None:
        self.folder, self.stream, self.watched, self.stamp = folder, stream, watched, stamp
        self._open: list[tuple[float, str]] = []
        self._used: set[Path] = set() if used is None else used
        folder.mkdir(parents=True, exist_ok=True)

    def entry(self, entry: Entry) -> Iterator[Clip]:
        """Opens a clip, or closes those that are open."""
        if isinstance(entry, Ended):
            yield from self.close(entry.end)
        elif isinstance(entry, Passed) and self.watched:
            self._open.append((entry.time, entry.label))
        elif isinstance(entry, Described) and not self.watched:
            self._open.append((entry.start, entry.tags[0].name if entry.tags else "sound"))

    def look(self, look: Look) -> Iterator[Clip]:
        """Those that are as long as a clip may be."""
        for start, name in [each for each in self._open if look.time - each[0] >= LONGEST - BEFORE]:
            self._open.remove((start, name))
            yield self._write(start, name, look.time)

    def close(self, time: float) -> Iterator[Clip]:
        """All that are open, up to `time`."""
        while self._open:
            yield self._write(*self._open.pop(0), time + AFTER)

    def _write(self, start: float, name: str, end: float) -> Clip:
        ring = self.stream.ring
        samples = ring.between(round((start - BEFORE) * ring.sample_rate), round(end * ring.sample_rate))
        path = self._place(f"{self.stamp(max(0.0, start)).replace(':', '-')}-{_plain(name)}")
        try:
            write_wav(path, samples, ring.sample_rate)
        except OSError as error:
            return Clip(start, path, f"{path} cannot be written ({error.strerror}): this clip is lost.")
        return Clip(start, path)

    def _place(self, name: str) -> Path:
        """A second clip of the same name gets a number."""
        number, path = 1, self.folder / f"{name}.wav"
        while path in self._used:
            number += 1
            path = self.folder / f"{name}-{number}.wav"
        self._used.add(path)
        return path


def _plain(name: str) -> str:
    """A label as part of a file's name, without spaces: dog_bark."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")[:60]
