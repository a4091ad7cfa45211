"""The few layers of mapper and small decoder in numpy, float32; weights as torch's modules keep them, (out, in)."""

from __future__ import annotations

import math

import numpy as np

from mats_model.vectors import softmax

_erf = np.vectorize(math.erf, otypes=[np.float64])  # few numbers pass here: p positions of a prefix


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """(..., in) -> (..., out): one product, however many dimensions come before."""
    y = (x.reshape(-1, x.shape[-1]) @ weight.T).reshape(*x.shape[:-1], len(weight))
    return y if bias is None else y + bias


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(..., c) -> (..., c), of mean 0 and variance 1, then scaled and shifted."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(1e-5)) * weight + bias


def rms_norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x / rms(x), scaled."""
    return x * (weight / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(1e-5)))


def silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x)."""
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x is infinite, and x / inf what it should be: 0
        return x / (1.0 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    """x * the normal distribution's share below x, exactly, by the error function."""
    share = 0.5 + 0.5 * _erf(x / math.sqrt(2.0))
    return (x * share).astype(np.float32)


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    """(n, t, c) -> (n, heads, t, c / heads)."""
    n, t, width = x.shape
    return x.reshape(n, t, heads, width // heads).swapaxes(1, 2)


def attention(queries: np.ndarray, keys: np.ndarray, values: np.ndarray, causal: bool = False) -> np.ndarray:
    """(n, heads, t, c), and keys and values (n, heads, u, c) -> (n, t, heads * c); with `causal` (t = u) a position
    sees what stands before it and itself."""
    n, heads, t, size = queries.shape
    fits = queries @ keys.swapaxes(-1, -2) * np.float32(size**-0.5)
    if causal:
        fits = np.where(np.tri(t, dtype=bool), fits, np.float32(-np.inf))
    return (softmax(fits) @ values).swapaxes(1, 2).reshape(n, t, heads * size)
