"""Sounds for the page: each read once more, for its picture and, where it is to be inside the page, for its audio."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mats_cli.formats import Result
from mats_cli.pages.page import Sound, page
from mats_cli.tracks import Mark, marks
from mats_model.errors import InputError

if TYPE_CHECKING:
    from mats_model.audio import AudioSource


@dataclass
class Report:
    """A page that grows by a sound at a time; `output` is the file that it will be, None for standard output."""

    output: Path | None
    embed: bool
    sounds: list[Sound] = field(default_factory=list)

    def add(self, result: Result, source: AudioSource | None) -> None:
        """`source`: the sound, if there is still one to be had."""
        self.sounds.append(sound(result.path, marks(result.rows), source, self.output, self.embed, result.error))

    def document(self, title: str, about: dict[str, str]) -> str:
        """The whole page."""
        return page(title, self.sounds, about)


def sound(
    name: str,
    found: list[Mark],
    source: AudioSource | None,
    output: Path | None,
    embed: bool,
    error: str | None = None,
) -> Sound:
    """All of a sound, with what was found in it."""
    from mats_model.audio.began import began
    from mats_model.audio.picture import look

    made = Sound(name, found, 0.0, max((mark.end for mark in found), default=0.0), error=error)
    if source is None or error is not None:
        return made
    made.began = began(source)
    try:
        seen = look(source, embed)
    except InputError:
        return made  # it changed since it was heard, or cannot be read again: what was heard stands
    made.end, made.picture, made.audio = max(made.end, seen.seconds), seen.png, seen.opus
    made.link = None if embed or source.path is None else link(source.path, output)
    return made


def excerpt(name: str, mark: Mark, path: Path, output: Path | None, embed: bool, around: float = 5.0) -> Sound:
    """A moment of a sound, with so many seconds around it."""
    from mats_model.audio import AudioSource
    from mats_model.audio.picture import look
    from mats_model.audio.write import between

    begin = max(0.0, mark.start - around)
    made = Sound(name, [mark], begin, mark.end, score=mark.score)
    try:
        samples, sample_rate = between(AudioSource(name, path=path), begin, mark.end + around)
        seen = look(AudioSource(name, samples=samples, sample_rate=sample_rate), embed)
    except InputError:
        return made
    made.end, made.picture, made.audio = max(mark.end, begin + seen.seconds), seen.png, seen.opus
    made.link = None if embed else link(path, output)
    return made


def link(path: Path, output: Path | None) -> str:
    """Where the page finds a sound: beside itself, or wherever it is if nobody knows where the page will be."""
    if output is not None:
        try:
            beside = os.path.relpath(path.absolute(), output.absolute().parent)
        except ValueError:  # another drive
            return path.absolute().as_uri()
        # ./ since a name with a colon would be taken for an address
        return "./" + quote(os.fsencode(beside.replace(os.sep, "/")))
    return path.absolute().as_uri()
