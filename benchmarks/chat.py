"""Questions about ESC-10, which nothing was trained on: is there one, which is it, and what is it.

    python benchmarks/chat.py --data DATA
    python benchmarks/chat.py --data DATA --model mini --every 10
    python benchmarks/chat.py --data DATA --model mini --every 10 --strict

Each clip is asked whether its own sound is there, and whether that of another class is (the next one in order).
"Perhaps" counts as neither. A choice is between the two.
"""

from __future__ import annotations

import torch
from common import CLASSES, arguments, esc10

from mats_cli import loading
from mats_model.audio import source
from mats_model.live.events import Tags, tag_names
from mats_model.live.hearing import Hearing, take
from mats_model.live.talk import Conversation

PHRASES = [
    "a dog", "rain", "sea waves", "a baby crying", "a clock ticking", "somebody sneezing", "a helicopter",
    "a chainsaw", "a rooster",
    "fire crackling",
]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__ or "", answers=True)
    parser.add_argument("--every", type=int, default=1, help="take every so many clips")
    parser.add_argument("--strict", action="store_true")
    wanted = parser.parse_args()
    torch.set_num_threads(2)
    mats = loading.load_model(wanted.model, False, quantize=wanted.quantize)
    tags = Tags(mats, tag_names(mats))
    counts = dict.fromkeys(("own: yes", "own: no", "other: yes", "other: no", "choice", "withheld"), 0)
    clips = esc10(wanted.data)[:: wanted.every]
    for number, clip in enumerate(clips):
        own, other = PHRASES[clip.target], PHRASES[(clip.target + 1) % len(CLASSES)]
        hearing = take(mats, source(clip.path))

        def asked(question: str, hearing: Hearing = hearing) -> str:
            chat = Conversation(mats, tags, wanted.strict)
            chat.listen_to(hearing)
            answer = "".join(chat.ask(question)).lower()
            counts["withheld"] += bool(chat.last and chat.last.withheld)
            return answer

        for thing, whose in ((own, "own"), (other, "other")):
            answer = asked(f"Is there {thing}?")
            counts[f"{whose}: yes"] += answer.startswith("yes")
            counts[f"{whose}: no"] += answer.startswith("no")
        answer = asked(f"Is it {own} or {other}?" if number % 2 else f"Is it {other} or {own}?")
        first, second = (answer.find(thing.removeprefix("a ").split()[0]) for thing in (own, other))
        counts["choice"] += not answer.startswith("none") and first >= 0 and (second < 0 or first < second)
    print(f"{wanted.model}{', strict' if wanted.strict else ''}, {len(clips)} clips")
    for what, count in counts.items():
        print(f"{what:12s} {count / len(clips):.3f}")


if __name__ == "__main__":
    main()
