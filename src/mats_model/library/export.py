"""A library's vectors for other tools: NumPy's npz, or Parquet with pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from mats_model.errors import UsageError
from mats_model.files import whole
from mats_model.library.store import Library

FORMATS = ("npz", "parquet")
_ROWS = 65_536


def export_to(library: Library, target: Path, kind: str) -> int:
    """path, start, end (seconds) and vector (float16, unit length) of each window; returns how many. Errors:
    UsageError."""
    try:
        with whole(target) as file, library.reading():
            return _npz(library, file) if kind == "npz" else _parquet(library, file)
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror or error}): choose another place.") from None


def _npz(library: Library, file: IO[bytes]) -> int:
    """path (sounds,) of text; sound, start, end (windows,); vector (windows, d)."""
    matrix = library.matrix()
    rows = library.rows(np.unique(matrix.sounds).tolist())
    place = {number: at for at, number in enumerate(rows)}
    paths = np.array([row["paths"][0] if row["paths"] else "" for row in rows.values()] or [""], dtype=np.str_)
    owner = np.array([place[number] for number in matrix.sounds.tolist()], np.int32)
    np.savez(file, path=paths, sound=owner, start=matrix.times[:, 0], end=matrix.times[:, 1], vector=matrix.vectors)
    return len(owner)


def _parquet(library: Library, file: IO[bytes]) -> int:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise UsageError("Parquet needs pyarrow, which is not installed: pip install 'mats[index]'.") from None
    width = library.width
    fields = [("path", arrow.string()), ("hash", arrow.string()), ("start", arrow.float32()), ("end", arrow.float32())]
    schema = arrow.schema([*fields, ("vector", arrow.list_(arrow.float16(), width))])
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for sound in library.export():
            windows = len(sound["vectors"])
            vectors = arrow.FixedSizeListArray.from_arrays(
                arrow.array(sound["vectors"].reshape(-1), arrow.float16()), width
            )
            # a name that is no text in Unicode has no place in a Parquet file
            name = sound["path"].encode("utf-8", "backslashreplace").decode()
            columns = [[name] * windows, [sound["hash"]] * windows, sound["times"][:, 0], sound["times"][:, 1], vectors]
            if windows:
                writer.write_table(arrow.table(columns, schema=schema))
            count += windows
    return count
