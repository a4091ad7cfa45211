"""The files of text that a recipe means: data sets by name, or paths below the folder of its data."""

from __future__ import annotations

from pathlib import Path

from mats_model.errors import UsageError
from mats_model.files import sha256
from mats_model.tables import ENDINGS
from mats_model.weights.catalogue import near
from mats_model.weights.data_sets import DATA_SETS, WORDS, DataSet
from mats_model.weights.resolve import resolve


def locate(text: str, folder: Path) -> Path:
    """The file: a data set, as it lies below `folder` or where mats keeps it, or a path below `folder`, else one of
    the texts that come with mats. Errors: ModelError for a data set that is not here."""
    if known := DATA_SETS.get(text):
        return folder / known.file if (folder / known.file).is_file() else resolve(text, "data").found()
    path = folder / text
    return WORDS / text if not path.exists() and (WORDS / text).is_file() else path


def wrong_name(text: str) -> str:
    """What is wrong with a data set's name or a table's path; "" where nothing is, or only the table can tell."""
    if text in DATA_SETS or text.lower().endswith(ENDINGS):
        return ""
    return f"{text!r} is no data set ({near(text, 'data').rstrip('.')}), and a file ends in {', '.join(ENDINGS)}"


def columns_of(text: str) -> list[str]:
    """Names of the columns of a data set whose file does not say them."""
    known = DATA_SETS.get(text)
    return list(known.columns) if known and not known.header else []


def evaluation_set(path: Path) -> DataSet | None:
    """The data set that others measure with and that a file is, whatever its name is."""
    try:
        size = path.stat().st_size
        alike = [each for each in DATA_SETS.values() if each.evaluation and each.size == size]
        digest = sha256(path) if alike else ""
    except OSError:  # who reads it says so
        return None
    return next((each for each in alike if each.digest == digest), None)


def refuse_evaluation(path: Path) -> None:
    """Errors: UsageError for a file that is never trained on."""
    if known := evaluation_set(path):
        raise UsageError(
            f"{path} is {known.name}, with which models are measured: it is never trained on, name another."
        )
