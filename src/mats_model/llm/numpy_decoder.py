"""The small decoder as it answers, in numpy: the same function as `decoder`, which is trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mats_model.config import DecoderConfig
from mats_model.numpy_layers import attention, linear, rms_norm, silu, split_heads


def decoder_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """The decoder's weights: name -> shape."""
    width, hidden = config.width, config.hidden
    shapes: dict[str, tuple[int, ...]] = {"embed.weight": (config.vocabulary, width)}
    for number in range(config.layers):
        block = f"blocks.{number}"
        shapes |= {f"{block}.norm1.weight": (width,), f"{block}.qkv.weight": (3 * width, width)}
        shapes |= {f"{block}.out.weight": (width, width), f"{block}.norm2.weight": (width,)}
        shapes |= {f"{block}.gate_up.weight": (2 * hidden, width), f"{block}.down.weight": (width, hidden)}
    return shapes | {"norm.weight": (width,)}


Past = list[tuple[np.ndarray, np.ndarray]]


class NumpyDecoder:
    """inputs (n, t, h) -> logits (n, t, vocabulary). `weights` by name, float32; embedding and output share theirs."""

    def __init__(self, config: DecoderConfig, weights: Mapping[str, np.ndarray] | None = None) -> None:
        self.config = config
        self.weights = weights or {name: np.zeros(shape, np.float32) for name, shape in decoder_shapes(config).items()}
        size = config.width // config.heads
        angles = np.outer(np.arange(config.positions), 10_000.0 ** (-np.arange(0, size, 2) / size)).astype(np.float32)
        self._cos, self._sin = (np.concatenate([part, part], -1) for part in (np.cos(angles), np.sin(angles)))

    def embed(self, tokens: np.ndarray) -> np.ndarray:
        """Ids (...) -> (..., h)."""
        return self.weights["embed.weight"][tokens]

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """(..., h) -> (..., vocabulary)."""
        return linear(hidden, self.weights["embed.weight"])

    def read(self, inputs: np.ndarray, past: Past | None = None) -> tuple[np.ndarray, Past]:
        """(n, t, h) -> normalised output of the last layer (n, t, h); keys and values (n, heads, u, c) of all that was
        read so far, of each layer."""
        x, kept = inputs, []
        for number in range(self.config.layers):
            x, pair = self._block(x, f"blocks.{number}", past[number] if past else None)
            kept.append(pair)
        return rms_norm(x, self.weights["norm.weight"]), kept

    def _block(
        self, x: np.ndarray, name: str, past: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        weights = self.weights
        all_three = linear(rms_norm(x, weights[f"{name}.norm1.weight"]), weights[f"{name}.qkv.weight"])
        queries, keys, values = (split_heads(part, self.config.heads) for part in np.split(all_three, 3, -1))
        before = past[0].shape[2] if past else 0
        queries, keys = self._turned(queries, before), self._turned(keys, before)
        if past is not None:
            keys, values = np.concatenate([past[0], keys], 2), np.concatenate([past[1], values], 2)
        # one new token may see all that went before; a whole sequence is causal
        x = x + linear(attention(queries, keys, values, causal=past is None), weights[f"{name}.out.weight"])
        gate, up = np.split(
            linear(rms_norm(x, weights[f"{name}.norm2.weight"]), weights[f"{name}.gate_up.weight"]), 2, -1
        )
        return x + linear(silu(gate) * up, weights[f"{name}.down.weight"]), (keys, values)

    def _turned(self, x: np.ndarray, before: int) -> np.ndarray:
        """Rotary positions, from `before` on."""
        half = x.shape[-1] // 2
        places = slice(before, before + x.shape[2])
        return x * self._cos[places] + np.concatenate([-x[..., half:], x[..., :half]], -1) * self._sin[places]
