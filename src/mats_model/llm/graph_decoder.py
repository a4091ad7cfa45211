"""The small decoder as it answers, in onnxruntime: the same function as `decoder`, which is trained.

Its weights are read where they lie, so that nothing is kept twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mats_model.config import DecoderConfig
from mats_model.onnx import Graph, Session


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


@dataclass(frozen=True)
class Past:
    """Keys and values of all that was read so far: for each layer two of (n, heads, length, c), of onnxruntime."""

    held: list[Any]
    length: int


class GraphDecoder:
    """inputs (n, t, h) -> logits (n, vocabulary) of what follows the last. `weights` by name, float32; embedding and
    output share theirs. Each row is made by itself: its logits do not depend on those beside it."""

    def __init__(self, config: DecoderConfig, weights: Mapping[str, np.ndarray] | None = None) -> None:
        self.config = config
        self.weights = weights or {name: np.zeros(shape, np.float32) for name, shape in decoder_shapes(config).items()}
        size = config.width // config.heads
        angles = np.outer(np.arange(config.positions), 10_000.0 ** (-np.arange(0, size, 2) / size)).astype(np.float32)
        self._cos, self._sin = (np.concatenate([part, part], -1) for part in (np.cos(angles), np.sin(angles)))
        self._kept = [f"{part}.{number}" for number in range(config.layers) for part in ("keys", "values")]

    @cached_property
    def _network(self) -> tuple[Session, list[str]]:
        """With the names of what comes out: logits, then keys and values."""
        return _Writer(self.config, self.weights).written()

    def embed(self, tokens: np.ndarray) -> np.ndarray:
        """Ids (...) -> (..., h)."""
        return self.weights["embed.weight"][tokens]

    def read(
        self, inputs: np.ndarray, past: Past | None = None, source: np.ndarray | None = None
    ) -> tuple[np.ndarray, Past]:
        """(n, t, h), after what was read so far by the rows `source` (n,) of `past`, each by its own if None -> logits
        (n, vocabulary), and what is read now."""
        count, t, _ = inputs.shape
        if source is None:
            source = np.arange(count)
        if count == 1:  # a product with a single line adds up in another order: never give it one
            inputs, source = inputs.repeat(2, 0), source.repeat(2)
        config, before = self.config, past.length if past else 0
        nothing = np.zeros((len(inputs), config.heads, 0, config.width // config.heads), np.float32)
        given: dict[str, Any] = {
            "inputs": np.ascontiguousarray(inputs, np.float32),
            "source": source.astype(np.int64),
            "cos": self._cos[before : before + t],
            "sin": self._sin[before : before + t],
            # a position sees what stands before it and itself
            "mask": np.triu(np.full((t, before + t), -np.inf, np.float32), before + 1),
            **dict(zip(self._kept, past.held if past else [nothing] * len(self._kept), strict=True)),
        }
        session, names = self._network
        logits, *held = session.passed(given, names)
        return logits.numpy()[:count], Past(held, before + t)


class _Writer:
    """The decoder as a graph."""

    def __init__(self, config: DecoderConfig, weights: Mapping[str, np.ndarray]) -> None:
        self.config, self.graph = config, Graph()
        self.size = config.width // config.heads
        for name, array in weights.items():
            self.graph.lent(name, array)
        self.graph.weight("tiny", np.array([1e-5]))
        self.graph.weight("share", np.array([self.size**-0.5]))

    def written(self) -> tuple[Session, list[str]]:
        graph, config = self.graph, self.config
        width = config.width
        graph.input("inputs", ["n", "t", width])
        graph.input("source", ["n"], whole=True)
        for name in ("cos", "sin"):
            graph.input(name, ["t", self.size])
        graph.input("mask", ["t", "u"])
        x, kept = graph.node("Reshape", "inputs", graph.whole("lines", [-1, width])), list[str]()
        for number in range(config.layers):
            x, pair = self._block(x, number)
            kept += pair
        # only what follows the last position is asked for
        places = graph.node("Reshape", x, graph.node("Shape", "inputs"))
        last = graph.node("Gather", places, graph.whole("last", [-1]), axis=1)
        last = graph.node("Reshape", last, "lines")
        logits = self._linear(self._norm(last, "norm"), "embed")
        graph.output(logits, ["n", config.vocabulary])
        for name in kept:
            graph.output(name, ["n", config.heads, "u", self.size])
        return graph.session(), [logits, *kept]

    def _linear(self, x: str, name: str) -> str:
        return self.graph.node("Gemm", x, f"{name}.weight", transB=1)

    def _norm(self, x: str, name: str) -> str:
        """x / rms(x), scaled."""
        graph = self.graph
        power = graph.node("ReduceMean", graph.node("Mul", x, x), axes=[-1])
        rms = graph.node("Sqrt", graph.node("Add", power, "tiny"))
        return graph.node("Mul", graph.node("Div", x, rms), f"{name}.weight")

    def _heads(self, x: str, at: str) -> str:
        """Lines -> (n, heads, t, c); `at` is the shape (n, t, heads, c)."""
        return self.graph.node("Transpose", self.graph.node("Reshape", x, at), perm=[0, 2, 1, 3])

    def _block(self, x: str, number: int) -> tuple[str, list[str]]:
        graph, config, block = self.graph, self.config, f"blocks.{number}"
        if not number:
            rows = graph.node("Slice", graph.node("Shape", "inputs"), graph.whole("0", [0]), graph.whole("2", [2]))
            self.shape = graph.node("Concat", rows, graph.whole("by head", [config.heads, self.size]), axis=0)
        all_three = self._linear(self._norm(x, f"{block}.norm1"), f"{block}.qkv")
        queries, keys, values = (self._heads(part, self.shape) for part in graph.nodes("Split", 3, all_three, axis=1))
        pair = []
        for name, new in (("keys", self._turned(keys)), ("values", values)):
            past = graph.input(f"{name}.{number}", ["m", config.heads, "before", self.size])
            pair.append(graph.node("Concat", graph.node("Gather", past, "source", axis=0), new, axis=2))
        fits = graph.node("MatMul", self._turned(queries), graph.node("Transpose", pair[0], perm=[0, 1, 3, 2]))
        fits = graph.node("Add", graph.node("Mul", fits, "share"), "mask")
        mixed = graph.node("MatMul", graph.node("Softmax", fits, axis=-1), pair[1])
        mixed = graph.node("Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), "lines")
        x = graph.node("Add", x, self._linear(mixed, f"{block}.out"))
        both = self._linear(self._norm(x, f"{block}.norm2"), f"{block}.gate_up")
        gate, up = graph.nodes("Split", 2, both, axis=1)
        wide = graph.node("Mul", graph.node("Mul", gate, graph.node("Sigmoid", gate)), up)
        return graph.node("Add", x, self._linear(wide, f"{block}.down")), pair

    def _turned(self, x: str) -> str:
        """Rotary positions."""
        graph = self.graph
        first, second = graph.nodes("Split", 2, x, axis=3)
        other = graph.node("Concat", graph.node("Neg", second), first, axis=3)
        return graph.node("Add", graph.node("Mul", x, "cos"), graph.node("Mul", other, "sin"))
