"""Nano's log-mel as nodes of a graph: rows of samples (1, r, 16) -> scaled log-mel (1, 1, mels, frames).

A frame's transform of N = A B samples is two products of small matrices, with n = B a + b and k = k1 + A k2:

    X[k] = sum_b W(B)^(b k2)  W(N)^(b k1) sum_a W(A)^(a k1) x[B a + b],    W(N) = exp(-2 pi i / N)

The inner sum, with the Hann window and the turn W(N)^(b k1), is a convolution over rows of B samples, since hop and
window are whole rows. For real samples k1 up to A / 2 is enough: X[N - k] is as loud as X[k].
"""

from __future__ import annotations

import numpy as np

from mats_model.clap.mels import LogMelSpec, hann, mel_bank
from mats_model.onnx import Graph

ROW = 16  # B: samples in a row; 64 times as many in a frame are about as much work in the one product as in the other
_BLOCKS = 8  # of the bank: a mel has few bins


def rows(wave: np.ndarray, spec: LogMelSpec) -> np.ndarray:
    """wave (s,) float32 -> differences of neighbouring samples, mirrored at both ends, in rows (1, r, 16) of which
    ceil(s / hop) frames are made."""
    wave = wave[1:] - np.float32(spec.emphasis) * wave[:-1]
    used = len(wave) // spec.hop * spec.hop + spec.window
    return np.pad(wave, spec.window // 2, "reflect")[:used].reshape(1, -1, ROW)


def log_mel(graph: Graph, x: str, spec: LogMelSpec) -> str:
    """The name of (ln(power + floor) + 4.5) / 5, as the teacher of nano has it."""
    power = _power(graph, _turned(graph, x, spec), spec)
    bank = mel_bank(spec)
    parts = []
    for number, mels in enumerate(np.split(bank[: _bins(spec)], _BLOCKS, 1)):
        used = mels.any(1).nonzero()[0]
        first, last = int(used[0]), int(used[-1]) + 1
        weights = graph.weight(f"bank.{number}", mels[first:last].T)
        ends = graph.whole(f"first.{number}", [first]), graph.whole(f"last.{number}", [last])
        parts.append(graph.node("MatMul", weights, graph.node("Slice", power, *ends)))
    floored = graph.node("Add", graph.node("Concat", *parts, axis=0), graph.weight("floor", np.array([spec.floor])))
    shifted = graph.node("Add", graph.node("Log", floored), graph.weight("shift", np.array([4.5])))
    scaled = graph.node("Div", shifted, graph.weight("scale", np.array([5.0])))
    return graph.node("Reshape", scaled, graph.whole("mels.shape", [1, 1, spec.n_mels, -1]))


def _bins(spec: LogMelSpec) -> int:
    """Those that any mel looks at."""
    return int(mel_bank(spec).any(1).nonzero()[0][-1]) + 1


def _turned(graph: Graph, x: str, spec: LogMelSpec) -> str:
    """Rows (1, r, B) -> inner sums, turned: (k1, b and part, frames), where a part is real or imaginary."""
    a, b = np.arange(spec.window // ROW), np.arange(ROW)
    k1 = np.arange(spec.n_fft // ROW // 2 + 1)
    turns = k1[:, None] * (a * ROW + b[:, None, None]) / spec.n_fft  # (b, k1, a): those of both powers of W together
    waves = np.exp(-2j * np.pi * turns) * hann(spec).astype(np.float64).reshape(-1, ROW).T[:, None]
    kernels = np.stack([waves.real, waves.imag], 2).reshape(-1, 1, len(a))
    columns = graph.node("Transpose", x, perm=[0, 2, 1])
    sums = graph.node(
        "Conv", columns, graph.weight("inner", kernels),
        kernel_shape=[len(a)], strides=[spec.hop // ROW], group=ROW,
    )  # fmt: skip
    apart = graph.node("Reshape", sums, graph.whole("inner.shape", [ROW, len(k1), 2, -1]))
    sorted_ = graph.node("Transpose", apart, perm=[1, 0, 2, 3])
    return graph.node("Reshape", sorted_, graph.whole("outer.shape", [len(k1), 2 * ROW, -1]))


def _power(graph: Graph, x: str, spec: LogMelSpec) -> str:
    """Inner sums -> power of the bins that are used, (bins, frames)."""
    k2 = np.arange(ROW)
    waves = np.exp(-2j * np.pi * np.outer(k2, k2) / ROW)
    real = np.stack([waves.real, -waves.imag], -1).reshape(ROW, -1)
    imaginary = np.stack([waves.imag, waves.real], -1).reshape(ROW, -1)
    steps = spec.n_fft // ROW
    outer = np.broadcast_to(np.concatenate([real, imaginary]), (steps // 2 + 1, 2 * ROW, 2 * ROW))
    parts = graph.node("MatMul", graph.weight("outer", outer), x)
    squares = graph.node(
        "Reshape", graph.node("Mul", parts, parts), graph.whole("squares.shape", [outer[..., 0].size, -1])
    )
    k = np.arange(_bins(spec))
    upper = k % steps > steps // 2
    k = np.where(upper, spec.n_fft - k, k)
    places = k % steps * 2 * ROW + k // steps
    both = (
        graph.node("Gather", squares, graph.whole(name, at.tolist()), axis=0)
        for name, at in (("real", places), ("imaginary", places + ROW))
    )
    return graph.node("Add", *both)
