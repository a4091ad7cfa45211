"""What the options ask for, loaded: a model or its encoder, fetched first where it is not here, with another memory or
search."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mats_cli import console
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.ears import Ears
    from mats_model.mats import Mats
    from mats_model.weights.pull import Puller


def one_thread() -> None:
    """One sound at a time is heard best on one thread, and leaves the other processors to whoever plays it."""
    torch = sys.modules.get("torch")
    if torch is not None:  # nano needs none
        torch.set_num_threads(1)


def puller(offline: bool, quiet: bool = False) -> Puller:
    """Gets what is not here, and shows how far it is."""
    from mats_model.weights.pull import Puller

    return Puller(console.note, console.bytes_bar(quiet), offline)


def load_ears(clap: str | None, model: str, offline: bool, device: str = "cpu") -> Ears:
    """What hears: --clap, or the encoder of --model; fetched first where it is not here. Labels and search need no
    language model."""
    if offline:
        forbid_connections()
    return puller(offline).ears(clap or model, device)


def apply_santa(mats: Mats, memory: Path | None, settings: str, without: bool) -> dict[str, str]:
    """Another memory or another way across; returns what was asked for, since answers depend on it."""
    from mats_model.gap.memory import DiskMemory
    from mats_model.gap.santa import changed

    if without and (memory or settings):
        raise UsageError("--no-santa leaves out what --memory and --santa ask for: choose one.")
    if without:
        settings = "way=none"
    if memory or settings:
        mats.santa.cross(
            changed(mats.santa.settings, settings), DiskMemory(memory, mats.clap.space) if memory else None
        )
    return {"memory": str(memory and memory.absolute()), "santa": settings}


def apply_search(mats: Mats, settings: str) -> dict[str, str]:
    """Another way of searching; returns what was asked for, since answers depend on it."""
    from dataclasses import replace

    from mats_model.config import search_changed

    if settings:
        changed = search_changed(mats.config.search, settings)
        if changed.temperature and mats.config.llm.kind == "decoder":
            raise UsageError(
                "--search temperature: this model searches for its answers and draws none; take --model mini, or "
                "leave it out."
            )
        mats.config = replace(mats.config, search=changed)
    return {"search": settings}


def forbid_connections() -> None:
    """For this process; the hub's library reads these when it is imported."""
    os.environ.update(MATS_OFFLINE="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


def load_model(
    name: str, offline: bool, llm: str | None = None, quantize: str | None = None, device: str = "auto"
) -> Mats:
    """The model; what it needs is fetched first where it is not here."""
    if offline:
        forbid_connections()
    from mats_model.weights.loading import load

    base = puller(offline).model(name, llm or "")
    return load(name, device, quantize or "", base)


def microphone_and_device(mic: str | None, device: str, compute: str = "") -> tuple[str | None, str]:
    """--mic and --device; where --device names a microphone, as it once did, that is read with a note, and so is
    --compute."""
    if compute:
        console.note("--compute is called --device now.")
        return (mic, compute) if device == "auto" else (mic or device, compute)
    if mic is None and not re.fullmatch(r"auto|cpu|(cuda|xpu)(:\d+)?|mps", device):
        console.note(f"--device is the processor now: the microphone is chosen with --mic {device}.")
        return device, "auto"
    return mic, device


def say_waiting(index: Path) -> None:
    """For a job that comes second."""
    console.note(f"another mats is at work on {index}; waiting for it.")


def index_path(given: Path | None) -> Path:
    """Of --index, or the user's own library."""
    from mats_model.places import data, expanded

    return expanded(str(given)) if given else data() / "library.db"
