"""Memory and speed of a 7B Llama-shaped model with random weights in 4 bits: captions, and a QLoRA step beside
transformers' Trainer.

    python benchmarks/qlora.py                        on CUDA: 7B, NF4; needs 40 GB of disk for the random weights
    python benchmarks/qlora.py --shape small --cpu    the same comparison on a CPU: 12 layers of 512, bfloat16, no 4
    bits

The step: micro-batch 8, 40 prefix tokens, answers of 8 to 150 tokens. Ours reads cached embeddings, sorts by length and
asks the output matrix only for answers; beside it the same model, adapters and optimiser in transformers' Trainer,
which embeds each caption anew, pads to the longest text of the set and computes all logits. Random weights say nothing:
only time and memory count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mats_model import load
from mats_model.config import LLMConfig, MapperConfig, SearchSettings
from mats_model.device import place
from mats_model.gap.noise import add_noise
from mats_model.llm.bases import load_base
from mats_model.llm.huggingface import HubLLM
from mats_model.llm.prompts import CAPTION_TAG, DESCRIBE, Question, ask
from mats_model.llm.protocol import Tokens
from mats_model.mapper import make_mapper

SHAPES = {
    "7b": dict(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        vocab_size=32000,
    ),
    "small": dict(
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=8000,
    ),
}


def random_base(folder: Path, shape: str) -> None:
    """Weights drawn at random and saved in pieces, with a small tokenizer that writes the prompt in some twenty
    tokens."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    prompt = ask("paper", Question(DESCRIBE, CAPTION_TAG))
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([prompt.before, prompt.after] * 9, trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>").save_pretrained(
        str(folder)
    )
    config = transformers.LlamaConfig(**SHAPES[shape], bos_token_id=0, eos_token_id=1)
    torch.set_default_dtype(torch.bfloat16)
    base = transformers.AutoModelForCausalLM.from_config(config)
    torch.set_default_dtype(torch.float32)
    base.save_pretrained(str(folder), max_shard_size="2GB")


def examples(llm: HubLLM, count: int) -> tuple[list[str], list[Tokens]]:
    """Captions of 8 to 150 tokens, most of them short, as captions are."""
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(3.3, 0.6, count)), 8, 150).astype(int)
    asked = llm.encode(Question(DESCRIBE, CAPTION_TAG), "x")
    batch = [replace(asked, answer=rng.integers(2, 300, int(n)).tolist()) for n in lengths]
    return [" ".join(["rain"] * max(1, int(n) // 2)) for n in lengths], batch


def peak(device: torch.device) -> str:
    return (
        f"peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
        if device.type == "cuda"
        else "peak not measured on a CPU"
    )


def ours(
    mapper: Any, llm: HubLLM, vectors: torch.Tensor, batch: list[Tokens], micro: int, device: torch.device
) -> float:
    """Examples a second."""
    optimiser = torch.optim.AdamW([w for part in (mapper, llm) for w in part.parameters() if w.requires_grad], 1e-4)
    order = sorted(range(len(batch)), key=lambda row: len(batch[row]))
    began = time.monotonic()
    for at in range(0, len(order) - micro + 1, micro):
        rows = order[at : at + micro]
        with torch.autocast(device.type, torch.bfloat16):
            loss, count = llm.loss(mapper(add_noise(vectors[rows], 0.015).to(device)), [batch[row] for row in rows])
        (loss / count).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(order) // micro * micro / (time.monotonic() - began)


def theirs(
    mapper: Any, llm: HubLLM, clap: Any, texts: list[str], batch: list[Tokens], micro: int, device: torch.device
) -> float:
    """The same with transformers' Trainer alone. Examples a second."""
    import transformers

    longest = max(len(tokens.after) + len(tokens.answer) for tokens in batch)

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mapper, self.llm = mapper, llm

        def forward(self, text: list[str], ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            prefix = self.mapper(add_noise(torch.from_numpy(clap.embed_text(text)), 0.015).to(ids.device))
            inputs = self.llm._inputs(prefix, batch[0].before, ids)
            before = inputs.shape[1] - ids.shape[1]
            every = torch.cat([labels.new_full((len(ids), before), -100), labels], 1)
            return {"loss": self.llm.base(inputs_embeds=inputs, labels=every).loss}

    def collate(rows: list[int]) -> dict[str, Any]:
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        labels = torch.full((len(rows), longest), -100)
        for at, row in enumerate(rows):
            after, answer = batch[row].after, batch[row].answer
            ids[at, : len(after) + len(answer)] = torch.tensor(after + answer)
            labels[at, len(after) : len(after) + len(answer)] = torch.tensor(answer)
        return {"text": [texts[row] for row in rows], "ids": ids, "labels": labels}

    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder, per_device_train_batch_size=micro, max_steps=len(batch) // micro, bf16=True,
            report_to=[], save_strategy="no",
            remove_unused_columns=False, disable_tqdm=True, logging_strategy="no", use_cpu=device.type == "cpu",
            learning_rate=1e-4,
        )  # fmt: skip
        trainer = transformers.Trainer(Whole(), settings, train_dataset=list(range(len(batch))), data_collator=collate)  # type: ignore[arg-type]
        began = time.monotonic()
        trainer.train()
        return len(batch) // micro * micro / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--examples", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not options.cpu and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: --cpu --shape small runs the comparison without 4 bits.")
    config = LLMConfig(
        kind="transformers", base="random", prompt="paper", tuning="lora", quantize="none" if options.cpu else "nf4"
    )
    placement = place(config, "cpu" if options.cpu else "cuda")
    clap = load().clap
    with tempfile.TemporaryDirectory() as folder:
        random_base(Path(folder), options.shape)
        llm = load_base(folder, config, placement)
    device = placement.device
    torch.manual_seed(0)
    small = options.shape == "small"
    sizes = MapperConfig(
        width=256 if small else 1024, clip_length=40, prefix_length=40, layers=2 if small else 8, heads=8
    )
    mapper = make_mapper(sizes, 256, llm.width).to(device)
    texts, batch = examples(llm, options.examples)
    vectors = torch.from_numpy(clap.embed_text(texts))
    print(
        f"{options.shape}: {sum(w.numel() for w in llm.parameters()) / 1e6:.0f} M stored numbers, {placement.reason}, "
        f"{placement.quantize}"
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            llm.eval().answers(mapper(vectors[:1].to(device)), Question(), SearchSettings(beams=4, max_new_tokens=60))
        print(f"caption, 4 beams, 60 tokens: {peak(device)} (asked: at most 6.0)")
        torch.cuda.reset_peak_memory_stats()
        llm.train()
        llm.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        full = replace(batch[0], answer=batch[0].answer[:1] * 150)
        ours(mapper, llm, vectors, [full] * 8, 8, device)
        print(f"QLoRA step, 8 x (40 + 150): {peak(device)} (asked: at most 10)")
    llm.train()
    ratios = []
    for number in range(options.rounds):
        a = ours(mapper, llm, vectors, batch, 8, device)
        b = theirs(mapper, llm, clap, texts, batch, 8, device)
        ratios.append(a / b)
        print(f"round {number + 1}: ours {a:.1f} examples/s, Trainer {b:.1f}, ratio {a / b:.2f}")
    print(f"ratio, median: {sorted(ratios)[len(ratios) // 2]:.2f} (asked: at least 1.2)")


if __name__ == "__main__":
    main()
