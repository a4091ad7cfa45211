"""Tensors of a file that may come from anywhere, by name: read without running anything, and put into a model only
where they fit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def every_row(folder: Path, name: str, step: int) -> torch.Tensor | None:
    """Rows 0, `step`, 2 `step` ... of the matrix of this name, or of the end of it, in a folder's files of safetensors,
    as they lie there and without the rest; None where there is none. Errors: ModelError."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as held:
                found = next((key for key in held.keys() if name == key or name.endswith(f".{key}")), None)  # noqa: SIM118
                if found is not None:
                    matrix = held.get_slice(found)
                    return torch.cat([matrix[row : row + 1] for row in range(0, matrix.get_shape()[0], step)])
        except Exception as error:  # whatever a damaged header makes the library say
            raise ModelError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}); fetch it again.") from None
    return None


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


def check(
    wanted: Mapping[str, Sequence[int]], held: Mapping[str, torch.Tensor], what: str, whose: str = "the model"
) -> None:
    """Every name that is wanted, in its shape, and no other.

    Errors: ModelError, which says of `what`, the file, the first names that are missing or left over.
    """
    missing, extra = sorted(wanted.keys() - held.keys()), sorted(held.keys() - wanted.keys())
    if missing or extra:
        said = [
            f"lacks {', '.join(missing[:3])}" if missing else "",
            f"holds {', '.join(extra[:3])}, which no part of {whose} has" if extra else "",
        ]
        raise ModelError(f"{what} {' and '.join(filter(None, said))} ({len(missing)} missing, {len(extra)} left over).")
    for key, shape in wanted.items():
        if tuple(held[key].shape) != tuple(shape):
            raise ModelError(f"{what}: {key} is {tuple(held[key].shape)} where {tuple(shape)} is expected.")


def take(
    wanted: Mapping[str, torch.Tensor], held: Mapping[str, torch.Tensor], what: str, whose: str = "the model"
) -> None:
    """Values of `held` into the tensors that are wanted; names, shapes, kind of number and size of number must fit.

    Errors: as of `check`.
    """
    check({key: value.shape for key, value in wanted.items()}, held, what, whose)
    for key, value in wanted.items():
        given = held[key]
        if given.dtype not in _FLOATS if value.is_floating_point() else given.dtype != value.dtype:
            kind = "fractions" if value.is_floating_point() else str(value.dtype).removeprefix("torch.")
            raise ModelError(
                f"{what}: {key} holds {str(given.dtype).removeprefix('torch.')} where {kind} are expected."
            )
    if wrong := finite(held):
        raise ModelError(f"{what}: {wrong} holds numbers that are none, or infinite; fetch or train the model again.")
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(held[key])
            # as a number of 64 bits it was finite
            if held[key].dtype == torch.float64 and finite({key: value}):
                raise ModelError(f"{what}: {key} holds numbers that are too large.")


def once(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor under the first of its names: two names are one tensor where storage, place in it, shape and strides
    are the same. What shares a storage without being the same is copied out of it."""
    seen: set[tuple[object, ...]] = set()
    storages: set[int] = set()  # of what is kept as it is
    kept: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        storage = value.untyped_storage()
        mark = (storage.data_ptr(), value.dtype, value.storage_offset(), tuple(value.shape), value.stride())
        if value.numel() and mark in seen:
            continue
        seen.add(mark)
        whole = storage.nbytes() == value.numel() * value.itemsize and value.is_contiguous()
        if whole and storage.data_ptr() not in storages:
            storages.add(storage.data_ptr())
            kept[key] = value
        else:
            kept[key] = value.clone(memory_format=torch.contiguous_format)
    return kept
