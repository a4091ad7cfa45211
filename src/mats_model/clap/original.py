"""LAION's CLAP as its own package `laion-clap` runs it: the reference, for those who want to compare. Its name is
laion_clap:FILE.

The package wants numpy below 2, fetches three tokenizers when it is imported and RoBERTa's weights when it is built; it
belongs into an environment of its own. Our windows and averages stand around it: what it would do with a long sound is
a random crop. Sounds are not rounded to 16 bits on the way, as it does with arrays but not with tensors.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mats_model.clap.huggingface import hush
from mats_model.clap.protocol import ORIGINAL, Clap
from mats_model.errors import ModelError, UsageError
from mats_model.files import sha256
from mats_model.places import hub_cache
from mats_model.tensors import check

_ENDS = ("position_ids", "token_type_ids")
# width of the first layer -> the package's name for it
_AUDIO = {96: "HTSAT-tiny", 128: "HTSAT-base"}
_ROWS = 64  # texts at once
# what it fetches, and what of it a cache has at least: one of each line
_TOKENS, _WEIGHTS = ("tokenizer.json", "vocab.json", "vocab.txt"), ("model.safetensors", "pytorch_model.bin")
_FETCHED = {"bert-base-uncased": (_TOKENS,), "roberta-base": (_TOKENS, _WEIGHTS), "facebook/bart-base": (_TOKENS,)}


class OriginalClap(Clap):
    """`state` has the names of LAION's files, `module.` taken off; it computes on the CPU.

    Errors: UsageError where the package, or what it needs, is not installed; ModelError for other tensors than the
    package has, and where what it fetches from the hub is not here.
    """

    sample_rate, window, dim, fill = 48_000, 480_000, 512, "whole"

    def __init__(self, state: dict[str, torch.Tensor], file: Path) -> None:
        super().__init__()
        package = _package()
        first = state.get("audio_branch.patch_embed.proj.weight")
        amodel = _AUDIO.get(first.shape[0]) if first is not None else None
        if amodel is None:
            raise ModelError(
                f"{file} is no checkpoint that LAION's package reads: {ORIGINAL}FILE takes LAION's own .pt files, "
                "HTSAT-tiny or HTSAT-base;"
                " without the prefix mats reads others itself."
            )
        fused = any(".fusion_model." in key for key in state)
        # without it the package fails at the first sound
        if fused and importlib.import_module("laion_clap.training.data").torchaudio is None:
            raise UsageError(
                f"{file} is a fused checkpoint, for which LAION's package needs torchaudio: install the one made for "
                "your torch."
            )
        self.model: Any = _built(package, fused, amodel)
        self._fill(state, file)
        self.model.eval().requires_grad_(False)
        self.scale = float(self.model.model.logit_scale_a.exp())
        self._id = hashlib.sha256(b"laion_clap" + bytes.fromhex(sha256(file))).hexdigest()[:12]

    def _fill(self, state: dict[str, torch.Tensor], file: Path) -> None:
        """Take every tensor. Errors: ModelError, which names what does not fit."""
        own = self.model.model.state_dict()
        # what the versions of transformers compute or keep differs; all else is loaded strictly
        given = {key: value for key, value in state.items() if not key.endswith(_ENDS)}
        given |= {key: value for key, value in own.items() if key.endswith(_ENDS)}
        check({key: value.shape for key, value in own.items()}, given, str(file), "LAION's package")
        self.model.model.load_state_dict(given)

    @property
    def space(self) -> str:
        """Id of the file."""
        return self._id

    @property
    def id(self) -> str:
        """Id of the file."""
        return self._id

    @torch.inference_mode()
    def embed_alone(self, wave: np.ndarray) -> np.ndarray:
        """One window (s,) -> embedding (d,), unit length."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its libraries, about the package
            given = torch.from_numpy(np.ascontiguousarray(wave))[None]
            return self.model.get_audio_embedding_from_data(x=given, use_tensor=True)[0].numpy()

    def embed_windows(self, waves: np.ndarray) -> np.ndarray:
        """waves (w, s) -> (w, d), one at a time: a short sound does not wait for windows of nothing."""
        return np.stack([self.embed_alone(wave) for wave in waves])

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> np.ndarray:
        """texts -> (n, d), unit length."""
        made = [
            self.model.get_text_embedding(texts[at : at + _ROWS], use_tensor=True) for at in range(0, len(texts), _ROWS)
        ]
        return torch.nn.functional.normalize(torch.cat(made), dim=-1).numpy()


def _cached() -> bool:
    """Whether the hub's cache has what the package fetches."""
    for name, needs in _FETCHED.items():
        folders = list((hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots").glob("*"))
        if not any(all(any((folder / file).is_file() for file in files) for files in needs) for folder in folders):
            return False
    return True


def _package() -> Any:
    """laion_clap. Errors: UsageError, ModelError."""
    asked = os.environ.get("HF_HUB_OFFLINE")
    # what is here is not asked for again, which without a network takes minutes; the hub's library looks at this once,
    # when it is imported
    if os.environ.get("MATS_OFFLINE", "") not in ("", "0") or (asked is None and _cached()):
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        hush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its libraries, about the package
            import laion_clap
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{ORIGINAL}FILE runs LAION's own package, which cannot be imported ({error}): pip install "
            "'mats[laion]' into an environment"
            " of its own, since it wants numpy below 2; without the prefix mats reads the file itself."
        ) from None
    except Exception as error:  # a build that does not fit torch says so in many ways
        if any(frame.name == "from_pretrained" for frame in traceback.extract_tb(error.__traceback__)):
            raise _unfetched(error) from None
        raise UsageError(
            f"LAION's own package cannot be imported ({_first_line(error)}): torch, torchvision and, where it is "
            "installed, torchaudio have to be"
            " of one release and one build (CPU or the same CUDA); reinstall them together, or take out torchaudio, "
            "which only fused files need."
        ) from None
    finally:
        if asked is None:
            os.environ.pop("HF_HUB_OFFLINE", None)
        else:
            os.environ["HF_HUB_OFFLINE"] = asked
    return laion_clap


def _built(package: Any, fused: bool, amodel: str) -> Any:
    """The package's model, with whatever weights. Errors: ModelError, where what it fetches is not here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = package.CLAP_Module(enable_fusion=fused, device="cpu", amodel=amodel)
    except OSError as error:
        raise _unfetched(error) from None
    # transformers 5 makes an empty tokenizer where it finds no files, to which all texts are alike
    one, other = model.tokenizer(["a dog barks", "heavy rain"])["input_ids"].tolist()
    if one == other:
        raise _unfetched("roberta-base's tokenizer is empty")
    return model


def _unfetched(why: object) -> ModelError:
    return ModelError(
        f"LAION's own package fetches {', '.join(_FETCHED)} from the hub at its first use, and did not get them "
        f"({_first_line(why)}):"
        " run it once with a network, not offline and with HF_HUB_OFFLINE=0, or copy the hub's cache folder "
        "(HF_HOME) from where it ran."
    )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
