"""Devices that are there and those that are not, precisions and the reasons that are given for them."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT, Run

from mats_model import device as places
from mats_model.config import LLMConfig
from mats_model.device import fast_bf16, find_device, place, within_memory
from mats_model.errors import DeviceError, UsageError

DOG = str(ROOT / "examples" / "dog.ogg")
LORA = LLMConfig(kind="transformers", tuning="lora")
WHOLE = LLMConfig(kind="transformers", tuning="full")


def card(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], count: int = 1) -> None:
    """Torch sees so many CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


@pytest.mark.parametrize("verb", [("caption",), ("classify", "--labels", "dog,rain")])
@pytest.mark.parametrize(
    ("device", "code", "said"),
    [("banana", 2, "there is no device 'banana': choose auto, cpu"), ("cuda:99", 7, "device cuda:99: ")],
)
def test_what_is_not_there_is_refused_with_nano(
    mats: Run, verb: tuple[str, ...], device: str, code: int, said: str
) -> None:
    done = mats(*verb, DOG, "--device", device)
    assert done.returncode == code and said in done.stderr.decode() and not done.stdout


def test_devices_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, (8, 0), count=2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1"):
        assert find_device(name) == name
    with pytest.raises(DeviceError, match="device cuda:2: this machine has cuda:0 to cuda:1"):
        find_device("cuda:2")
    with pytest.raises(DeviceError, match="device mps: this machine has no GPU of Apple's"):
        find_device("mps")
    for name in ("cuda:", "cuda:x", "cpu:1", "mps:0", "CPU", "", "xcuda", "cuda:-1"):
        with pytest.raises(UsageError, match="there is no device"):
            find_device(name)


@pytest.mark.parametrize(
    ("config", "capability", "training", "dtype", "why"),
    [
        (LORA, (8, 0), True, torch.bfloat16, "CUDA with bfloat16"),
        (LORA, (7, 5), True, torch.float32, "not precise enough to train in"),
        (LORA, (7, 0), False, torch.float16, "CUDA without bfloat16"),
        (WHOLE, (9, 0), True, torch.float32, "all of the weights are trained"),
        (WHOLE, (9, 0), False, torch.bfloat16, "CUDA with bfloat16"),
    ],
)
def test_precision_on_a_card(
    config: LLMConfig,
    capability: tuple[int, int],
    training: bool,
    dtype: torch.dtype,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card(monkeypatch, capability)
    # torch says so of every card, since it emulates what the card lacks
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    found = place(config, "cuda", training=training)
    assert found.dtype is dtype and why in found.reason


def test_trained_whole_it_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, (8, 0))
    for training in (True, False):
        assert place(LLMConfig(kind="transformers", quantize="auto"), "cuda", training=training).quantize == "none"
        with pytest.raises(UsageError, match="set it to none, or"):
            place(LLMConfig(kind="transformers", quantize="nf4"), "cuda", training=training)


@pytest.mark.parametrize(
    ("capability", "has", "fast"), [("AVX512", False, False), ("AVX512", True, True), ("DEFAULT", False, True)]
)
def test_avx_512_alone_is_no_bf16(capability: str, has: bool, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has, raising=False)
    assert fast_bf16() is fast
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    monkeypatch.setattr(places, "_flags", lambda: "avx512f avx512_bf16" if has else "avx512f")
    assert fast_bf16() is fast


def test_memory_that_runs_out_is_a_sentence() -> None:
    for error in (torch.OutOfMemoryError("x"), RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")):
        with pytest.raises(DeviceError, match=r"^this does not fit into the memory of mps: do that\.$"):
            with within_memory("this", "mps", "do that"):
                raise error
    with pytest.raises(RuntimeError, match="shapes"), within_memory("this", "cpu", "do that"):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(
    ("asked", "device", "training", "weights", "there", "kept", "why"),
    [
        ("auto", "cuda", True, 13e9, True, "nf4", "4 bits fit into a consumer's card"),
        ("auto", "cuda:1", False, 13e9, True, "nf4", "4 bits fit into a consumer's card"),
        (
            "auto",
            "cuda",
            False,
            13e9,
            False,
            "none",
            "CUDA with bfloat16; no 4 bits, since bitsandbytes is not installed",
        ),
        ("auto", "cuda", False, 0.3e9, True, "none", "CUDA with bfloat16; too small to gain by 4 bits"),
        ("auto", "cpu", False, 13e9, True, "int8", "the fastest there"),
        ("auto", "cpu", True, 13e9, True, "none", "cpu"),
        ("auto", "mps", False, 13e9, True, "none", "mps"),
        ("none", "cuda", False, 13e9, True, "none", "CUDA with bfloat16"),
        ("nf4", "cuda", False, 0.3e9, True, "nf4", "as asked"),
    ],
)
def test_how_weights_are_kept(
    asked: str,
    device: str,
    training: bool,
    weights: float,
    there: bool,
    kept: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(places, "_has_bitsandbytes", lambda: there)
    found = place(
        LLMConfig(kind="transformers", tuning="lora", quantize=asked), device, training=training, weights=weights
    )
    assert found.quantize == kept and why in found.reason and str(found.device) == device
