"""Files of published encoders: LAION's .pt, transformers' ClapModel, Microsoft's .pth, and the folder of safetensors
that each may become.

Pickles are read as weights only: one that holds anything else is refused, and nothing in it is run.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mats_model import tensors
from mats_model.clap.nano import NanoClap
from mats_model.clap.protocol import Clap
from mats_model.ears import Ears
from mats_model.errors import ModelError, UsageError
from mats_model.files import read_json, read_text, sha256, write
from mats_model.labels import Scales
from mats_model.settings import May, fill
from mats_model.weights.resolve import ENCODER_CARD, PICKLES

if TYPE_CHECKING:
    import torch

    from mats_model.clap.published import PublishedClap

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
_FORMAT = 1
# LAION says of msclap, and both of themselves, that cosines of pairs that fit lie around this; a probability of one
# label is not calibrated
_FITS = 0.3


@dataclass(frozen=True)
class Card:
    """encoder.json: what a converted folder says of itself."""

    MAY: ClassVar[Mapping[str, May]] = {"kind": ("laion", "msclap")}

    kind: str = ""  # laion or msclap
    origin: str = ""  # name of the file it was made from
    digest: str = ""  # its SHA-256
    format: int = _FORMAT


def load_encoder(path: Path) -> Ears:
    """A file or folder of a published encoder. Errors: ModelError, UsageError."""
    card = read_card(path) if (path / ENCODER_CARD).is_file() else None
    state, tokenizer = _folder(path) if path.is_dir() else (read_tensors(path), _beside(path.parent))
    clap = make(state, tokenizer)
    if card and card.kind != clap.kind:
        raise ModelError(
            f"{path / ENCODER_CARD} says kind {card.kind!r}, the tensors beside it are of kind {clap.kind!r}: fetch or "
            "convert the encoder again."
        )
    if tokenizer is not None:
        refuse_collapsed(clap, str(path))
    return Ears(clap, scales(clap))


def published(clap: Clap) -> PublishedClap | None:
    """The same, where it is one of these; nano, which needs no torch, is none."""
    if isinstance(clap, NanoClap):
        return None
    from mats_model.clap.published import PublishedClap

    return clap if isinstance(clap, PublishedClap) else None


def refuse_collapsed(clap: PublishedClap, name: str) -> None:
    """Errors: ModelError for a text tower that has nothing to say, as that of one published checkpoint."""
    if clap.collapsed():
        raise ModelError(
            f"the text tower of {name} says the same of every text: this checkpoint is spoiled, as "
            "laion/larger_clap_music is; take another."
        )


def load_original(path: Path) -> Ears:
    """LAION's file, run by LAION's own package. Errors: UsageError where that is not installed; ModelError."""
    if path.is_dir():
        raise ModelError(
            f"{path} is a folder, and LAION's own package reads .pt files: give it the file, or leave out the prefix."
        )
    from mats_model.clap.original import OriginalClap

    clap = OriginalClap(read_tensors(path), path)
    return Ears(clap, Scales(clap.scale, clap.scale, -clap.scale * _FITS))


def scales(clap: PublishedClap) -> Scales:
    """Cosine -> score, as the encoder was trained."""
    return Scales(clap.label_scale, clap.label_scale, -clap.label_scale * _FITS)


def read_card(folder: Path) -> Card:
    """encoder.json, as strictly as a model's config.json. Errors: ModelError."""
    file = folder / ENCODER_CARD
    try:
        values = read_json(file)
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}); fetch or convert the encoder again.") from None
    if values.get("format") != _FORMAT:
        raise ModelError(f"{file} is of another version of mats: fetch or convert the encoder again.")
    return fill(Card(), values, str(file), ModelError)


def make(state: dict[str, torch.Tensor], tokenizer_json: str | None) -> PublishedClap:
    """The encoder that the names of its tensors call for. Errors: ModelError."""
    from mats_model.clap.laion import LaionClap, from_transformers
    from mats_model.clap.msclap import MsClap

    keys = state.keys()
    if any(key.startswith("audio_encoder.base.htsat.") for key in keys):
        return MsClap(state, tokenizer_json)
    if any(key.startswith("audio_model.") for key in keys):
        return LaionClap(from_transformers(state), tokenizer_json)
    if any(key.startswith("audio_branch.") for key in keys):
        return LaionClap(state, tokenizer_json)
    raise ModelError(
        f"no encoder that mats knows has tensors like {', '.join(sorted(keys)[:3])}: it reads LAION's CLAP and "
        "Microsoft's CLAP 2023."
    )


def convert(path: Path, out: Path, tokenizer: Path | None = None, state: dict[str, torch.Tensor] | None = None) -> Card:
    """A checkpoint (its tensors, if they were read) -> a folder of safetensors, after which no pickle is opened.
    Errors: ModelError, UsageError."""
    from safetensors.torch import save

    state = read_tensors(path) if state is None else state
    tokenizer_json = text_of(tokenizer) if tokenizer else _beside(path.parent)
    clap = make(state, tokenizer_json)
    card = Card(clap.kind, path.name, sha256(path))
    out.mkdir(parents=True, exist_ok=True)
    write(out / WEIGHTS, save({key: value.contiguous().clone() for key, value in clap.state_dict().items()}))
    if tokenizer_json is not None:
        write(out / TOKENIZER, tokenizer_json.encode())
    write(out / ENCODER_CARD, (json.dumps(asdict(card), indent=2) + "\n").encode())
    return card


def _beside(folder: Path) -> str | None:
    return text_of(folder / TOKENIZER) if (folder / TOKENIZER).is_file() else None


def text_of(path: Path) -> str:
    """Errors: ModelError."""
    try:
        return read_text(path)
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); fetch or train the model again."
        ) from None


def _folder(path: Path) -> tuple[dict[str, torch.Tensor], str | None]:
    for name in (WEIGHTS, "pytorch_model.bin"):
        if (path / name).is_file():
            return read_tensors(path / name), _beside(path)
    raise ModelError(f"{path} is no encoder: {WEIGHTS} is missing.")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name. Errors: ModelError."""
    if not path.is_file():
        raise ModelError(f"{path} is not there; check the path.")
    if path.suffix.lower() == ".safetensors":
        return tensors.load(path)
    if path.suffix.lower() not in PICKLES:
        raise UsageError(f"{path}: a checkpoint ends in .safetensors, {', '.join(PICKLES)}.")
    import torch

    # numbers of numpy that trainers leave in their checkpoints are data, not code
    numbers: list[Any] = [np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32)), type(np.dtype(np.int64))]
    scalar: Any = np.float64(0).__reduce__()[0]
    scalars = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]  # as numpy 1 and 2 write it
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([*numbers, *scalars]):
            warnings.simplefilter("ignore")  # what is wrong is said below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = named[1] if named else "more than weights"
        raise ModelError(
            f"{path} holds {what} beside its weights, which could run: it was not opened; ask for it as safetensors."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}); fetch it again.") from None
    for name in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict) or not loaded:
        raise ModelError(f"{path} holds no tensors by name.")
    held = {str(key).removeprefix("module."): value for key, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not held:
        raise ModelError(f"{path} holds no tensors by name.")
    return held
