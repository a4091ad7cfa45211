"""SmolLM2-135M decoding on a CPU: float32 with eager attention by transformers' generate, beside what mats runs, in one
run, turn by turn.

    mats models pull smollm2-135m
    python benchmarks/decoding.py
    python benchmarks/decoding.py --caches        a cache of fixed size, and compiled decoding (that needs a C++
    compiler, and minutes)

`greedy` is one answer of 30 tokens, as `mats chat` streams it; `beams` four answers at once with four beams, as `mats
caption` searches for them. Agreement: of the tokens that float32 says to some prompts, how many each variant would say
there, too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from common import machine

TOKENS, PREFIX = 30, 24
PROMPTS = (
    "A dog barks and", "The sound of rain on", "In the morning the birds", "An engine starts, then",
    "She opened the door and",
    "The capital of France is", "Music plays while a man", "Children laugh and", "A clock ticks in",
    "The crowd cheers as",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--caches", action="store_true")
    wanted = parser.parse_args()
    import transformers

    from mats_model.config import LLMConfig, SearchSettings
    from mats_model.device import place
    from mats_model.llm.bases import load_base
    from mats_model.llm.prompts import Question
    from mats_model.weights.resolve import resolve

    torch.set_num_threads(wanted.threads)
    folder = resolve(wanted.base, "base").found()
    exact = LLMConfig(kind="transformers", base=wanted.base, prompt="paper", tuning="frozen", dtype="float32")
    models: dict[str, Any] = {"float32 eager": load_base(folder, exact, place(exact, "cpu")).eval()}
    models["float32 eager"].base.set_attn_implementation("eager")
    for name, change in (
        ("float32", {}),
        ("bfloat16", {"dtype": "bfloat16"}),
        ("int8", {"dtype": "auto", "quantize": "int8"}),
    ):
        config = replace(exact, **change)
        models[name] = load_base(folder, config, place(config, "cpu", training=False)).eval()
        models[name].settle()
    torch.manual_seed(0)
    prefix = torch.randn(4, PREFIX, models["float32"].width) * 0.1
    asked = Question("what is heard in this recording?")
    plain = SearchSettings(
        beams=1, max_new_tokens=TOKENS, min_new_tokens=TOKENS, no_repeat_ngram_size=0, repetition_penalty=1.0
    )

    def generate(llm: Any, rows: int, beams: int, **settings: str) -> Callable[[], object]:
        before, after = llm._ask(asked)
        inputs = llm._inputs(prefix[:rows], before, torch.tensor([after] * rows))
        more = {"num_beams": beams, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, **settings}
        more["pad_token_id"] = llm.tokenizer.eos_token_id
        return torch.inference_mode()(
            lambda: llm.base.generate(inputs_embeds=inputs, attention_mask=torch.ones(inputs.shape[:2]), **more)
        )

    transformers.utils.logging.set_verbosity_error()
    print(f"{machine()}, {wanted.threads} threads\n")
    if wanted.caches:
        _caches(models, generate, wanted.rounds)
        return
    searched = replace(plain, beams=4)
    tasks: dict[str, dict[str, Callable[[], object]]] = {"greedy": {}, "beams": {}}
    for name, llm in models.items():
        theirs = name == "float32 eager"
        tasks["greedy"][name] = (
            generate(llm, 1, 1) if theirs else lambda llm=llm: list(llm.stream(prefix[:1], asked, plain))
        )  # type: ignore[misc]
        tasks["beams"][name] = generate(llm, 4, 4) if theirs else lambda llm=llm: llm.answers(prefix, asked, searched)  # type: ignore[misc]
    print(
        "| | seconds, greedy | ratio | seconds, 4 x 4 beams | ratio | weights | agreement "
        "|\n|---|---|---|---|---|---|---|"
    )
    taken: dict[tuple[str, str], list[float]] = {}
    for turn in range(wanted.rounds + 1):
        for task, each in tasks.items():
            for name, run in each.items():
                began = time.perf_counter()
                run()
                if turn:  # the first one warms up
                    taken.setdefault((task, name), []).append(time.perf_counter() - began)
    told = _told(models["float32"])
    for name, llm in models.items():
        cells = []
        for task in tasks:
            first, mine = taken[task, "float32 eager"], taken[task, name]
            ratio = statistics.median(a / b for a, b in zip(first, mine, strict=True))
            cells += [f"{statistics.median(mine):.2f}", f"{ratio:.2f}"]
        held = {id(value): value.nbytes for value in llm.base.state_dict(keep_vars=True).values()}
        print(f"| {name} | {' | '.join(cells)} | {sum(held.values()) / 1e6:.0f} MB | {_agreement(llm, told):.3f} |")


def _caches(models: dict[str, Any], generate: Callable[..., Callable[[], object]], rounds: int) -> None:
    """transformers' generate with a cache that grows, with one of fixed size, and compiled around the latter."""
    columns = "| seconds | ratio | the first "
    print(f"| greedy, then four answers with four beams | cache {columns}{columns}|\n|---|---|---|---|---|---|---|---|")
    fixed = {"cache_implementation": "static"}
    for name in ("float32", "bfloat16", "int8"):
        llm, cells = models[name], dict[str, list[str]](grows=[], fixed=[], compiled=[])
        for rows, beams in ((1, 1), (4, 4)):
            runs = {"grows": generate(llm, rows, beams), "fixed": generate(llm, rows, beams, **fixed)}
            taken: dict[str, list[float]] = {"grows": [], "fixed": [], "compiled": []}
            for turn in range(rounds + 1):
                for which, run in runs.items():
                    seconds = _seconds(run)
                    taken[which] += [seconds] if turn else []  # the first one warms up
            plain = llm.base.forward
            llm.base.forward = torch.compile(plain)
            first = _seconds(runs["fixed"])
            taken["compiled"] = [_seconds(runs["fixed"]) for _ in range(rounds)]
            llm.base.forward = plain
            torch.compiler.reset()
            for which, measured in taken.items():
                ratio = statistics.median(taken["grows"]) / statistics.median(measured)
                cells[which] += [
                    f"{statistics.median(measured):.2f}",
                    f"{ratio:.2f}",
                    f"{first:.0f}" if which == "compiled" else "",
                ]
        for which, row in cells.items():
            print(f"| {name} | {which} | {' | '.join(row)} |", flush=True)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


@torch.inference_mode()
def _told(llm: Any) -> list[tuple[torch.Tensor, int]]:
    """Prompts with what float32 goes on with, and where that begins."""
    rows = []
    for prompt in PROMPTS:
        ids = torch.tensor([llm.tokenizer(prompt)["input_ids"]])
        made = llm.base.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=40,
            do_sample=False,
            pad_token_id=llm.tokenizer.eos_token_id,
        )
        rows.append((made, ids.shape[1]))
    return rows


@torch.inference_mode()
def _agreement(llm: Any, told: list[tuple[torch.Tensor, int]]) -> float:
    same, count = 0, 0
    for ids, start in told:
        said = llm.base(ids).logits[0, start - 1 : -1].argmax(-1)
        same += int((said == ids[0, start:]).sum())
        count += len(said)
    return same / count


if __name__ == "__main__":
    main()
