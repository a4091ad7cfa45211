"""Twenty new words taught with words alone: does the model say them when it is told of the sound in other words, and
what is forgotten?

    python benchmarks/words.py --data DATA --taught runs/my-words      after: mats train recipes/custom-labels.yaml -o
    runs/my-words

One new phrase for each word, written for this test and not in recipes/custom-labels.csv, is embedded by the text side;
ESC-10 is heard.
"""

from __future__ import annotations

import numpy as np
import torch
from common import CLASSES, arguments, esc10, machine, named

from mats_model import load

PHRASES = {
    "espresso": "milk is frothed in a coffee bar",
    "printer": "motors hum up and down as plastic is laid in layers",
    "laser": "air blows while a beam burns through plywood",
    "geiger": "radiation is counted in scattered ticks",
    "modem": "a computer calls another over the telephone line",
    "popcorn": "maize bursts open in hot oil",
    "pressure": "a lid hisses as it lets off steam",
    "loom": "cloth is woven on a wooden frame",
    "letterpress": "an old printing machine inks and stamps paper",
    "quadcopter": "a small drone flies over the garden",
    "detector": "someone searches the beach for coins and it chirps",
    "skat": "a figure skater turns on the rink",
    "bubble": "somebody squeezes packing foil until it pops",
    "kalimba": "a thumb piano plays a soft tune",
    "ratchet": "a mechanic tightens a bolt and the tool clicks",
    "reel": "an angler casts and winds the line back",
    "label": "a sticker is printed and cut off",
    "bowling": "a strike knocks down all ten pins",
    "bowl": "a monk strikes and rubs a metal dish that hums",
    "tattoo": "a needle buzzes on somebody's arm",
}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--taught", default="runs/my-words")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before, after = load(options.model), load(options.taught)
    vectors = before.clap.embed_text(list(PHRASES.values()))
    clips = esc10(options.data)
    heard = np.stack([before.embed_audio(clip.path) for clip in clips])
    print(f"{machine()}\n\n| model | new words said, of 20 | ESC-10 captions that name the sound |\n|---|---|---|")
    for name, mats in ((before.config.name, before), (after.config.name, after)):
        said = mats.answer(vectors)
        right = sum(word in answer.lower() for word, answer in zip(PHRASES, said, strict=True))
        kept = sum(
            named(caption, CLASSES[clip.target]) for caption, clip in zip(mats.answer(heard), clips, strict=True)
        )
        print(f"| {name} {mats.config.id} | {right} | {kept / len(clips):.4f} |")
    print("\n" + "\n".join(f"- {phrase}: {answer}" for phrase, answer in zip(PHRASES.values(), said, strict=True)))


if __name__ == "__main__":
    main()
