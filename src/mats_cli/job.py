"""One job: many inputs in, one result each out, in order, to stdout, a file or a folder; failures counted, not fatal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli import console
from mats_cli.formats import TABLES, Result, document, piece
from mats_cli.inputs import Found, Item, read_stdin
from mats_cli.journal import Journal
from mats_model.errors import InputError, UsageError
from mats_model.files import write

if TYPE_CHECKING:
    from mats_model.mats import Ears, Heard

SUFFIX = {"text": "txt", "excel": "csv"}


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
    heard: list[Heard]
    notes: list[str]
    error: str | None = None


def listen_all(mats: Ears, items: Iterable[Item], every: float | None) -> Iterator[Listened]:
    """Each input listened to, in order; a few at once, each on one thread, so that company changes nothing."""
    from mats_model.audio import Source
    from mats_model.parallel import in_order

    def one(item: Item) -> Listened:
        source = Source(item.name if item.path else "standard input", path=item.path)
        try:
            if item.problem:
                raise InputError(item.problem)
            if item.path is None:
                source = Source("standard input", data=read_stdin())
            return Listened(item, list(mats.listen(source, every)), source.notes)
        except InputError as error:
            return Listened(item, [], [], str(error))

    yield from in_order(one, items, mats.clap.listeners)


class _Sink:
    """Where results go as they come."""

    def __init__(self, found: Found, options: Options) -> None:
        self.options, self.named = options, found.many
        self.results: list[Result] = []
        self.count = 0
        self.target = Path(options.output) if options.output and options.output != "-" else None
        self.folder = self.target if (self.target and (options.output or "").endswith(os.sep)) or _is_folder(self.target) else None
        self.used: set[Path] = set()
        if options.format in ("srt", "vtt") and found.many and not self.folder:
            raise UsageError(f"--format {options.format} holds one recording: give one input, or a folder with -o FOLDER{os.sep}.")
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
        path = self.folder / ".mats-unfinished.jsonl" if self.folder else self.target.with_name(f".{self.target.name}.unfinished.jsonl")
        try:
            return Journal(path, settings)
        except OSError as error:
            raise UsageError(f"-o {self.options.output} cannot be written ({error.strerror}); choose another place.") from None

    def add(self, item: Item, result: Result) -> None:
        kind, timed = self.options.format, self.options.timed
        if self.folder:
            if result.error is None:
                self._write(self._place(item.tree, kind), document([result], kind, False, timed))
            return
        if self.target is None and kind in ("text", "jsonl", *TABLES):
            console.out(piece(result, kind, self.named, timed, self.count == 0))
        else:
            self.results.append(result)
        self.count += 1

    def finish(self) -> None:
        if self.folder or (self.target is None and not self.results and self.options.format in ("text", "jsonl", *TABLES)):
            return
        whole = document(self.results, self.options.format, self.named, self.options.timed)
        if self.target:
            self._write(self.target, whole)
        else:
            console.out(whole)

    def _place(self, tree: Path, kind: str) -> Path:
        """The input's own name with the format behind it; a second input of the same name gets a number."""
        assert self.folder is not None
        suffix, number = SUFFIX.get(kind, kind), 1
        place = self.folder / tree.parent / f"{tree.name}.{suffix}"
        while place in self.used:
            number += 1
            place = self.folder / tree.parent / f"{tree.name}-{number}.{suffix}"
        self.used.add(place)
        return place

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise UsageError(f"{path} cannot be written ({error.strerror}); choose another place with -o.") from None


def _is_folder(path: Path | None) -> bool:
    return path is not None and path.is_dir()


def run(
    mats: Ears, found: Found, options: Options, settings: dict[str, Any], answer: Callable[[Iterator[Listened]], Iterator[tuple[Item, Result]]]
) -> int:
    """Listen to all, answer all, show all; returns the exit code."""
    sink = _Sink(found, options)
    journal = sink.journal({**settings, "every": options.every, "model": mats.id})
    ready = {number: result for number, item in enumerate(found.items) if journal and (result := journal.get(item))}
    todo = [item for number, item in enumerate(found.items) if number not in ready]
    if ready and not options.quiet:
        console.note(f"going on: {len(ready)} of {len(found.items)} inputs were done before.")
    failed = 0

    def told() -> Iterator[Listened]:
        nonlocal failed
        for listened in listen_all(mats, todo, options.every):
            for line in listened.notes:
                console.note(line)
            if listened.error:
                failed += 1
                console.note(listened.error)
            yield listened

    fresh = answer(told())
    for number, item in enumerate(console.progress(found.items, len(found.items), "file", options.quiet)):
        if number in ready:
            sink.add(item, ready[number])
            continue
        _, result = next(fresh)
        if journal:
            journal.add(item, result)
        sink.add(item, result)
    sink.finish()
    if journal:
        journal.finish()
    if failed and len(found.items) > 1:
        console.note(f"{failed} of {len(found.items)} inputs failed.")
    return 0 if not failed else 4 if failed == len(found.items) else 3


def nothing_found(found: Found, names: list[str]) -> str:
    """Why there is nothing to do."""
    passed = f" ({found.skipped} files there are not audio)" if found.skipped else ""
    return f"no sounds were found in {', '.join(names)}{passed}."
