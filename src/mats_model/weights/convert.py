"""A checkpoint of others -> a folder of safetensors, after which no pickle is opened."""

from __future__ import annotations

import json
from pathlib import Path

from mats_model import tensors
from mats_model.errors import UsageError
from mats_model.weights import encoders
from mats_model.weights.folder import CONFIG
from mats_model.weights.resolve import ENCODER_CARD


def convert(
    path: Path, out: Path, tokenizer: Path | None = None, name: str = "", base: str = "", clap: str = ""
) -> str:
    """A checkpoint of LAION, of Microsoft or of MATS' authors -> a folder of safetensors; says what it was.

    `base` and `clap` are beside a mapper, where they are others than it was trained with. Errors: ModelError,
    UsageError.
    """
    from mats_model.weights import authors, clapcap  # these need torch

    if (out / CONFIG).exists() or (out / ENCODER_CARD).exists():
        raise UsageError(f"{out} holds a model already: choose another folder.")
    state = encoders.read_tensors(path)
    if authors.is_authors(state):
        made = authors.convert_authors(state, out, name or out.name, base or authors.BASE, clap or authors.CLAP)
        return f"MATS of its authors, id {made.id}: hears with {made.clap}, answers with {made.llm.base}"
    if clapcap.is_clapcap(state):
        made = clapcap.convert_clapcap(state, out, name or out.name, base or clapcap.BASE, clap or clapcap.CLAP)
        return (
            f"clapcap, id {made.id}: hears with an audio side of its own beside {made.clap}, answers with "
            f"{made.llm.base}"
        )
    card = encoders.convert(path, out, tokenizer, state)
    return f"an encoder ({card.kind})" + (
        "" if (out / encoders.TOKENIZER).is_file() else "; with a tokenizer.json it would read texts without a network"
    )


def renamed(name: str) -> str:
    """The name that a pickle of a base gets."""
    return name.replace("pytorch_model", "model", 1).removesuffix(".bin") + ".safetensors"


def as_safetensors(path: Path, to: Path) -> None:
    """A pickle of a base -> safetensors. Errors: ModelError."""
    from safetensors.torch import save_file

    # tied tensors are kept once: the loader ties them again
    save_file(tensors.once(encoders.read_tensors(path)), to, metadata={"format": "pt"})


def write_index(folder: Path) -> None:
    """Which tensor lies in which of the files model-*.safetensors, as transformers reads it."""
    from safetensors import safe_open

    where: dict[str, str] = {}
    for file in sorted(folder.glob("model-*.safetensors")):
        with safe_open(file, "pt") as opened:
            where |= dict.fromkeys(opened.keys(), file.name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": where}), encoding="utf-8"
    )
