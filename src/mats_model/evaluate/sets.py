"""Public sets as their authors ship them, found in a folder of the user's; none is ever fetched.

Each entry names the table, the column or pattern that leads to a sound, and what is true of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mats_model.errors import UsageError
from mats_model.evaluate.examples import Examples, label_of, of_rows
from mats_model.files import read_text, sha256
from mats_model.tables import cells

Row = dict[str, str]


@dataclass(frozen=True)
class PublicSet:
    """Where its parts lie, and how a row of its table becomes one of ours (path, and label, caption or question)."""

    task: str
    version: str
    tables: tuple[str, ...]  # patterns below the folder; the first that is there is read
    rows: Callable[[Path, Path], Iterator[Row]]
    also: tuple[str, ...] = ()  # other tasks that it serves
    revisions: dict[str, str] = field(default_factory=dict)  # begin of the table's SHA-256 -> what its authors call it


def _words(text: str) -> str:
    return text.replace("_", " ").strip()


def _esc50(folder: Path, table: Path) -> Iterator[Row]:
    for row in cells(table):
        yield {"path": f"audio/{row['filename']}", "label": _words(row["category"])}


def _esc10(folder: Path, table: Path) -> Iterator[Row]:
    for row in cells(table):
        if row["esc10"] == "True":
            yield {"path": f"audio/{row['filename']}", "label": _words(row["category"])}


def _us8k(folder: Path, table: Path) -> Iterator[Row]:
    for row in cells(table):
        yield {"path": f"audio/fold{row['fold']}/{row['slice_file_name']}", "label": _words(row["class"])}


def _fsd50k(folder: Path, table: Path) -> Iterator[Row]:
    for row in cells(table):
        labels = ";".join(_words(label).lower() for label in row["labels"].split(","))
        yield {"path": f"FSD50K.eval_audio/{row['fname']}.wav", "label": labels}


def _gtzan(folder: Path, table: Path) -> Iterator[Row]:
    for file in sorted(table.glob("*/*")):
        if file.suffix.lower() in (".wav", ".au"):
            yield {"path": str(file.relative_to(folder)), "label": label_of(file.parent.name)}


def _tut2017(folder: Path, table: Path) -> Iterator[Row]:
    """Lines `audio/NAME.wav<TAB>scene`, without a header."""
    for line in _lines(table):
        name, scene, *_ = [*line.split("\t"), ""]
        if scene:
            yield {"path": str((table.parent / name).relative_to(folder)), "label": _words(scene.replace("/", " or "))}


def _vocalsound(folder: Path, table: Path) -> Iterator[Row]:
    names = {"throatclearing": "throat clearing"}
    for row in _json(table)["data"]:
        name = Path(row["wav"]).name
        label = re.split(r"[_.]", name)[2]
        yield {"path": f"audio_16k/{name}", "label": names.get(label, label)}


def _audiocaps(folder: Path, table: Path) -> Iterator[Row]:
    files = _files(folder)
    for row in cells(table):
        video, start = row["youtube_id"], row.get("start_time", "")
        names = (video, f"Y{video}", row.get("audiocap_id", ""), f"{video}_{start}", f"Y{video}_{start}")
        found = next((files[name] for name in names if name and name in files), f"{video}.wav")
        yield {"path": found, "caption": row["caption"]}


def _clotho(folder: Path, table: Path) -> Iterator[Row]:
    for row in cells(table):
        yield {**row, "path": f"{'evaluation/' if (folder / 'evaluation').is_dir() else ''}{row['file_name']}"}


def _clothoaqa(folder: Path, table: Path) -> Iterator[Row]:
    for row in cells(table):
        place = f"audio_files/{row['file_name']}"
        yield {"path": place, "question": row["QuestionText"], "answer": row["answer"].lower()}


def _musiccaps(folder: Path, table: Path) -> Iterator[Row]:
    files = _files(folder)
    for row in cells(table):
        if row.get("is_audioset_eval", "True") == "True":
            yield {"path": files.get(row["ytid"], f"{row['ytid']}.wav"), "caption": row["caption"]}


def _choices(folder: Path, table: Path) -> Iterator[Row]:
    """MMAU, MMAU-Pro and MMAR: question, choices and answer beside the path of the sound. The first of the columns task
    (of MMAU), modality (of MMAR) and category (of MMAU-Pro) is that by which their authors' scripts report."""
    data = [json.loads(line) for line in _lines(table)] if table.suffix == ".jsonl" else _json(table)
    for row in data if isinstance(data, list) else data.get("data", []):
        where = row.get("audio_id") or row.get("audio_path") or ""
        where = where[0] if isinstance(where, list) and where else where
        choices = row.get("choices") or []
        yield {
            "path": str(where).removeprefix("./"),
            "question": str(row.get("question") or row.get("instruction") or ""),
            "answer": str(row.get("answer", "")),
            "options": json.dumps([str(one) for one in choices]) if choices else "",
            "category": str(row.get("task") or row.get("modality") or row.get("category") or ""),
        }


# mmau-test-mini.json in the repository of MMAU's authors, by the days on which it was changed; since v05.15.25 a
# quarter of the questions are others
_OLD = {
    "bef649e4bdeb": "2024-10-23", "a5006730ccb3": "2024-10-25", "1b6d31d0b70c": "2024-10-29",
    "850c2794664d": "2024-12-09", "ed2fd6b6c24e": "2025-01-28", "e8cc09223b49": "2025-03-25",
}  # fmt: skip
_NEW = {
    "d35ec10bc309": "2025-05-15", "9da96f00e438": "2025-05-16", "ea9f3f53085a": "2025-05-16",
    "cafecebbb4e4": "2025-05-18", "cc59d9e3fad1": "2025-05-19", "157f1968a686": "2025-05-22",
    "e0042de8b994": "2025-05-24", "0bbabee60dcb": "2025-05-30", "5c63fe8f2de1": "2025-06-23",
    "3940399a013d": "2025-06-23", "9f18fda99f8d": "2025-08-09",
}  # fmt: skip
_MMAU = {key: f"before v05.15.25, its authors' file of {day}" for key, day in _OLD.items()} | {
    key: f"v05.15.25, its authors' file of {day}" for key, day in _NEW.items()
}


SETS = {
    "esc50": PublicSet("classes", "2000 clips, all folds", ("meta/esc50.csv",), _esc50),
    "esc10": PublicSet("classes", "the 400 clips that ESC-50 marks as ESC-10", ("meta/esc50.csv",), _esc10),
    "us8k": PublicSet("classes", "8732 clips, all folds", ("metadata/UrbanSound8K.csv",), _us8k),
    "fsd50k": PublicSet("classes", "evaluation split", ("FSD50K.ground_truth/eval.csv",), _fsd50k),
    "gtzan": PublicSet("classes", "all tracks", ("genres_original", "genres"), _gtzan),
    "tut2017": PublicSet(
        "classes", "evaluation split", ("*evaluation/meta.txt", "*evaluation/evaluation_setup/evaluate.txt",
        "meta.txt"), _tut2017,
    ),
    "vocalsound": PublicSet("classes", "test split, 16 kHz", ("datafiles*/te.json", "te.json"), _vocalsound),
    "audiocaps": PublicSet(
        "captions", "test split", ("test.csv", "dataset/test.csv", "audiocaps*test.csv"), _audiocaps, ("retrieval",)
    ),
    "clotho": PublicSet(
        "captions", "evaluation split", ("clotho_captions_evaluation*.csv", "clotho_evaluation.csv"), _clotho,
        ("retrieval",),
    ),
    "clothoaqa": PublicSet(
        "answers", "test split, the answer most people gave", ("clotho_aqa_test.csv",), _clothoaqa
    ),
    "musiccaps": PublicSet("captions", "AudioSet's evaluation part", ("musiccaps*.csv",), _musiccaps, ("retrieval",)),
    "mmau": PublicSet(
        "answers", "", ("mmau-test-mini*.json", "mmau-test*.json", "mmau*.json"), _choices, revisions=_MMAU
    ),
    "mmau-pro": PublicSet("answers", "", ("mmau*pro*.json", "test.json"), _choices),
    "mmar": PublicSet("answers", "", ("MMAR-meta.jsonl", "MMAR-meta.json"), _choices),
}  # fmt: skip


def of_set(name: str, folder: Path, task: str = "", text_only: bool = False) -> Examples:
    """A public set in a folder. Errors: UsageError."""
    if name not in SETS:
        raise UsageError(f"there is no set {name!r}; there are {', '.join(SETS)}.")
    known = SETS[name]
    task = task or known.task
    if task not in (known.task, *known.also):
        raise UsageError(f"{name} is for the task {' or '.join((known.task, *known.also))}, not {task}.")
    table = next((place for pattern in known.tables for place in sorted(folder.glob(pattern))), None)
    if table is None:
        raise UsageError(
            f"{folder} does not hold {name} as its authors ship it: {' or '.join(known.tables)} is not there; mats "
            "fetches no set."
        )
    try:
        rows = list(known.rows(folder, table))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UsageError(f"{table} is not laid out as that of {name}: it lacks {error}.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{table} cannot be read as JSON ({error}).") from None
    return of_rows(
        rows, task, name, known.version or _version(known, table), folder, str(table), text_only, checked=False
    )


def _version(known: PublicSet, table: Path) -> str:
    """Of a set whose authors change its table: which one this is."""
    key = sha256(table)[:12]
    told = known.revisions.get(key, "no revision that mats knows" if known.revisions else "")
    return ", ".join(filter(None, [told, table.name, f"SHA-256 {key}"]))


def _files(folder: Path) -> dict[str, str]:
    """Stem -> path below the folder, of all that might be a sound."""
    return {
        file.stem: str(file.relative_to(folder))
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() not in (".csv", ".json", ".txt", ".md") and file.is_file()
    }


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in read_text(path).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}).") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error}).") from None
