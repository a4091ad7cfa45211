"""One job: many inputs in, one result each out, in order, to stdout, a file or a folder; failures counted, not
fatal."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli import console
from mats_cli.formats import TABLES, Result, document, piece
from mats_cli.inputs import Found, Item, read_stdin
from mats_cli.journal import Journal, fitting, unused
from mats_model.errors import InputError, UsageError, one_input
from mats_model.files import write

if TYPE_CHECKING:
    from mats_model.ears import Ears, Stretch

SUFFIX = {"text": "txt", "excel": "csv"}
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


@dataclass
class Listened:
    """What was heard in an input, or why nothing was."""

    item: Item
    heard: list[Stretch]
    notes: list[str]
    error: str | None = None
    trace: str = ""  # where it went wrong, if nobody foresaw that
    missing: bool = False  # part of the sound is not there, as the notes say


def listen_all(mats: Ears, items: Iterable[Item], every: float | None, quiet: bool = False) -> Iterator[Listened]:
    """Each input listened to, in order; a few at once, each on one thread, so that company changes nothing."""
    from mats_model.audio import AudioSource
    from mats_model.parallel import in_order

    def one(item: Item) -> Listened:
        source = AudioSource(item.name if item.path else "standard input", path=item.path)
        try:
            with one_input(source.name):
                if item.problem:
                    raise InputError(item.problem)
                if item.path is None:
                    source = AudioSource("standard input", data=read_stdin(quiet=quiet))
                heard = list(mats.listen(source, every))
                return Listened(item, heard, source.notes, missing=bool(source.missing))
        except InputError as error:
            return Listened(item, [], [], str(error), getattr(error, "trace", ""))

    yield from in_order(one, items, mats.clap.listeners)


class _Sink:
    """Where results go as they come."""

    def __init__(self, found: Found, options: Options) -> None:
        self.options, self.named = options, found.many
        self.results: list[Result] = []
        self.count = 0
        self.target = Path(options.output) if options.output and options.output != "-" else None
        self.folder = (
            self.target
            if (self.target and (options.output or "").endswith(os.sep)) or _is_folder(self.target)
            else None
        )
        self.used: set[Path] = set()
        if options.format in ("srt", "vtt") and found.many and not self.folder:
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
            raise UsageError(
                f"-o {self.options.output} cannot be written ({error.strerror}); choose another place."
            ) from None

    def add(self, item: Item, result: Result) -> None:
        """Errors: InputError where this one cannot be written, though others may."""
        kind, timed = self.options.format, self.options.timed
        if self.folder:
            if result.error is None:
                self._write(self._place(item.tree, kind), document([result], kind, False, timed), item.name)
            return
        if self.target is None and kind in ("text", "jsonl", *TABLES):
            console.out(piece(result, kind, self.named, timed, self.count == 0))
        else:
            self.results.append(result)
        self.count += 1

    def finish(self) -> None:
        if self.folder or (
            self.target is None and not self.results and self.options.format in ("text", "jsonl", *TABLES)
        ):
            return
        whole = document(self.results, self.options.format, self.named, self.options.timed)
        if self.target:
            self._write(self.target, whole)
        else:
            console.out(whole)

    def _place(self, tree: Path, kind: str) -> Path:
        """The input's own name with the format behind it; a second input of the same name gets a number."""
        assert self.folder is not None
        return unused(self.folder / tree.parent, tree.name, f".{SUFFIX.get(kind, kind)}", self.used)

    def _write(self, path: Path, text: str, of: str = "") -> None:
        """`of`: the one input whose answer this is, where others have files of their own."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if of and error.errno not in _DISK:
                raise InputError(f"what was heard in {of} cannot be written to {path} ({error.strerror}).") from None
            raise UsageError(f"{path} cannot be written ({error.strerror}); choose another place with -o.") from None


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
    sink = _Sink(found, options)
    journal = sink.journal({**settings, "every": options.every, "model": mats.id})
    ready = {number: result for number, item in enumerate(found.items) if journal and (result := journal.get(item))}
    todo = [item for number, item in enumerate(found.items) if number not in ready]
    if ready and not options.quiet:
        console.note(f"going on: {len(ready)} of {len(found.items)} inputs were done before.")
    if not options.quiet and (passed := found.passed_over()):
        console.note(passed)
    failed = done = 0
    parts: set[int] = set()  # inputs of which something is missing

    def told() -> Iterator[Listened]:
        nonlocal failed
        for listened in listen_all(mats, todo, options.every, options.quiet):
            for line in listened.notes:
                console.note(line)
            if listened.error:
                failed += 1
                console.note(listened.error)
                console.trace(listened.trace)
            if listened.missing:
                parts.add(id(listened.item))
            yield listened

    def answered() -> Iterator[tuple[Item, Result]]:
        from mats_model.parallel import alone

        # what is no language model's is soon done, and threads would wait for each other
        with alone():
            yield from answer(told())

    fresh = answered()
    try:
        for number, item in enumerate(console.progress(found.items, len(found.items), "file", options.quiet)):
            result = ready[number] if number in ready else next(fresh)[1]
            # one that was heard in part is heard again, so that it is said again
            if journal and number not in ready and id(item) not in parts:
                journal.add(item, result)
            try:
                sink.add(item, result)
            except InputError as error:
                failed += 1
                console.note(str(error))
            done += 1
        sink.finish()
    except KeyboardInterrupt:
        goes_on = f"{done} of {len(found.items)} inputs are done. The same command goes on from there."
        console.note(
            "stopped: " + goes_on if journal else "stopped. With -o, the same command goes on where this one ended."
        )
        raise console.Stopped from None
    if journal:
        journal.finish()
    if failed and len(found.items) > 1:
        console.note(f"{failed} of {len(found.items)} inputs failed.")
    if parts and len(found.items) > 1:
        console.note(f"{len(parts)} of {len(found.items)} inputs were heard in part.")
    return 4 if failed == len(found.items) else 3 if failed or parts else 0


def nothing_found(found: Found, names: list[str]) -> str:
    """Why there is nothing to do."""
    passed = found.passed_over()
    return f"no sounds were found in {', '.join(names)}{': ' + passed if passed else '.'}"
