"""What is true of recordings, as the user named it: a folder, a table, standard input, a public set; or an earlier
result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mats_cli import console
from mats_cli.inputs import read_stdin
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    from mats_model.evaluate.evaluation import Evaluation
    from mats_model.evaluate.examples import Examples

_MOST = 1_000_000_000  # bytes of standard input
_HEAD = 4096  # bytes within which a result names its protocol


@dataclass(frozen=True)
class Given:
    """What was named; `piped` holds standard input."""

    path: Path | None = None
    piped: bytes | None = None

    def is_result(self) -> bool:
        """Whether it is a result or its records, not rows of what is true."""
        if self.piped is not None:
            return b'"protocol"' in self.piped[:_HEAD]
        if self.path is None or self.path.suffix.lower() not in (".json", ".jsonl", ".ndjson"):
            return False
        if not self.path.is_file():
            return False
        with self.path.open("rb") as handle:
            return b'"protocol"' in handle.read(_HEAD)

    def result(self, seed: int) -> Evaluation:
        """The earlier result, its figures computed again. Errors: UsageError."""
        from mats_model.evaluate.evaluation import read_result, result_of

        if self.piped is not None:
            return result_of(self.piped.decode("utf-8", "replace"), "standard input", seed=seed)
        assert self.path is not None
        return read_result(self.path, seed=seed)


@dataclass(frozen=True)
class Wanted:
    """How what was named is to be read."""

    task: str | None
    set_name: str | None
    data: Path | None
    labels: str | None
    text_to_text: bool
    quiet: bool


def given(input: Path | None, quiet: bool) -> Given:
    """`-` is standard input. Errors: UsageError where nothing comes there."""
    if input is None or str(input) != "-":
        return Given(input)
    try:
        return Given(piped=read_stdin(_MOST, "a table", quiet))
    except InputError as error:
        raise UsageError(str(error)) from None


def examples_of(source: Given, wanted: Wanted) -> Examples:
    """What is to be judged. Errors: UsageError."""
    from mats_cli.labels import read_labels
    from mats_model.evaluate import examples, sets

    task, set_name = wanted.task, wanted.set_name
    nothing = source.path is None and source.piped is None
    if nothing == (set_name is None):
        raise UsageError("name a folder or a table of what is true, or a public set with --set and --data.")
    if task and task not in examples.TASKS:
        raise UsageError(f"--task {task}: choose one of {', '.join(examples.TASKS)}.")
    own = sets.SETS[set_name].task if set_name in sets.SETS else "captions"
    if wanted.text_to_text and (task or own) != "captions":
        raise UsageError("--text-to-text is for the task captions.")
    if set_name is not None:
        if wanted.data is None:
            raise UsageError(f"--set {set_name} needs --data DIR, the folder in which it lies: mats fetches no set.")
        found = sets.of_set(set_name, wanted.data, task or "", wanted.text_to_text)
    else:
        found = _of_input(source, wanted)
    if wanted.labels:
        found = examples.renamed(found, read_labels(wanted.labels, any_words=True).names)
    return found


def _of_input(source: Given, wanted: Wanted) -> Examples:
    from mats_model.evaluate import examples

    task, path = wanted.task, source.path
    if path is not None and path.is_dir():
        if task not in (None, "classes"):
            raise UsageError(f"--task {task} needs a table of what is true, and {path} is a folder.")
        found = examples.of_folder(path)
        if not wanted.quiet and found.passed_over:
            console.note(found.passed_over)
        return found
    if path is not None and not path.is_file():
        raise UsageError(f"there is no {path}: give a folder with a folder per class, or a table of what is true.")
    if task is None and not wanted.text_to_text:
        name = path or "standard input"
        raise UsageError(f"say what {name} holds: --task {', '.join(examples.TASKS)}.")
    if source.piped is not None:
        return examples.of_piped(source.piped, task or "captions", wanted.data, wanted.text_to_text)
    assert path is not None
    return examples.of_table(path, task or "captions", wanted.data, wanted.text_to_text)


def synonyms_of(path: Path | None, task: str, several: bool, labels: list[str]) -> dict[str, list[str]]:
    """The words of a table label,words. Errors: UsageError."""
    from mats_model.evaluate.naming import synonyms_of
    from mats_model.tables import cells

    if path is None:
        return {}
    if task != "classes" or several:
        raise UsageError("--synonyms is for recordings with one class each.")
    return synonyms_of(cells(path), str(path), labels)


def rescored(result: Evaluation, synonyms: Path | None, threshold: float | None, seed: int) -> Evaluation:
    """An earlier result by other synonyms or another threshold, which need no hearing. Errors: UsageError."""
    from mats_model.evaluate.evaluation import rescored

    protocol, changes = result.protocol, dict[str, object]()
    if named := synonyms_of(synonyms, result.task, bool(protocol.get("several")), protocol.get("labels", [])):
        changes["synonyms"] = named
    if threshold is not None:
        if result.task != "events":
            raise UsageError("--threshold is for the task events.")
        changes["threshold"] = threshold
    return rescored(result, changes, seed=seed)


def check_nothing_is_heard(asked: dict[str, object]) -> None:
    """Errors: UsageError for an option that would have to be known when the recordings were heard."""
    given = [f"--{name.replace('_', '-')}" for name, value in asked.items() if value]
    if given:
        raise UsageError(f"{given[0]} changes nothing in an earlier result: evaluate the recordings again with it.")
