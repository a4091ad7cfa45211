"""Tensors of a file that may come from anywhere, by name: read without running anything, and put into a model only
where they fit it."""

from __future__ import annotations

import io
import json
import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from mats_model.errors import ModelError
from mats_model.vectors import finite_halves

if TYPE_CHECKING:
    import torch

_MOST_HEADER = 1 << 24  # bytes of names and shapes; those of the largest model here are a tenth of that
_KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_FLOATS = ("float16", "bfloat16", "float32", "float64")
Held = Union["torch.Tensor", np.ndarray]  # the parts of a model are of torch or of numpy


def load(path: Path) -> dict[str, torch.Tensor]:
    """A file of safetensors, in torch. Errors: ModelError."""
    from safetensors.torch import load_file

    try:
        _check_header(path)
        return dict(load_file(path))
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged header makes the library say
        raise _unreadable(path, error) from None


class _Closing(io.FileIO):
    """A file that is closed with the last who reads it."""

    def __del__(self) -> None:
        self.close()


class Stored(Mapping[str, np.ndarray]):
    """Arrays of a file of safetensors by name, each read anew when it is asked for, so that no two are held at once;
    bfloat16, which numpy does not have, becomes float32.

    Read and not mapped, where it is copied: pages of a map count as memory beside the copy.
    """

    def __init__(self, path: Path, file: io.RawIOBase, start: int, said: Mapping[str, Any]) -> None:
        self.path, self._file, self._start, self._said = path, file, start, said

    def __getitem__(self, name: str) -> np.ndarray:
        """Errors: KeyError; ModelError where the file has shrunk."""
        kind, (first, last) = _KINDS[self._said[name]["dtype"]], self._said[name]["data_offsets"]
        values = np.empty(self.shape(name), kind)
        self._file.seek(self._start + first)
        if self._file.readinto(values.reshape(-1).view(np.uint8).data) != last - first:  # type: ignore[arg-type]
            raise _unreadable(self.path, EOFError("it is shorter than it was"))
        # a bfloat16 is the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32) if self._said[name]["dtype"] == "BF16" else values

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def shape(self, name: str) -> tuple[int, ...]:
        """Without reading it."""
        return tuple(self._said[name]["shape"])

    def mapped(self, name: str) -> np.ndarray:
        """Where it lies, for what is kept as it is: only pages that are used count as memory. What is written into it
        stays in memory."""
        said = self._said[name]
        if said["dtype"] == "BF16":
            return self[name]
        kind, at, shape = _KINDS[said["dtype"]], self._start + said["data_offsets"][0], self.shape(name)
        return np.frombuffer(self._map, kind, math.prod(shape), at).reshape(shape)

    @cached_property
    def _map(self) -> mmap.mmap:
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)

    def part(self, begins: str, others: bool = False) -> Stored:
        """Those whose names begin so, or the others."""
        said = {name: each for name, each in self._said.items() if name.startswith(begins) != others}
        return Stored(self.path, self._file, self._start, said)


def load_arrays(path: Path) -> Stored:
    """A file of safetensors, in numpy. Errors: ModelError."""
    from safetensors import safe_open

    try:
        size = _check_header(path)
        with safe_open(path, "np"):
            pass  # the library looks at the header: kinds, and places that follow each other within the file
        file = _Closing(path)
        header = json.loads(file.read(8 + size)[8:])
        header.pop("__metadata__", None)
        return Stored(path, file, 8 + size, header)
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise _unreadable(path, error) from None


def _check_header(path: Path) -> int:
    """Bytes of the header."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if not 2 <= header <= min(_MOST_HEADER, path.stat().st_size - 8):
        raise ValueError(f"its header would have {header} bytes")
    return header


def _unreadable(path: Path, error: Exception) -> ModelError:
    said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return ModelError(f"{path} cannot be read ({said}); fetch or train the model again.")


def to_bytes(state: Mapping[str, Held]) -> bytes:
    """A file of safetensors that holds these as they are."""
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    if len(arrays) == len(state):
        from safetensors.numpy import save as save_arrays

        return bytes(save_arrays({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
    from safetensors.torch import save

    tensors = {name: value for name, value in state.items() if not isinstance(value, np.ndarray)} | shared(arrays)
    return bytes(save({name: tensors[name].cpu().contiguous().clone() for name in state}))


def halves(state: Mapping[str, Held]) -> dict[str, Held]:
    """The same with fractions in float16, as a model folder keeps them."""
    made: dict[str, Held] = {}
    for name, value in state.items():
        if _kind(value) not in _FLOATS:
            made[name] = value
        else:
            made[name] = value.astype(np.float16) if isinstance(value, np.ndarray) else value.half()
    return made


def _kind(value: Held) -> str:
    """Of number: float16, int8 and so on."""
    return str(value.dtype).removeprefix("torch.")


def every_row(folder: Path, name: str, step: int) -> torch.Tensor | None:
    """Rows 0, `step`, 2 `step` ... of the matrix of this name, or of the end of it, in a folder's files of safetensors,
    as they lie there and without the rest; None where there is none. Errors: ModelError."""
    import torch
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
    import torch

    return {key: torch.from_numpy(value) for key, value in arrays.items()}


def finite(state: Mapping[str, Held]) -> str | None:
    """The name of a tensor that holds what is no number, or infinite; None where all is well."""
    return next((name for name, value in state.items() if _kind(value) in _FLOATS and not _is_finite(value)), None)


def _is_finite(value: Held) -> bool:
    if not isinstance(value, np.ndarray):
        if _kind(value) != "float16" or value.device.type != "cpu":
            return bool(value.isfinite().all())
        value = value.detach().numpy()
    # by its bits, a tenth of the time
    return finite_halves(value) if value.dtype == np.float16 else bool(np.isfinite(value).all())


def shape_of(held: Mapping[str, Held], name: str) -> tuple[int, ...]:
    """Of one of them; of a file it is not read for that."""
    return held.shape(name) if isinstance(held, Stored) else tuple(held[name].shape)


def check(wanted: Mapping[str, Sequence[int]], held: Mapping[str, Held], what: str, whose: str = "the model") -> None:
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
        if (found := shape_of(held, key)) != tuple(shape):
            raise ModelError(f"{what}: {key} is {found} where {tuple(shape)} is expected.")


def lying(wanted: Mapping[str, np.ndarray], held: Stored) -> dict[str, np.ndarray]:
    """Arrays as they lie in a file, in the place of those that are wanted, which they must fit. Errors: as of
    `check`."""
    what = str(held.path)
    check({key: value.shape for key, value in wanted.items()}, held, what)
    made = {key: held.mapped(key) for key in wanted}
    for key, value in wanted.items():
        _check_numbers(key, value, made[key], what)
    return made


def take(wanted: Mapping[str, Held], held: Mapping[str, Held], what: str, whose: str = "the model") -> None:
    """Values of `held` into the tensors that are wanted; names, shapes, kind of number and size of number must fit.

    Errors: as of `check`.
    """
    check({key: value.shape for key, value in wanted.items()}, held, what, whose)
    if not isinstance(held, Stored):
        for key, value in wanted.items():
            _check_numbers(key, value, held[key], what)
    for key, value in wanted.items():
        given = held[key]
        if isinstance(held, Stored):  # read once
            _check_numbers(key, value, given, what)
        _copy(value, given)
        # as a number of 64 bits it was finite
        if _kind(given) == "float64" and finite({key: value}):
            raise ModelError(f"{what}: {key} holds numbers that are too large.")


def _check_numbers(key: str, wanted: Held, given: Held, what: str) -> None:
    kind, has = _kind(wanted), _kind(given)
    if has not in _FLOATS if kind in _FLOATS else has != kind:
        raise ModelError(f"{what}: {key} holds {has} where {'fractions' if kind in _FLOATS else kind} are expected.")
    if has in _FLOATS and not _is_finite(given):
        raise ModelError(f"{what}: {key} holds numbers that are none, or infinite; fetch or train the model again.")


def _copy(value: Held, given: Held) -> None:
    if isinstance(value, np.ndarray):
        given = given if isinstance(given, np.ndarray) else given.detach().float().cpu().numpy()
        with np.errstate(over="ignore"):  # which is looked for afterwards
            np.copyto(value, given, casting="same_kind")
        return
    import torch

    with torch.no_grad():
        value.copy_(torch.from_numpy(given) if isinstance(given, np.ndarray) else given)


def once(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor under the first of its names: two names are one tensor where storage, place in it, shape and strides
    are the same. What shares a storage without being the same is copied out of it."""
    import torch

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
