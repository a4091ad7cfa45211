"""Words of captions beside those of Stanford's PTBTokenizer, which the usual scripts of captions call; needs Java.

pip install pycocoevalcap
python benchmarks/treebank.py --data DATA [--jar stanford-corenlp-3.4.1.jar]
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import subprocess
import tempfile
from pathlib import Path

from common import ROOT

from mats_model.evaluate.words import caption_words

# what those scripts drop, as their source has it
DROPPED = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
FILES = (
    "audiocaps_v1_train.csv",
    "audiocaps_v1_val.csv",
    "audiocaps_v1_test.csv",
    "clotho_development.csv",
    "clotho_evaluation.csv",
    "musiccaps-public.csv",
)


def captions(path: Path) -> list[str]:
    """All columns whose names begin with caption."""
    with path.open(encoding="utf-8", errors="replace", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [
        " ".join(value.split())
        for row in rows
        for key, value in row.items()
        if key and key.startswith("caption") and value
    ]


def treebank(texts: list[str], jar: Path) -> list[list[str]]:
    """As pycocoevalcap calls it: lower case, a line stays a line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts"
        file.write_text("\n".join(texts), encoding="utf-8")
        command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
        done = subprocess.run([*command, str(file)], capture_output=True, check=True)
    lines = done.stdout.decode("utf-8").split("\n")
    return [[word for word in line.split() if word not in DROPPED] for line in lines[: len(texts)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--jar", type=Path, help="pycocoevalcap's if not given")
    options = parser.parse_args()
    jar = options.jar
    if jar is None:
        found = importlib.util.find_spec("pycocoevalcap")
        if found is None or found.origin is None:
            raise SystemExit("pycocoevalcap is not installed: give its jar with --jar.")
        jar = Path(found.origin).parent / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    print("| captions | read | words that differ |\n|---|---|---|")
    for name in FILES:
        texts = captions(options.data / "captions" / name)
        pairs = zip(map(caption_words, texts), treebank(texts, jar), strict=True)
        print(f"| {name} | {len(texts)} | {sum(mine != theirs for mine, theirs in pairs)} |")


if __name__ == "__main__":
    main()
