"""Captions a second of a 7B Llama-shaped model with random weights: one after the other as the authors' loop makes
them, beside ours at 1 and 16.

    python benchmarks/captions.py                        on CUDA: 7B, NF4; needs 40 GB of disk for the random weights
    python benchmarks/captions.py --shape small --cpu    the same comparison on a CPU: 12 layers of 512, no 4 bits

All of them search with four beams for exactly 30 tokens, behind a prefix of 40 and the paper's prompt; what is said is
noise, only time and memory count. `one` and `many` are the same call: a single sound fills the rows that are answered
together with itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import machine
from qlora import SHAPES, peak, random_base

from mats_model.config import LLMConfig, SearchSettings
from mats_model.device import place
from mats_model.llm.bases import load_base
from mats_model.llm.prompts import CAPTION_TAG, DESCRIBE, Question

PREFIX, TOKENS, BEAMS = 40, 30, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--sounds", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not options.cpu and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: --cpu --shape small runs the comparison without 4 bits.")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    config = LLMConfig(
        kind="transformers", base="random", prompt="paper", tuning="frozen", quantize="none" if options.cpu else "nf4"
    )
    placement = place(config, "cpu" if options.cpu else "cuda", training=False)
    with tempfile.TemporaryDirectory() as folder:
        random_base(Path(folder), options.shape)
        llm = load_base(folder, config, placement).eval()
    asked = Question(DESCRIBE, CAPTION_TAG)
    settings = SearchSettings(beams=BEAMS, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
    prefix = (
        torch.randn(options.sounds, PREFIX, llm.width, generator=torch.Generator().manual_seed(0)).to(placement.device)
        * 0.1
    )

    def loop() -> int:
        before, after = llm._ask(asked)
        for row in prefix[: max(2, options.sounds // 4)]:
            inputs = llm._inputs(row[None], before, torch.tensor([after], device=placement.device))
            llm.base.generate(
                inputs_embeds=inputs, attention_mask=torch.ones(inputs.shape[:2], dtype=torch.long,
                device=placement.device), num_beams=BEAMS,
                max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, repetition_penalty=2.0,
                no_repeat_ngram_size=2,
                pad_token_id=llm.tokenizer.eos_token_id,
            )  # fmt: skip
        return max(2, options.sounds // 4)

    def one() -> int:
        llm.answers(prefix[:1], asked, settings)
        return 1

    def many() -> int:
        llm.answers(prefix, asked, settings)
        return len(prefix)

    tasks: dict[str, Callable[[], int]] = {
        "their loop, one at a time": loop,
        "ours, one": one,
        f"ours, {options.sounds}": many,
    }
    rates: dict[str, list[float]] = {name: [] for name in tasks}
    peaks = {}
    with torch.inference_mode():
        for turn in range(options.rounds + 1):
            for name, run in tasks.items():
                if placement.device.type == "cuda":
                    torch.cuda.synchronize()
                    torch.cuda.reset_peak_memory_stats()
                began = time.perf_counter()
                count = run()
                if placement.device.type == "cuda":
                    torch.cuda.synchronize()
                if turn:  # the first one warms up
                    rates[name].append(count / (time.perf_counter() - began))
                peaks[name] = peak(placement.device)
    print(f"{machine()}; {placement.reason}; {llm.rows} rows together\n")
    print("| four beams, 30 tokens | captions a second | ratio | memory |\n|---|---|---|---|")
    first = rates["their loop, one at a time"]
    for name, measured in rates.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(measured, first, strict=True))
        print(f"| {name} | {statistics.median(measured):.2f} | {ratio:.2f} | {peaks[name]} |")
    print("\nasked: 8 times as many at 16")


if __name__ == "__main__":
    main()
