"""Decodes every file of a folder beside PyAV, and prints how each went: agree, longer, shorter, refused, too short,
neither, crashed.

    python benchmarks/field.py --folder DIR
    python benchmarks/field.py --folder DIR --all         a line for each file, not only for those that differ

agree     as long as PyAV makes it, within a tenth of a second or a hundredth (encoders pad)
longer    mats hears more than PyAV decodes, as of a WAV beyond 4 GiB
shorter   mats hears less; `said` where a note says that something is missing
refused   PyAV decodes it and mats gives a sentence
too short both decode it, and mats says that nobody could tell what it is (under 50 ms)
neither   both refuse it
crashed   anything but a sentence: this is a bug
slow      over ten seconds, whatever came of it
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RATE = 16_000
SLOW = 10.0


@dataclass(frozen=True)
class Told:
    """How one file went: seconds by mats (None: refused) and by PyAV (None: not read)."""

    path: Path
    kind: str
    ours: float | None
    theirs: float | None
    said: str
    took: float


def ours(path: Path) -> tuple[float | None, list[str], bool, bool]:
    """Seconds that mats hears, what it says, whether something is missing, whether it crashed."""
    from mats_model.audio import blocks, source
    from mats_model.errors import InputError

    item = source(path)
    try:
        return sum(len(block) for block in blocks(item, RATE)) / RATE, item.notes, bool(item.missing), False
    except InputError as error:
        return None, [str(error)], False, "not expected" in str(error) or "\n" in str(error)
    except Exception as error:
        return None, [f"{type(error).__name__}: {error}"], False, True


def theirs(path: Path) -> float | None:
    """Seconds of the first audio track that PyAV decodes, bad packets left out; None where there are none."""
    import av

    seconds = 0.0
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            for packet in container.demux(container.streams.audio[0]):
                try:
                    seconds += sum(frame.samples / frame.sample_rate for frame in packet.decode())
                except av.error.DecoderNotFoundError:
                    return None
                except (av.FFmpegError, ValueError):
                    continue
    except Exception:  # whatever it is, the file was not read further
        pass
    return seconds or None


def compare(path: Path) -> Told:
    """One file by both."""
    began = time.perf_counter()
    heard, notes, missing, crashed = ours(path)
    took = time.perf_counter() - began
    other = theirs(path)
    said = " ".join(notes).replace(str(path), path.name)
    if crashed:
        kind = "crashed"
    elif heard is None:
        kind = "neither" if not other else "too short" if "too short" in said else "refused"
    elif other is None or heard - other > max(0.1, other / 100):
        kind = "longer"
    elif other - heard > max(0.1, other / 100):
        kind = "shorter, said" if missing else "shorter"
    else:
        kind = "agree"
    return Told(path, kind, heard, other, said, took)


def files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--all", action="store_true", help="a line for each file, not only for those that differ")
    wanted = parser.parse_args()
    if not wanted.folder.is_dir():
        raise SystemExit(f"--folder {wanted.folder} is no folder.")
    count: Counter[str] = Counter()
    for path in files(wanted.folder):
        told = compare(path)
        count[told.kind] += 1
        count["slow"] += told.took > SLOW
        if wanted.all or told.kind not in ("agree", "neither", "too short") or told.took > SLOW:
            lengths = " ".join("-" if value is None else f"{value:.2f}" for value in (told.ours, told.theirs))
            print(
                f"{told.kind}\t{told.path.relative_to(wanted.folder)}\t{lengths}\t{told.took:.2f} s\t{told.said}",
                flush=True,
            )
    print(", ".join(f"{number} {kind}" for kind, number in count.most_common() if number) or "no files")


if __name__ == "__main__":
    main()
