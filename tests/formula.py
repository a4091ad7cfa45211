"""Weights and sounds that anyone can make again, as the golden numbers in fixtures/ were made: from the names of the
tensors alone."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

FIXTURES = Path(__file__).parent / "fixtures"
_COMPUTED = (
    "spectrogram_extractor",
    "logmel_extractor",
    "num_batches",
    "relative_position_index",
    "attn_mask",
    "position_ids",
)


def _value(name: str, shape: list[int], laion: bool) -> np.ndarray:
    x = (
        np.random.default_rng(zlib.crc32(name.encode()))
        .standard_normal(int(np.prod(shape)) if shape else 1)
        .reshape(shape)
    )
    words = "embeddings" in name if laion else name.endswith(("wte.weight", "wpe.weight"))
    norms = ("norm.weight", "norm1.weight", "norm2.weight", "LayerNorm.weight", "bn0.weight")
    if laion:
        norm = name.endswith(norms) or ".bn1.weight" in name
    else:
        norm = name.endswith("weight") and ("norm" in name or name.endswith("bn0.weight") or ".ln_" in name)
    if name.endswith("bn0.running_mean"):
        return -40 + 5 * x
    if name.endswith("bn0.running_var"):
        return 200 + 50 * abs(x)
    if name.endswith("running_mean"):
        return 0.02 * x
    if name.endswith("running_var"):
        return 0.5 + abs(x)
    if norm:
        return 1 + 0.02 * x
    if "logit_scale" in name:
        return np.full(shape, 2.0)
    if len(shape) >= 2 and not words:
        return x / math.sqrt(np.prod(shape[1:]))
    return 0.05 * x if words else 0.02 * x


def weights(name: str) -> dict[str, torch.Tensor]:
    """Every tensor of `fixtures/NAME_keys.json`."""
    laion = name.startswith("laion")
    made = {}
    for key, told in json.loads((FIXTURES / f"{name}_keys.json").read_text()).items():
        shape, kind = (told, "float") if laion else told
        if "int" in kind or any(word in key for word in _COMPUTED):
            continue
        # GPT-2's masks, and with them the biases that end alike, were left as the module makes them
        left = not laion and key.endswith("attn.bias")
        made[key] = torch.from_numpy(np.asarray(_value(key, shape, laion))).float()
        if left:
            del made[key]
    return made


def filled(own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """LAION's tensors by name, with all but what is computed filled by formula."""
    computed = {
        key for key, value in own.items() if not value.is_floating_point() or any(word in key for word in _COMPUTED)
    }
    made = {
        key: torch.from_numpy(np.asarray(_value(key, list(value.shape), True))).float()
        for key, value in own.items()
        if key not in computed
    }
    return {key: made.get(key, value) for key, value in own.items()}


def wave(sample_rate: int, seconds: float, seed: int) -> np.ndarray:
    """A tone, a sweep and noise that swells."""
    t = np.arange(int(sample_rate * seconds)) / sample_rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    sweep = np.sin(2 * np.pi * (200 * (seed % 5 + 1) + 300 * t) * t)
    made = (
        0.3 * np.sin(2 * np.pi * 440 * t)
        + 0.2 * sweep
        + 0.05 * noise * (1.5 + np.sin(2 * np.pi * (seed % 7 + 1) * t / 3))
    )
    return made.astype(np.float32)
