"""What nano says, by how often it says it; and whether a sentence of a corpus stands anywhere in the repository.

    python benchmarks/sentences.py --corpus --data DATA            every tracked text file against the caption files
    python benchmarks/sentences.py --said 300 --data DATA --work build/nano [--every 4]    of the recordings of the
    training set

A sentence of a corpus counts where it has five words or more and stands by itself: as a line, a cell or a quoted
string.
"""

from __future__ import annotations

import csv
import re
import subprocess
from collections import Counter
from pathlib import Path

import torch
from common import ROOT, arguments

from mats_model.captions import tidy
from mats_model.clap.nano import NanoClap
from mats_model.teach.clips import Clips, prepare
from mats_model.teach.parts import openings
from mats_model.vectors import unit
from mats_model.weights.loading import load

LEAST = 5  # words: shorter ones are anybody's
# what no answer may hold: none of it can be heard
UNHEARD = re.compile(r"\b(video|camera|picture|photo|screen|unavailable|low quality|recording)\b")
SPEECH = re.compile(r"\b(man|men|woman|women|people|speak|speaks|speaking|talk|talks|talking|speech|voice|voices)\b")
MUSIC = re.compile(r"\b(music|song|melody|guitar|piano|drums?|synth\w*|violin|flute|orchestra)\b")


def corpora(data: Path) -> set[str]:
    """Every caption of the caption files, whole and sentence by sentence."""
    found: set[str] = set()
    for path in sorted((data / "captions").glob("*.csv")):
        with path.open(newline="", encoding="utf-8", errors="replace") as handle:
            for row in csv.DictReader(handle):
                for column, text in row.items():
                    if column and column.startswith("caption") and isinstance(text, str):
                        found |= {tidy(part) for part in (text, *text.split("."))}
    return {text for text in found if len(text.split()) >= LEAST}


def corpus(data: Path) -> int:
    """Prints each place where a sentence of a corpus stands; returns how many."""
    theirs, count = corpora(data), 0
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        path = ROOT / name
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            cells = next(csv.reader([line]), []) if path.suffix == ".csv" else []
            for part in {line, *cells, *re.split(r"[\"|;\t]", line)}:
                if tidy(part) in theirs:
                    print(f"{name}:{number}: {part.strip()}")
                    count += 1
                    break
    print(
        f"{len(theirs)} sentences of {LEAST} words or more in the caption files; {count} places in "
        f"{len(listed.splitlines())} tracked files hold one"
    )
    return count


def said(model: str, data: Path, work: Path, most: int, every: int) -> None:
    """Captions of the training recordings by how often they come, and words that no ear can find."""
    mats = load(model)
    assert isinstance(mats.clap, NanoClap)
    clips: Clips = prepare(data / "audio", work / "clips")
    rows, captions = list(range(0, len(clips), every)), list[str]()
    for at in range(0, len(rows), 32):
        waves = openings(clips, rows[at : at + 32])
        captions += mats.answer(unit(mats.clap.embed_windows(waves.numpy())))
    counts = Counter(captions)
    print(f"{len(captions)} recordings, {len(counts)} different captions, model {mats.config.id}")
    spoken = [at for at, row in enumerate(rows) if clips.rows[row].label.startswith("speech")]
    played = [at for at, row in enumerate(rows) if clips.rows[row].label.startswith("music")]
    for name, some, wrong, right in (("speech", spoken, MUSIC, SPEECH), ("music", played, SPEECH, MUSIC)):
        called = sum(bool(wrong.search(captions[at].lower())) and not right.search(captions[at].lower()) for at in some)
        print(f"{name}: {called} of {len(some)} are called the other")
    print(f"with a word that cannot be heard: {sum(bool(UNHEARD.search(caption.lower())) for caption in captions)}\n")
    for caption, count in counts.most_common(most):
        print(f"{count}\t{caption}")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--corpus", action="store_true")
    parser.add_argument("--said", type=int, default=0, metavar="N", help="the N captions that come most")
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    parser.add_argument("--every", type=int, default=1, help="take every n-th recording")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.said:
        said(options.model, options.data, options.work, options.said, options.every)
    if options.corpus and corpus(options.data):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
