"""Which device, which precision and which quantization, and the reason in words."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mats_model.config import LLMConfig
from mats_model.errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch

QUANTISE = ("none", "int8", "nf4", "auto")
SMALL = 2e9  # bytes of weights, below which 4 bits save little memory and cost time
DTYPES = ("float32", "bfloat16", "float16")
_DEVICE = re.compile(r"cpu|mps|cuda(?::(?P<number>\d{1,4}))?")
_AMPERE = 8  # the first compute capability that multiplies bfloat16; older cards emulate it, more slowly than float32


@dataclass(frozen=True)
class Placement:
    """Where the language model lies and how its weights are kept."""

    device: torch.device
    dtype: torch.dtype
    quantize: str  # none, int8 or nf4
    reason: str


def check_device(device: str) -> None:
    """That it is there, before anything is loaded; what is chosen by itself is. Errors: UsageError, DeviceError."""
    if device != "auto":
        find_device(device)


def find_device(device: str) -> str:
    """ "auto" or a name -> the name of a device that is there. Errors: UsageError, DeviceError."""
    matched = _DEVICE.fullmatch(device)
    if device == "cpu:0":  # as accelerate calls it
        return "cpu"
    if matched is None and device != "auto":
        raise UsageError(f"there is no device {device!r}: choose auto, cpu, cuda, cuda:N or mps.")
    if device == "cpu" or find_spec("torch") is None:
        cuda, mps = 0, False
    else:
        cuda, mps = _there()
    if device == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if device == "mps" and not mps:
        raise DeviceError("device mps: this machine has no GPU of Apple's that torch can use; choose auto or cpu.")
    if device.startswith("cuda") and not cuda:
        raise DeviceError(f"device {device}: torch sees no CUDA device on this machine; choose auto or cpu.")
    if matched and matched["number"] and int(matched["number"]) >= cuda:
        raise DeviceError(f"device {device}: this machine has cuda:0 to cuda:{cuda - 1}; choose one of them.")
    return device


def _there() -> tuple[int, bool]:
    """How many CUDA devices, and whether a GPU of Apple's."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0, torch.backends.mps.is_available()


def memory(device: str = "auto") -> tuple[str, float]:
    """What a device is called, and the megabytes of its memory, 0 where it does not say. Errors: UsageError,
    DeviceError."""
    import torch

    device = find_device(device)
    if device.startswith("cuda"):
        told = torch.cuda.get_device_properties(torch.device(device))
        return str(told.name), told.total_memory / 1e6
    try:
        return "this machine", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (AttributeError, OSError, ValueError):  # Windows
        return "this machine", 0.0


def fast_bf16(device: torch.device | str = "cpu") -> bool:
    """Whether it multiplies bfloat16 in hardware, so that it is faster than float32 there."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= _AMPERE
    return device.type == "cpu" and _cpu_bf16()


def _cpu_bf16() -> bool:
    import torch

    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # of x86 that only says that there is AVX-512, with which bfloat16 is emulated
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return True
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(has()) if has else "avx512_bf16" in _flags()


def _flags() -> str:
    """What Linux says of its processor; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _has_bitsandbytes() -> bool:
    return find_spec("bitsandbytes") is not None


def _quantise(config: LLMConfig, kind: str, training: bool, force: bool, weights: float) -> tuple[str, str]:
    """How weights are kept there, and why. Errors: UsageError, DeviceError."""
    asked, whole = config.quantize, config.kind == "transformers" and config.tuning == "full"
    if asked not in QUANTISE:
        raise UsageError(f"llm.quantize {asked!r}: choose {', '.join(QUANTISE)}.")
    if asked == "auto":
        return _best(kind, training, whole, weights)
    if asked == "nf4" and whole:
        raise UsageError(
            "llm.quantize nf4: a base that is trained whole has weights of its own, which are not kept in 4 bits; "
            "set it to none, or llm.tuning to lora."
        )
    if asked == "nf4" and kind != "cuda" and not force:
        raise DeviceError(
            f"llm.quantize nf4 needs CUDA: on a {kind} 4-bit weights of bitsandbytes decode about 15 times slower "
            "than bfloat16; set it to auto or none (training takes it with `force`)."
        )
    if asked == "int8" and (kind != "cpu" or training):
        why = (
            "weights kept so cannot be trained beside"
            if training
            else f"on {kind} they are slower than {'nf4' if kind == 'cuda' else 'float16'}"
        )
        raise DeviceError(f"llm.quantize int8 is for answering on a CPU: {why}; set it to auto.")
    return asked, "as asked"


def _best(kind: str, training: bool, whole: bool, weights: float) -> tuple[str, str]:
    """What `auto` means there, and why."""
    if kind == "cuda" and whole:
        return "none", "trained whole, it is kept so"
    if kind == "cuda" and weights < SMALL:
        return "none", "too small to gain by 4 bits"
    if kind == "cuda" and not _has_bitsandbytes():
        return "none", "no 4 bits, since bitsandbytes is not installed"
    if kind == "cuda":
        return "nf4", "4 bits fit into a consumer's card"
    if training or kind != "cpu":
        return "none", "no weights of fewer bits there"
    return "int8", "the fastest there"


def _precision(config: LLMConfig, device: str, training: bool) -> tuple[torch.dtype, str]:
    """In which precision the weights are read, and why. Errors: UsageError."""
    import torch

    kind = device.split(":")[0]
    if config.dtype not in ("auto", *DTYPES):
        raise UsageError(f"llm.dtype {config.dtype!r}: choose auto, {', '.join(DTYPES)}.")
    if training and config.kind == "transformers" and config.tuning == "full":
        return torch.float32, "all of the weights are trained"
    if config.dtype != "auto":
        return getattr(torch, config.dtype), "as asked"
    if kind == "cuda" and fast_bf16(device):
        return torch.bfloat16, "CUDA with bfloat16"
    if kind == "cuda" and training:
        # gradients of float16 vanish unless the loss is scaled, which the trainer does not do
        return torch.float32, "CUDA without bfloat16, and float16 is not precise enough to train in"
    if kind == "cuda":
        return torch.float16, "CUDA without bfloat16"
    if kind == "cpu" and fast_bf16():
        return torch.bfloat16, "this CPU multiplies bfloat16 in hardware"
    return torch.float32, f"float32 is the fastest here on {kind}"


def place(
    config: LLMConfig, device: str = "auto", force: bool = False, training: bool = True, weights: float = float("inf")
) -> Placement:
    """`weights` are the base's, in bytes. Errors: UsageError, for a setting that no device has; DeviceError, for a
    device that is not there."""
    import torch

    device = find_device(device)
    kind = device.split(":")[0]
    dtype, why = _precision(config, device, training)
    quantize, because = _quantise(config, kind, training, force, weights)
    if quantize != "none":
        why = because
    elif config.quantize == "auto":
        why = f"{why}; {because}"
    name = str(dtype).removeprefix("torch.") if quantize == "none" else quantize
    return Placement(torch.device(device), dtype, quantize, f"{kind}, {name}: {why}")


@contextlib.contextmanager
def within_memory(what: str, device: torch.device | str, instead: str) -> Iterator[None]:
    """Weights are put on a device within. Errors: DeviceError, with what to do `instead`, where they do not fit."""
    import torch

    try:
        yield
    except RuntimeError as error:  # Apple's GPUs have no class of their own for it
        if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error):
            raise
        raise DeviceError(f"{what} does not fit into the memory of {device}: {instead}.") from None
