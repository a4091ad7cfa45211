"""Which device, which precision and which quantisation, and the reason in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mats_model.config import LLMConfig
from mats_model.errors import DeviceError, UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Placement:
    """Where the language model lies and how its weights are kept."""

    device: torch.device
    dtype: torch.dtype
    quantise: str  # none or nf4
    reason: str


def fast_bf16() -> bool:
    """The CPU multiplies bfloat16 in hardware, so that it is faster than float32 there."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def place(config: LLMConfig, device: str = "auto", force: bool = False) -> Placement:
    """Errors: UsageError, for a setting that no device has; DeviceError, for a device that is not there."""
    if config.quantise not in ("none", "nf4"):
        raise UsageError(f"llm.quantise {config.quantise!r}: choose none or nf4.")
    if config.dtype not in ("auto", *DTYPES):
        raise UsageError(f"llm.dtype {config.dtype!r}: choose auto, {', '.join(DTYPES)}.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"--device {device}: torch sees no CUDA device on this machine; leave the option out to use the CPU.")
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {device}: choose auto, cpu, cuda, cuda:N or mps.")
    if config.quantise == "nf4" and kind != "cuda" and not force:
        raise DeviceError(
            f"llm.quantise nf4 needs CUDA: on a {kind} 4-bit weights of bitsandbytes decode about 15 times slower than bfloat16;"
            " set llm.quantise=none, or ask for it all the same with --force."
        )
    if config.dtype != "auto":
        chosen, why = DTYPES[config.dtype], "as asked"
    elif kind == "cuda":
        chosen, why = (torch.bfloat16, "CUDA with bfloat16") if torch.cuda.is_bf16_supported() else (torch.float16, "CUDA without bfloat16")
    elif kind == "cpu" and fast_bf16():
        chosen, why = torch.bfloat16, "this CPU multiplies bfloat16 in hardware"
    else:
        chosen, why = torch.float32, f"float32 is the fastest here on {kind}"
    return Placement(torch.device(device), chosen, config.quantise, f"{kind}, {str(chosen)[6:]}: {why}")
