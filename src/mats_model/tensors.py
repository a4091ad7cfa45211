"""Tensors of a file that may come from anywhere, by name: read without running anything, and put into a model only
where they fit it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from mats_model.errors import ModelError

_MOST_HEADER = 1 << 24  # bytes of names and shapes; those of the largest model here are a tenth of that
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def load(path: Path) -> dict[str, torch.Tensor]:
    """A file of safetensors. Errors: ModelError."""
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if not 2 <= header <= min(_MOST_HEADER, path.stat().st_size - 8):
            raise ValueError(f"its header would have {header} bytes")
        return dict(load_file(path))
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged header makes the library say
        said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ModelError(f"{path} cannot be read ({said}); fetch or train the model again.") from None


def shared(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same memory as tensors: what is copied into one is in its array."""
    return {key: torch.from_numpy(value) for key, value in arrays.items()}


def finite(state: Mapping[str, torch.Tensor]) -> str | None:
    """The name of a tensor that holds what is no number, or infinite; None where all is well."""
    for key, value in state.items():
        if value.dtype == torch.float16 and value.device.type == "cpu":
            # by its bits, a tenth of the time: none but those have all five of the exponent
            bits = value.contiguous().view(torch.int16).numpy() & 0x7C00
            good = not bits.size or int(bits.max()) < 0x7C00
        else:
            good = not value.is_floating_point() or bool(torch.isfinite(value).all())
        if not good:
            return key
    return None


def copy(wanted: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], what: str) -> None:
    """Values of `state` into the tensors that are wanted, all of which it holds; in shape, kind of number and size of
    number they must fit.

    Errors: ModelError, in which `what` is the file.
    """
    for key, value in wanted.items():
        given = state[key]
        if given.shape != value.shape:
            raise ModelError(f"{what}: {key} is {tuple(given.shape)} where {tuple(value.shape)} is expected.")
        if given.dtype not in _FLOATS if value.is_floating_point() else given.dtype != value.dtype:
            kind = "fractions" if value.is_floating_point() else str(value.dtype).removeprefix("torch.")
            raise ModelError(
                f"{what}: {key} holds {str(given.dtype).removeprefix('torch.')} where {kind} are expected."
            )
    if wrong := finite({key: state[key] for key in wanted}):
        raise ModelError(f"{what}: {wrong} holds numbers that are none, or infinite; fetch or train the model again.")
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(state[key])
            # as a number of 64 bits it was finite
            if state[key].dtype == torch.float64 and finite({key: value}):
                raise ModelError(f"{what}: {key} holds numbers that are too large.")
