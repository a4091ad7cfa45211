"""mats index memory: captions -> the memory that Santa moves sounds toward."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mats_cli import console, loading
from mats_cli import options as shared
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from mats_model.ears import Ears

Captions = Annotated[
    list[Path], typer.Argument(metavar="CAPTIONS...", help="Files of captions: JSONL, JSON, CSV, TSV or TXT.")
]
Out = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The memory to write.", show_default=False)]
Column = Annotated[
    str,
    typer.Option(
        "--column", metavar="NAME", help="Their column of captions; caption, text or description if not given."
    ),
]
Clusters = Annotated[
    int, typer.Option("--clusters", metavar="K", min=0, help="Of k-means; 0 chooses by the number of captions.")
]
Variance = Annotated[
    float,
    typer.Option("--variance", metavar="V", min=0.0, max=10.0, help="Of the noise drawn once on them, per dimension."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of noise and clusters.")]
Audio = Annotated[
    Optional[list[str]], typer.Option("--audio", metavar="FOLDER", help="Recordings whose mean is kept, for way=shift.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of skipping it.")]


def memory(
    captions: Captions,
    output: Out,
    column: Column = "",
    clusters: Clusters = 0,
    variance: Variance = 0.0,
    seed: Seed = 0,
    audio: Audio = None,
    strict: Strict = False,
    model: shared.Model = "nano",
    clap: shared.Clap = None,
    device: shared.EarsDevice = "auto",
    offline: shared.Offline = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Turn captions into Santa's memory: what a sound may be moved toward before it is put into words.

    \b
    Examples:
      mats index memory captions.csv -o memory/
      mats caption song.wav --memory memory/
    """
    from mats_model.gap.build import build, check_replaceable
    from mats_model.gap.memory import MemoryCard

    check_replaceable(output)  # before anything is heard
    mats = loading.load_ears(clap, model, offline, device)
    heard = embeddings(mats, audio) if audio else None
    bad = _Bad()
    texts = _texts(captions, column, strict, bad)
    said = 0
    card = MemoryCard()
    for told in build(texts, mats.clap, output, [path.name for path in captions], variance, clusters, seed, heard):
        if isinstance(told, MemoryCard):
            card = told
        elif not quiet and told.done - said >= 200_000:
            said = told.done
            console.note(f"{told.done} {told.what}")
        if not isinstance(told, MemoryCard) and told.done < said:
            said = 0
    if not quiet:
        for line in bad.first:
            console.note(line)
    more = f", {bad.count} bad row{'s' if bad.count > 1 else ''} skipped" if bad.count else ""
    if json:
        console.out(jsonlib.dumps({"memory": str(output), **asdict(card), "bad": bad.count}) + "\n")
    else:
        console.out(f"{output}: {card.captions} captions in {card.clusters} clusters{more}\n")


@dataclass
class _Bad:
    """Rows that were skipped: how many, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)


def _texts(captions: list[Path], column: str, strict: bool, bad: _Bad) -> Iterator[str]:
    from mats_model.training.sources import BadRow, captions_in

    for path in captions:
        for row in captions_in(path, column):
            if not isinstance(row, BadRow):
                yield row
            elif strict:
                raise UsageError(f"{row.file}:{row.line}: the row {row.why}.")
            else:
                bad.count += 1
                bad.first += [str(row)] if bad.count <= 5 else []


def embeddings(mats: Ears, folders: list[str]) -> np.ndarray:
    """(n, d) of all sounds in some folders, those that cannot be heard left out with a note. Errors: InputError when
    none can."""
    import numpy as np

    from mats_cli.inputs import expand
    from mats_cli.job import listen_all

    vectors = []
    for listened in listen_all(mats, expand(folders).items, None):
        for line in [*listened.notes, *filter(None, [listened.error])]:
            console.note(line)
        console.trace(listened.trace)
        vectors += [heard.embedding for heard in listened.heard if heard.embedding is not None]
    if not vectors:
        raise InputError(f"no sounds were heard in {', '.join(folders)}.")
    return np.stack(vectors)
