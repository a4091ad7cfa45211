"""Whether scores can be believed: how often mats says that none of ten labels fits, and how often a probability is
true.

    python benchmarks/honest.py --data DATA --work FOLDER [--model nano] [--calibrate [MODEL_FOLDER ...]]

Calibrated on six whole sources of recordings that nothing was trained on: each one's own phrase, and those of nine
others. Told beside it, and choosing nothing: ESC-10, each clip with its ten class names and with the right one taken
out, by halves (odd and even clips). `--calibrate` prints the fields of config.json; folders behind it get them written,
with their new ids.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import CLASSES, ROOT, arguments, esc10, machine

from mats_model.labels import LEAST, Scales, background
from mats_model.mats import Mats, scales
from mats_model.teach.calibrate import Trial, calibrate, calibrated, calibration_error, draw, reliability
from mats_model.teach.clips import Clips, prepare
from mats_model.teach.parts import openings
from mats_model.teach.phrases import read_phrases
from mats_model.vectors import unit
from mats_model.weights.folder import CONFIG, WEIGHTS, identified, read_config
from mats_model.weights.loading import load


def held(mats: Mats, clips: Clips) -> tuple[np.ndarray, list[list[str]], np.ndarray]:
    """Embeddings (n, d) of the first 5 s of the held recordings that have phrases, the phrases, and their sources."""
    phrases = read_phrases(ROOT / "recipes" / "nano", clips.rows)
    rows = [at for at, row in enumerate(clips.rows) if row.split == "held" and phrases.of_clips[at]]
    parts = [mats.clap.embed_windows(openings(clips, rows[at : at + 32]).numpy()) for at in range(0, len(rows), 32)]
    said = [[phrases.texts[place] for place in phrases.of_clips[row]] for row in rows]
    return unit(np.concatenate(parts)), said, np.array([clips.rows[row].source for row in rows])


def tens(mats: Mats, vectors: np.ndarray, target: np.ndarray) -> Trial:
    """ESC-10: each clip with its own class name, and with the nine others."""
    cosines = vectors @ mats.label_embeddings(CLASSES).T
    mine = np.eye(len(CLASSES), dtype=bool)[target]
    ground = background(vectors, mats.clap.embed_text(list(mats.clap.names)))
    return Trial(cosines[mine], cosines[~mine].reshape(len(target), -1), ground)


def none_said(trial: Trial, by: Scales) -> tuple[float, float]:
    """How often none fits is said of ten labels: with the right one among them, and with it taken out."""
    best = trial.absent.max(1)
    there, absent = (by.probabilities(cosines, trial.background) for cosines in (np.maximum(best, trial.there), best))
    return float((there < LEAST).mean()), float((absent < LEAST).mean())


def left_out(trial: Trial, sources: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of all pairs, each by scales that its own source took no part in; and what is true."""
    said, true = [], []
    for source in sorted(set(sources)):
        by = calibrate(trial.some(np.flatnonzero(sources != source)))
        cosines, grounds, there = trial.some(np.flatnonzero(sources == source)).pairs()
        said.append(by.probabilities(cosines, grounds))
        true.append(there)
    return np.concatenate(said), np.concatenate(true)


def tell(name: str, trial: Trial, by: Scales) -> None:
    cosines, grounds, there = trial.pairs()
    with_it, without = none_said(trial, by)
    error = calibration_error(by.probabilities(cosines, grounds), there)
    print(f"| {name} | {len(trial.there)} | {without:.3f} | {with_it:.3f} | {error:.3f} |")


def write_fields(folder: Path, by: Scales) -> None:
    """The scales into a folder's config.json, with the id that they give it."""
    config = calibrated(read_config(folder), by)
    config = replace(config, id=identified(config, folder / WEIGHTS))
    file = folder / CONFIG
    # the fields in their old order, so that nothing else of the file changes
    values = json.loads(file.read_text())
    for key in ("label_scale", "multi_scale", "multi_bias", "background", "id"):
        values[key] = getattr(config, key)
    file.write_text(json.dumps(values, indent=2) + "\n")
    print(f"{file} written, id {config.id}")


def options() -> argparse.Namespace:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder of decoded recordings, as of `mats train recipes/nano/nano.yaml`",
    )
    parser.add_argument("--calibrate", nargs="*", type=Path, help="measure the scales anew, and write them to these")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    torch.set_num_threads(1)
    mats = load(chosen.model)
    vectors, said, sources = held(mats, prepare(chosen.data / "audio", chosen.work / "clips"))
    trial = draw(vectors, said, mats.clap.embed_text, mats.clap.names)
    by = scales(mats.config) if chosen.calibrate is None else calibrate(trial)
    print(f"model {mats.config.name} {mats.config.id}; {machine()}\n")
    print("none fits, and how far a probability is from the truth (ECE):\n")
    print("| | recordings | the right label taken out | it is there | ECE |\n|---|---|---|---|---|")
    tell("held sources, own phrase and nine others", trial, by)
    clips = esc10(chosen.data)
    heard, target = np.stack([mats.embed_audio(clip.path) for clip in clips]), np.array([clip.target for clip in clips])
    tested = tens(mats, heard, target)
    for name, rows in (("all", slice(None)), ("odd clips", slice(0, None, 2)), ("even clips", slice(1, None, 2))):
        tell(f"ESC-10, {name}", tested.some(np.arange(len(target))[rows]), by)
    every, true = left_out(trial, sources)
    print(f"\nheld sources, each by scales of the other five: ECE {calibration_error(every, true):.3f}\n")
    print("| probability | share of the labels | mean of what was said | how often true |\n|---|---|---|---|")
    for least, most, share, told, often in reliability(every, true):
        print(f"| {least:.1f} to {most:.1f} | {share:.3f} | {told:.3f} | {often:.3f} |")
    right = (heard @ mats.label_embeddings(CLASSES).T).argmax(1) == target
    print(f"\nESC-10 top-1 with the class names {float(right.mean()):.4f}")
    if chosen.calibrate is not None:
        fields = {"label_scale": by.label, "multi_scale": by.multi, "multi_bias": by.bias, "background": by.background}
        print("\n" + json.dumps(fields))
        for folder in chosen.calibrate:
            write_fields(folder, by)


if __name__ == "__main__":
    main()
