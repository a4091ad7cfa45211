"""mats search: the moments of the library that are nearest to what is asked for."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mats_cli import console, loading
from mats_cli import options as shared
from mats_cli.documents import chosen_format, save
from mats_cli.formats import stamp, visible
from mats_cli.hits import document
from mats_cli.journal import unused
from mats_cli.tracks import Mark
from mats_model import __version__
from mats_model.errors import InputError, UsageError, one_input

if TYPE_CHECKING:
    from mats_model.audio import AudioSource
    from mats_model.ears import Ears
    from mats_model.library.search import Hit, Moment, Query
    from mats_model.library.store import Library

FORMATS = ("text", "json", "jsonl", "csv", "m3u8", "audacity", "html")

Words = Annotated[
    Optional[list[str]], typer.Argument(metavar="QUERY", help="What to look for, in words.", show_default=False)
]
Like = Annotated[
    Optional[list[Path]],
    typer.Option("--like", metavar="FILE", help="Look for what sounds like this; may be given again."),
]
Unlike = Annotated[
    Optional[list[str]], typer.Option("--not", metavar="TEXT", help="What should not be heard; may be given again.")
]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, max=1_000_000, help="Moments to show.")]
Folder = Annotated[Optional[Path], typer.Option("--in", metavar="FOLDER", help="Only sounds in this folder.")]
Files = Annotated[bool, typer.Option("--files", help="The best moment of each sound only.")]
Least = Annotated[
    float,
    typer.Option(
        "--least",
        metavar="SCORE",
        help="Leave out what scores less: a cosine from -1 to 1. With nano one in twenty of what is not there reaches "
        "0.23, and half of what is there 0.36.",
        show_default=False,
    ),
]
Format = Annotated[
    Optional[str],
    typer.Option(
        "--format", metavar="NAME", help=f"How results are written: {', '.join(FORMATS)}; or by the ending of -o."
    ),
]
Clips = Annotated[
    Optional[Path], typer.Option("--clips", metavar="DIR", help="Cut the moments out, as WAV files in this folder.")
]
Out = Annotated[
    Optional[Path],
    typer.Option("-o", "--output", metavar="FILE|DIR", help="Write there; audacity: a label file for each sound."),
]


def search(
    words: Words = None,
    like: Like = None,
    unlike: Unlike = None,
    count: Count = 10,
    folder: Folder = None,
    files: Files = False,
    least: Least = -2.0,
    format: Format = None,
    json: shared.Json = False,
    csv: shared.Csv = False,
    bom: shared.Bom = False,
    embed: shared.Embed = False,
    output: Out = None,
    clips: Clips = None,
    index: shared.Index = None,
    model: shared.Model = "nano",
    clap: shared.Clap = None,
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
) -> None:
    """Find moments in the library by describing them, or by a sound like them.

    A line for each: score (a cosine), probability that it is there, path, start-end, caption if one is kept. The
    probability is - where a sound was asked for. Where nothing is likely, that is said.

    \b
    Examples:
      mats search "kids laughing in the rain"
      mats search --like dog.wav --not speech -n 50 --format csv
      mats search "glass breaking" --clips out/
    """
    from mats_model.audio import source
    from mats_model.library.store import Library

    kind = chosen_format(format, json, csv, FORMATS, bom=bom, output=str(output) if output else None)
    shared.check_goes_with(kind, False, embed)
    texts = [" ".join(words)] if words else []
    if not (texts or like) or any(not text.strip() for text in texts):
        raise UsageError("the query is empty: say what to look for, or give a sound with --like.")
    sounds = [source(path) for path in like or []]
    with Library(loading.index_path(index)) as store:
        mats = loading.load_ears(clap, model, offline)
        if store.pipeline:
            store.of_pipeline(mats.clap.id, mats.clap.dim)
        asked = _asked(mats, texts, sounds, unlike or [], quiet)
        found = _hits(store, _moments(store, asked, folder, least), files, count)
    if not quiet and (line := _unlikely(found)):
        console.note(line)
    failed = _cut(found, clips) if clips else 0
    if kind == "html":
        wanted = ", ".join([*texts, *(path.name for path in like or [])])
        _write_page(wanted, found, output, embed, {"model": mats.id, "mats": __version__})
    else:
        _show(found, kind, output)
    raise typer.Exit(4 if not found else 3 if failed or any(sound.missing for sound in sounds) else 0)


def _asked(mats: Ears, texts: list[str], sounds: list[AudioSource], unlike: list[str], quiet: bool) -> Query:
    """What to look for, and what there is to say of it. Errors: UsageError, InputError."""
    from mats_model.library.search import caution, query

    for text in [] if quiet else [*texts, *unlike]:
        if line := caution(mats, text):
            console.note(line)
    asked = query(mats, texts, sounds, unlike)
    for sound in sounds:
        for line in sound.notes:
            console.note(line)
    return asked


def _moments(store: Library, asked: Query, folder: Path | None, least: float) -> Iterator[Moment]:
    """Errors: InputError where there are no sounds to search."""
    from mats_model.library.search import Searcher

    searcher = Searcher(store.matrix(os.path.abspath(folder) if folder else None))
    if not len(searcher.vectors):
        raise InputError(
            f"the library holds no sound{f' in {folder}' if folder else ''}: `mats index library FOLDER` puts some in."
        )
    return searcher.best(asked, least)


def _hits(store: Library, moments: Iterator[Moment], files: bool, count: int) -> list[Hit]:
    from mats_model.library.search import best_files, hits

    return hits(store, itertools.islice(best_files(moments) if files else moments, count))


def _unlikely(hits: list[Hit]) -> str | None:
    """That nothing like what was asked for is there, where that is so; None where something is, or it is not known."""
    from mats_model.labels import LEAST

    best = max((hit.probability for hit in hits if hit.probability is not None), default=1.0)
    if best >= LEAST:
        return None
    return f"nothing like it was found: what is nearest is there with a probability of {best:.2f}."


def _show(hits: list[Hit], kind: str, output: Path | None) -> None:
    if kind == "audacity" and (
        output is None or output.is_dir() or str(output).endswith(os.sep) or len({hit.paths[0] for hit in hits}) > 1
    ):
        if output is None and len({hit.paths[0] for hit in hits}) > 1:
            raise UsageError(
                "--format audacity holds one recording, and these are of several: give a folder with -o "
                f"FOLDER{os.sep}."
            )
        if output is not None:
            used: set[Path] = set()
            for path in dict.fromkeys(hit.paths[0] for hit in hits):
                save(
                    unused(output, Path(path).name, ".txt", used),
                    document([hit for hit in hits if hit.paths[0] == path], kind),
                )
            return
    if output is None:
        console.out(document(hits, kind))
    else:
        save(output, document(hits, kind))


def _write_page(wanted: str, hits: list[Hit], output: Path | None, embed: bool, about: dict[str, str]) -> None:
    """The moments as cards, the best first, each with the seconds around it."""
    from mats_cli.pages.page import page
    from mats_cli.pages.sounds import excerpt

    sounds = []
    for hit in hits:
        path = next((each for each in hit.paths if os.path.exists(each)), hit.paths[0])
        said = visible(hit.caption or wanted)
        sounds.append(excerpt(hit.paths[0], Mark(hit.start, hit.end, said, hit.score), Path(path), output, embed))
    text = page(f"mats search: {wanted}", sounds, about)
    console.out(text) if output is None else save(output, text)


def _cut(hits: list[Hit], folder: Path) -> int:
    """Each moment as a file of its own, the best first by name; returns how many could not be cut."""
    failed = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, hit in enumerate(hits, 1):
            path = next((each for each in hit.paths if os.path.exists(each)), hit.paths[0])
            stem = re.sub(r"[^\w.-]", "_", Path(path).stem)[:50]  # 200 bytes at most
            target = folder / f"{number:0{len(str(len(hits)))}d}-{stem}-{stamp(hit.start)}.wav"
            try:
                _clip(path, hit, target)
            except InputError as error:
                failed += 1
                console.failure(error)
    except OSError as error:
        raise UsageError(f"--clips {folder}: it cannot be written ({error.strerror or error}).") from None
    return failed


def _clip(path: str, hit: Hit, target: Path) -> None:
    """Errors: InputError for the sound, OSError for the clip."""
    from mats_model.audio import AudioSource, cut

    refused: OSError | None = None
    with one_input(path):
        try:
            cut(AudioSource(path, path=Path(path)), hit.start, hit.end, target)
        except OSError as error:
            if str(target) not in (error.filename, error.filename2):
                raise
            refused = error
    if refused:
        raise refused
