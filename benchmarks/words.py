"""Twenty new words taught with words alone: does the model say them when it is told of the sound in other words, and
does it go on saying what it said of all else?

    mats train recipes/custom-labels.yaml
    python benchmarks/words.py --data DATA --taught runs/my-words

A phrase for each word, written for this test and not in recipes/custom-labels.csv, is embedded by the text side, and
counts where the answer holds the word whole; two more for each were written to choose the recipe's settings by.
ESC-10, which nothing was chosen by, is heard.
"""

from __future__ import annotations

import numpy as np
import torch
from common import CLASSES, arguments, esc10, machine, named

from mats_model import load
from mats_model.mats import Mats

# word: a phrase that is held out, and two that settings were chosen by
PHRASES = {
    "espresso machine": (
        "milk is frothed in a coffee bar",
        "coffee is brewed under pressure and milk foams",
        "a barista steams milk in a metal jug",
    ),
    "3d printer": (
        "motors hum up and down as plastic is laid in layers",
        "little motors whirr as a plastic model is built up",
        "a printing head slides and hums while it makes an object",
    ),
    "laser cutter": (
        "air blows while a beam burns through plywood",
        "a light beam sizzles through a wooden board under a fan",
        "something burns along a line while air is pumped",
    ),
    "geiger counter": (
        "radiation is counted in scattered ticks",
        "a radiation meter ticks at random",
        "sparse clicks grow dense near something radioactive",
    ),
    "dial-up modem": (
        "a computer calls another over the telephone line",
        "an old computer goes online with screeching tones",
        "a phone line hisses and squeals as machines connect",
    ),
    "popcorn maker": (
        "maize bursts open in hot oil",
        "corn kernels pop in a hot machine",
        "pops come faster as snacks are made in hot air",
    ),
    "pressure cooker": (
        "a lid hisses as it lets off steam",
        "a pot on the stove lets steam out of its valve",
        "a kitchen pot hisses and its weight jiggles",
    ),
    "weaving loom": (
        "cloth is woven on a wooden frame",
        "a shuttle is thrown and threads are beaten together",
        "a weaver works at a clacking wooden frame",
    ),
    "letterpress": (
        "an old printing machine inks and stamps paper",
        "type is inked and a heavy press comes down",
        "rollers and plates clank as cards are printed by hand",
    ),
    "quadcopter": (
        "a small drone flies over the garden",
        "four little rotors whine overhead",
        "a toy with propellers hovers and buzzes",
    ),
    "metal detector": (
        "someone searches the beach for coins and it chirps",
        "a sweep over the sand gives a rising beep",
        "a coil hums and whoops above buried coins",
    ),
    "ice skating": (
        "a figure skater turns on the rink",
        "steel blades glide across the frozen lake",
        "hockey players scrape over the ice",
    ),
    "bubble wrap": (
        "somebody squeezes packing foil until it pops",
        "packaging is popped bubble by bubble",
        "plastic cushions burst under a thumb",
    ),
    "kalimba": (
        "a thumb piano plays a soft tune",
        "metal tongues are plucked with the thumbs",
        "a gentle african thumb piano rings",
    ),
    "ratchet wrench": (
        "a mechanic tightens a bolt and the tool clicks",
        "a socket tool clicks as a nut is turned",
        "quick clicks of a spanner turning back and forth",
    ),
    "fishing reel": (
        "an angler casts and winds the line back",
        "line is pulled off a spool by a fish",
        "an angler cranks the handle and the spool whirrs",
    ),
    "label printer": (
        "a sticker is printed and cut off",
        "a sticky strip whirrs out and is snipped",
        "a small thermal printer feeds out a tag",
    ),
    "bowling alley": (
        "a strike knocks down all ten pins",
        "a heavy ball rolls down the lane into the pins",
        "pins scatter with a crash after a long roll",
    ),
    "singing bowl": (
        "a monk strikes and rubs a metal dish that hums",
        "a brass bowl is struck and its tone lingers",
        "a meditation bowl hums as its rim is rubbed",
    ),
    "tattoo machine": (
        "a needle buzzes on somebody's arm",
        "a needle gun buzzes over skin",
        "ink is pricked into an arm with a buzzing tool",
    ),
}


def said(mats: Mats, phrases: dict[str, str]) -> tuple[int, list[str]]:
    """Of how many phrases the answer holds the word, and all answers."""
    answers = mats.answer(mats.clap.embed_text(list(phrases.values())))
    return sum(word in answer.lower() for word, answer in zip(phrases, answers, strict=True)), answers


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--taught", default="runs/my-words")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before, after = load(options.model), load(options.taught)
    clips = esc10(options.data)
    heard = np.stack([before.embed_audio(clip.path) for clip in clips])
    sets = [{word: phrases[number] for word, phrases in PHRASES.items()} for number in range(3)]
    print(f"{machine()}\n\n| model | held out, of 20 | chosen by, of 40 ", end="")
    print("| ESC-10 captions that name the sound | with a taught word |\n|---|---|---|---|---|")
    for mats in (before, after):
        counts = [said(mats, phrases)[0] for phrases in sets]
        captions = mats.answer(heard)
        kept = sum(named(caption, CLASSES[clip.target]) for caption, clip in zip(captions, clips, strict=True))
        wrong = sum(any(word in caption.lower() for word in PHRASES) for caption in captions)
        name = f"{mats.config.name} {mats.config.id}"
        print(f"| {name} | {counts[0]} | {counts[1] + counts[2]} | {kept / len(clips):.4f} | {wrong} |")
    answers = said(after, sets[0])[1]
    print("\n" + "\n".join(f"- {phrase}: {answer}" for phrase, answer in zip(sets[0].values(), answers, strict=True)))


if __name__ == "__main__":
    main()
