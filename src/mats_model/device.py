"""Which device, which precision and which quantization, and the reason in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mats_model.config import LLMConfig
from mats_model.errors import DeviceError, UsageError

QUANTISE = ("none", "int8", "nf4", "auto")
SMALL = 2e9  # bytes of weights, below which 4 bits save little memory and cost time
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Placement:
    """Where the language model lies and how its weights are kept."""

    device: torch.device
    dtype: torch.dtype
    quantize: str  # none, int8 or nf4
    reason: str


def fast_bf16() -> bool:
    """The CPU multiplies bfloat16 in hardware, so that it is faster than float32 there."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _has_bitsandbytes() -> bool:
    from importlib.util import find_spec

    return find_spec("bitsandbytes") is not None


def _quantise(asked: str, kind: str, training: bool, force: bool, weights: float) -> tuple[str, str]:
    """How weights are kept there, and why. Errors: UsageError, DeviceError."""
    if asked not in QUANTISE:
        raise UsageError(f"llm.quantize or --quantize {asked!r}: choose {', '.join(QUANTISE)}.")
    if asked == "auto":
        if kind == "cuda" and weights < SMALL:
            return "none", "too small to gain by 4 bits"
        if kind == "cuda":
            return (
                ("nf4", "4 bits fit into a consumer's card")
                if _has_bitsandbytes()
                else ("none", "no 4 bits, since bitsandbytes is not installed")
            )
        if training or kind != "cpu":
            return "none", "no weights of fewer bits there"
        return "int8", "the fastest there"
    if asked == "nf4" and kind != "cuda" and not force:
        raise DeviceError(
            f"llm.quantize nf4 needs CUDA: on a {kind} 4-bit weights of bitsandbytes decode about 15 times slower "
            "than bfloat16;"
            " set it to auto or none (mats train takes it with --force)."
        )
    if asked == "int8" and (kind != "cpu" or training):
        why = (
            "weights kept so cannot be trained beside"
            if training
            else f"on {kind} they are slower than {'nf4' if kind == 'cuda' else 'float16'}"
        )
        raise DeviceError(f"llm.quantize int8 is for answering on a CPU: {why}; set it to auto.")
    return asked, "as asked"


def find_device(device: str) -> str:
    """ "auto" or a name -> the name of a device that is there. Errors: UsageError, DeviceError."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            f"--device {device}: torch sees no CUDA device on this machine; leave the option out to use the CPU."
        )
    if device.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {device}: choose auto, cpu, cuda, cuda:N or mps.")
    return device


def place(
    config: LLMConfig, device: str = "auto", force: bool = False, training: bool = True, weights: float = float("inf")
) -> Placement:
    """`weights` are the base's, in bytes. Errors: UsageError, for a setting that no device has; DeviceError, for a
    device that is not there."""
    if config.dtype not in ("auto", *DTYPES):
        raise UsageError(f"llm.dtype {config.dtype!r}: choose auto, {', '.join(DTYPES)}.")
    device = find_device(device)
    kind = device.split(":")[0]
    quantize, because = _quantise(config.quantize, kind, training, force, weights)
    if config.dtype != "auto":
        chosen, why = DTYPES[config.dtype], "as asked"
    elif kind == "cuda":
        chosen, why = (
            (torch.bfloat16, "CUDA with bfloat16")
            if torch.cuda.is_bf16_supported()
            else (torch.float16, "CUDA without bfloat16")
        )
    elif kind == "cpu" and fast_bf16():
        chosen, why = torch.bfloat16, "this CPU multiplies bfloat16 in hardware"
    else:
        chosen, why = torch.float32, f"float32 is the fastest here on {kind}"
    if quantize != "none":
        why = because
    elif config.quantize == "auto":
        why = f"{why}; {because}"
    name = str(chosen)[6:] if quantize == "none" else quantize
    return Placement(torch.device(device), chosen, quantize, f"{kind}, {name}: {why}")
