"""How Santa's and the search's shipped settings were chosen: captions of recordings whose labels were never told to the model.

    python benchmarks/settings.py --data DATA --work build/nano blend=0.3,temperature=0.1,neighbours=32 blend=1,rerank=3 ...

The recordings are those of moodist and blanket in the training set: their sound was in the pool, their labels in nothing.
A caption counts when it holds a word of the label (its first five letters). ESC-10 takes no part in the choice.
"""

from __future__ import annotations

import io
import re
from dataclasses import fields, replace
from pathlib import Path

import soundfile
import torch
from common import arguments, machine

from mats_model import load
from mats_model.mats import Mats
from mats_model.teach.clips import Clips

SOURCES = ("gh/remvze+moodist", "gh/rafaelmardojai+blanket")
NOT_HEARD = re.compile(r"binaural|noise|keyboard")


def recordings(work: Path, step: int) -> list[tuple[bytes, set[str]]]:
    """(a WAV file, the words of its label)."""
    clips, made = Clips(work / "clips"), []
    for number, row in enumerate(clips.rows):
        if row.source in SOURCES and not NOT_HEARD.search(row.label):
            sink = io.BytesIO()
            soundfile.write(sink, clips[number], 32_000, format="WAV", subtype="FLOAT")
            words = {word[:5].rstrip("s") for word in re.findall(r"[a-z]{3,}", row.label.split(": ")[1])}
            made.append((sink.getvalue(), words))
    return made[::step]


def with_settings(mats: Mats, given: str) -> None:
    values = dict(pair.split("=") for pair in given.split(","))
    for part in ("santa", "search"):
        old = getattr(mats.config, part)
        new = {f.name: type(getattr(old, f.name))(values[f.name]) for f in fields(old) if f.name in values}
        mats.config = replace(mats.config, **{part: replace(old, **new)})
    mats.santa.settings = mats.config.santa


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--work", type=Path, default=Path("build/nano"))
    parser.add_argument("--step", type=int, default=2, help="take every n-th recording")
    parser.add_argument("settings", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    mats = load(options.model)
    told = recordings(options.work, options.step)
    vectors = torch.stack([mats.embed(data) for data, _ in told])
    print(f"{len(told)} recordings, model {mats.config.id}; {machine()}\n\n| settings | names it | speaks of people | words |\n|---|---|---|---|")
    for given in options.settings:
        with_settings(mats, given)
        captions = [caption.lower() for caption in mats.answer(vectors)]
        named = sum(any(re.search(rf"\b{word}", caption) for word in words) for caption, (_, words) in zip(captions, told, strict=True))
        people = sum(bool(re.search(r"\b(speak|talk|m[ae]n|wom[ae]n|people|person)", caption)) for caption in captions)
        words = sum(len(caption.split()) for caption in captions)
        print(f"| {given} | {named / len(told):.3f} | {people / len(told):.3f} | {words / len(told):.1f} |", flush=True)


if __name__ == "__main__":
    main()
