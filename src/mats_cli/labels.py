"""The labels that a user gives, and the sounds that show some of them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mats_cli.formats import visible
from mats_cli.inputs import read_stdin, size
from mats_model.english import unknown, without
from mats_model.errors import InputError, UsageError
from mats_model.shown import example

if TYPE_CHECKING:
    import numpy as np

    from mats_model.ears import Ears


# each label is embedded before the first sound is heard
LABEL_BYTES, MOST_LABELS = 8_000_000, 100_000


@dataclass
class Labels:
    """Labels in their order, the sounds that show some of them, and what there is to say of those left out."""

    names: list[str]
    notes: list[str] = field(default_factory=list)
    examples: dict[str, list[Path]] = field(default_factory=dict)


def read_labels(given: str, option: str = "--labels", any_words: bool = False) -> Labels:
    """A label file, `-`, or labels with commas between them.

    In a file a line that begins with # is a remark, and \\# begins a label that does; "my kettle: kettle/*.wav" is a
    label with sounds of it. Those of no words that the encoder knows are left out, unless they have sounds or with
    `any_words`. Errors: UsageError when there is no such file, it is too long or no text, or no label is in
    it that the encoder can know.
    """
    labels, file = _read(given, option)
    if file:
        labels = _with_examples(labels, Path(file).parent)
    strange = set() if any_words else set(unknown(labels.names)) - set(labels.examples)
    if strange:
        labels.names = without(labels.names, strange)
        some = ", ".join(sorted(strange)[:3]) + (", ..." if len(strange) > 3 else "")
        labels.notes.append(
            f"{len(strange)} label(s) of no words that the encoder knows are left out ({visible(some)}): write them in "
            "English, or show sounds of them."
        )
    return labels


def label_embeddings(ears: Ears, labels: Labels, template: str = "{}") -> np.ndarray:
    """As `Ears.label_embeddings`. Errors: UsageError, which names the label whose example cannot be heard."""
    try:
        return ears.label_embeddings(labels.names, template, labels.examples)
    except InputError as error:
        raise UsageError(f"a label is shown by a sound that cannot be heard: {error}") from None


def _with_examples(labels: Labels, folder: Path) -> Labels:
    names, examples = list[str](), dict[str, list[Path]]()
    for line in labels.names:
        name, files = example(line, folder)
        names.append(name)
        if files:
            examples.setdefault(name, []).extend(files)
    return Labels(list(dict.fromkeys(names)), labels.notes, examples)


def _read(given: str, option: str) -> tuple[Labels, str]:
    """All labels, and the file they lie in, "" where there is none."""
    text, where, listed = _label_text(given, option)
    try:
        lines = [line.strip() for line in text.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        how = "set the terminal to UTF-8, or type it anew" if listed else "save the labels as UTF-8, one per line"
        raise UsageError(f"{f'{option} {visible(given)}' if listed else where} is not UTF-8 text: {how}.") from None
    if not listed:
        lines = [
            line.removeprefix("\\") if line.startswith("\\#") else line for line in lines if not line.startswith("#")
        ]
    labels = [line for line in lines if line]
    file = "" if listed or given == "-" else where
    if listed and len(labels) == 1 and (mark := next((each for each in "|;" if each in given), "")):
        better = ",".join(part.strip() for part in given.split(mark))
        note = f"{option} {given!r} is one label: did you mean {better!r}, with commas between labels?"
        return Labels(labels, [note]), file
    if not labels:
        raise UsageError(
            f"{where} holds no labels: write one per line, or give them with commas, as in {option} 'dog,rain'."
        )
    counts = Counter(labels)
    kept = list(counts)
    if len(kept) > MOST_LABELS:
        raise UsageError(f"{where} holds {len(kept)} labels; at most {MOST_LABELS} are read.")
    if len(kept) == len(labels):
        return Labels(kept), file
    twice = next(label for label, count in counts.items() if count > 1)
    note = f"{where} names {len(labels) - len(kept)} label(s) twice ({twice!r} first); each counts once."
    return Labels(kept, [note]), file


def _label_text(given: str, option: str) -> tuple[bytes, str, bool]:
    """The labels as bytes, what to call them, and whether they are a list with commas. Errors: UsageError."""
    path = Path(given)
    if given == "-":
        try:
            return read_stdin(LABEL_BYTES, "labels"), "standard input", False
        except InputError as error:
            raise UsageError(str(error)) from None
    if _is_file(path):
        try:
            with path.open("rb") as handle:
                text = handle.read(LABEL_BYTES + 1)
        except OSError as error:
            raise UsageError(
                f"the labels in {given} cannot be read ({error.strerror}); check its permissions."
            ) from None
        if len(text) > LABEL_BYTES:
            raise UsageError(
                f"{given} is longer than {size(LABEL_BYTES)}, the most that is read of labels: is it a file of "
                "labels, one per line?"
            )
        return text, given, False
    if path.suffix.lower() in (".txt", ".csv", ".list", ".labels") or (os.sep in given and "," not in given):
        raise UsageError(
            f"there is no label file {given}: give a file with one label per line, or the labels themselves with "
            "commas."
        )
    return given.replace(",", "\n").encode("utf-8", "surrogateescape"), option, True


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
