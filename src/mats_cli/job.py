"""One job: many inputs in, one result each out, in order, to stdout, a file or a folder; failures counted, not
fatal."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli import console
from mats_cli.documents import GROWING, document, file_name, piece, put, refused
from mats_cli.formats import Result
from mats_cli.inputs import expand, read_stdin
from mats_cli.journal import Journal, fitting, unused
from mats_cli.pages.sounds import Report
from mats_cli.tracks import ENDINGS
from mats_model import __version__
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    from mats_model.audio import AudioSource
    from mats_model.audio.folders import Found, Item
    from mats_model.ears import Ears
    from mats_model.many import Listened

# seconds of a sound by itself that has a bar
_LONG = 30.0
# what is wrong with the disk and not with one name on it
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@dataclass(frozen=True)
class Options:
    """What both verbs share."""

    every: float | None
    format: str
    output: str | None
    quiet: bool
    timed: bool  # times are part of the text format
    traced: bool = False  # tables have columns for the model's id and the version of mats
    embed: bool = False  # a page has the sounds inside
    changes: bool = False  # a long sound is heard in stretches that end where it changes
    resumes: bool = True  # what was done of a job that was stopped is kept: not where an answer depends on the others


def listen_all(
    mats: Ears,
    items: Iterable[Item],
    every: float | None,
    quiet: bool = False,
    piped: dict[int, AudioSource] | None = None,
    progress: Callable[[float], None] | None = None,
    changes: bool = False,
) -> Iterator[Listened]:
    """Each input listened to, in order; standard input is read when its turn comes, and kept in `piped`, by the id of
    its item, since it cannot be read again."""
    from mats_model import many

    def begun(item: Item) -> AudioSource:
        source = opened(item, quiet, progress)
        if item.path is None and piped is not None:
            piped[id(item)] = source
        return source

    yield from many.listen_all(mats, items, every, begun, changes)


def opened(item: Item, quiet: bool = False, progress: Callable[[float], None] | None = None) -> AudioSource:
    """The sound of an input; standard input is read. Errors: InputError."""
    from mats_model.audio import AudioSource
    from mats_model.audio.folders import STDIN

    if item.problem:
        raise InputError(item.problem)
    if item.path is None:
        return AudioSource(STDIN, data=read_stdin(quiet=quiet), progress=progress)
    return AudioSource(item.name, path=item.path, progress=progress)


class _Sink:
    """Where results go as they come."""

    def __init__(self, found: Found, options: Options, about: dict[str, str]) -> None:
        self.options, self.named, self.about = options, found.many, about
        self.results: list[Result] = []
        self.count = 0
        self.target = Path(options.output) if options.output and options.output != "-" else None
        self.folder = (
            self.target
            if (self.target and (options.output or "").endswith(os.sep)) or _is_folder(self.target)
            else None
        )
        self.used: set[Path] = set()
        self.report = Report(self.target, options.embed)
        if options.format in ENDINGS and found.many and not self.folder:
            raise UsageError(
                f"--format {options.format} holds one recording: give one input, or a folder with -o FOLDER{os.sep}."
            )
        if self.target is None:
            console.check_output()
        parent = self.folder or (self.target.parent if self.target else None)
        if parent:
            try:
                parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"-o {options.output}: {parent} cannot be made ({error.strerror}).") from None

    def journal(self, settings: dict[str, Any]) -> Journal | None:
        """Beside the output; none for stdout."""
        if self.target is None:
            return None
        path = (
            self.folder / ".mats-unfinished.jsonl"
            if self.folder
            else self.target.with_name(fitting(f".{self.target.name}", ".unfinished.jsonl"))
        )
        try:
            return Journal(path, settings)
        except OSError as error:
            raise refused(f"-o {self.options.output}", error) from None

    def add(self, item: Item, result: Result, source: AudioSource | None = None) -> None:
        """`source`: the sound, where its path does not lead to it. Errors: InputError where this one cannot be written,
        though others may."""
        kind, timed, traced = self.options.format, self.options.timed, self.options.traced
        result.about = self.about
        if self.folder:
            if result.error is None:
                self._in_folder(self.folder, item, result, source)
            return
        if kind == "html":
            self.report.add(result, source or _reopened(item))
        elif self.target is None and kind in GROWING:
            console.out(piece(result, kind, self.named, timed, self.count == 0, traced))
        else:
            self.results.append(result)
        self.count += 1

    def _in_folder(self, folder: Path, item: Item, result: Result, source: AudioSource | None) -> None:
        """The input's own name with the format behind it; a second input of the same name gets a number."""
        kind = self.options.format
        place = unused(folder / item.tree.parent, *file_name(item.tree.name, kind), self.used)
        if kind == "html":
            report = Report(place, self.options.embed)
            report.add(result, source or _reopened(item))
            text = report.document(item.name, self.about)
        else:
            text = document([result], kind, False, self.options.timed, self.options.traced)
        self._write(place, text, item.name)

    def finish(self, title: str) -> None:
        """Write what needs the whole."""
        kind = self.options.format
        if self.folder or (self.target is None and not self.results and kind in GROWING):
            return
        whole = (
            self.report.document(title, self.about)
            if kind == "html"
            else document(self.results, kind, self.named, self.options.timed, self.options.traced)
        )
        if self.target:
            self._write(self.target, whole)
        else:
            console.out(whole)

    def _write(self, path: Path, text: str, of: str = "") -> None:
        """`of`: the one input whose answer this is, where others have files of their own."""
        try:
            put(path, text)
        except OSError as error:
            if of and error.errno not in _DISK:
                raise InputError(f"what was heard in {of} cannot be written to {path} ({error.strerror}).") from None
            raise refused(path, error) from None


def _reopened(item: Item) -> AudioSource | None:
    """The sound of an input, to be read once more."""
    from mats_model.audio import AudioSource

    return AudioSource(item.name, path=item.path) if item.path else None


def _is_folder(path: Path | None) -> bool:
    return path is not None and path.is_dir()


def run(
    mats: Ears,
    found: Found,
    options: Options,
    settings: dict[str, Any],
    answer: Callable[[Iterator[Listened]], Iterator[tuple[Item, Result]]],
) -> int:
    """Listen to all, answer all, show all; returns the exit code."""
    sink = _Sink(found, options, {"model": mats.id, "mats": __version__})
    journal = sink.journal({**settings, "every": options.every, "model": mats.id}) if options.resumes else None
    ready = {number: result for number, item in enumerate(found.items) if journal and (result := journal.get(item))}
    todo = [item for number, item in enumerate(found.items) if number not in ready]
    if ready and not options.quiet:
        console.note(f"going on: {len(ready)} of {len(found.items)} inputs were done before.")
    if not options.quiet and (passed := found.passed_over()):
        console.note(passed)
    tally = _Tally(len(found.items))
    piped: dict[int, AudioSource] | None = {} if options.format == "html" else None
    bar = _bar(found.items, options.quiet)
    heard = listen_all(mats, todo, options.every, options.quiet, piped, bar.heard if bar else None, options.changes)
    fresh = answer(tally.told(heard))
    try:
        for number, item in enumerate(console.progress(found.items, len(found.items), "file", options.quiet)):
            result = ready[number] if number in ready else next(fresh)[1]
            if bar:
                bar.close()
            # one that was heard in part is heard again, so that it is said again
            if journal and number not in ready and id(item) not in tally.parts:
                journal.add(item, result)
            try:
                sink.add(item, result, piped.get(id(item)) if piped else None)
            except InputError as error:
                tally.failed += 1
                console.note(str(error))
            tally.done += 1
        sink.finish(f"mats {settings['verb']}: {_counted(found)}")
    except KeyboardInterrupt:
        if bar:
            bar.close()
        goes_on = f"{tally.done} of {tally.all} inputs are done. The same command goes on from there."
        console.note(
            "stopped: " + goes_on if journal else "stopped. With -o, the same command goes on where this one ended."
        )
        raise console.Stopped from None
    if journal:
        journal.finish()
    return tally.code()


def _bar(items: list[Item], quiet: bool) -> console.Seconds | None:
    """For one sound that takes its time; several have a bar of files."""
    from mats_model.audio import AudioSource, seconds

    if len(items) != 1 or items[0].path is None or items[0].problem or quiet or not console.on_terminal():
        return None
    length = seconds(AudioSource(items[0].name, path=items[0].path))
    return None if length is not None and length < _LONG else console.Seconds(length)


def _counted(found: Found) -> str:
    """What a page is about."""
    return found.items[0].name if len(found.items) == 1 else f"{len(found.items)} sounds"


@dataclass
class _Tally:
    """How a job goes: of all inputs, how many are done, failed, or were heard in part."""

    all: int
    done: int = 0
    failed: int = 0
    parts: set[int] = field(default_factory=set)

    def told(self, all_listened: Iterable[Listened]) -> Iterator[Listened]:
        """What there is to say of each input is said as it comes."""
        for listened in all_listened:
            for line in listened.notes:
                console.note(line)
            if listened.error:
                self.failed += 1
                console.note(listened.error)
                console.trace(listened.trace)
            if listened.missing:
                self.parts.add(id(listened.item))
            yield listened

    def code(self) -> int:
        """The exit code, and why it is not 0 where there are several inputs."""
        if self.failed and self.all > 1:
            console.note(f"{self.failed} of {self.all} inputs failed.")
        if self.parts and self.all > 1:
            console.note(f"{len(self.parts)} of {self.all} inputs were heard in part.")
        return 4 if self.failed == self.all else 3 if self.failed or self.parts else 0


def found(names: list[str]) -> Found:
    """The inputs of a job. Errors: InputError where there are none; UsageError."""
    some = expand(names)
    if not some.items:
        passed = some.passed_over()
        raise InputError(f"no sounds were found in {', '.join(names)}{': ' + passed if passed else '.'}")
    return some
