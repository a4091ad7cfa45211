"""The audio side of nano as it hears: log-mel, tower and head in onnxruntime, without torch.

The graph is written from the weights of the model folder when the first sound comes, so no second file could differ
from them. A window is always run alone and on one thread, and several windows on as many threads as there are
processors: so its embedding depends neither on its neighbours nor on the machine's load.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from mats_model.clap.layers import LOGIT_MEAN, LOGIT_SPREAD, SECTIONS, Block, Conv, Hardswish, Layer
from mats_model.clap.mels import BANKS
from mats_model.clap.spectrum import ROW, log_mel, rows
from mats_model.onnx import Graph, Session
from mats_model.threads import side_by_side

SPEC = BANKS["nano"]


def _convolve(graph: Graph, x: str, name: str, conv: Conv) -> str:
    pad = conv.kernel // 2
    return graph.node(
        "Conv", x, f"{name}.weight", f"{name}.bias",
        kernel_shape=[conv.kernel] * 2, strides=[conv.stride] * 2, pads=[pad] * 4, group=conv.groups,
    )  # fmt: skip


def _layer(graph: Graph, x: str, name: str, layer: Layer) -> str:
    if isinstance(layer, Conv):
        return _convolve(graph, x, name, layer)
    if isinstance(layer, Hardswish):
        return graph.node("HardSwish", x)
    return _block(graph, x, name, layer)


def _block(graph: Graph, x: str, name: str, block: Block) -> str:
    y = x
    for place, part in enumerate(block.widening()):
        y = _layer(graph, y, f"{name}.wide.{place}", part)
    if block.squeeze:
        few = _convolve(graph, graph.node("GlobalAveragePool", y), f"{name}.squeeze.down", Conv(block.wide, 1))
        share = _convolve(graph, graph.node("Relu", few), f"{name}.squeeze.up", Conv(1, block.wide))
        y = graph.node("Mul", y, graph.node("Sigmoid", share))
    y = _convolve(graph, y, f"{name}.narrow.0", Conv(block.wide, block.out))
    return graph.node("Add", x, y) if block.shortcut else y


def network(tower: Mapping[str, np.ndarray], head: Mapping[str, np.ndarray], width: int) -> Session:
    """Rows of samples (1, r, 16) -> raw embedding (1, d)."""
    graph = Graph()
    for part in (tower, head):
        for name, array in part.items():
            graph.weight(name, array)
    x = log_mel(graph, graph.input("rows", [1, "count", ROW]), SPEC)
    for section, layers in SECTIONS.items():
        for place, layer in enumerate(layers):
            x = _layer(graph, x, f"{section}.{place}", layer)
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    feature = graph.node("Div", graph.node("Sub", pooled, "mean"), "std")
    hidden = graph.node("HardSwish", graph.node("Gemm", feature, "tags.0.weight", "tags.0.bias", transB=1))
    logits = graph.node("Gemm", hidden, "tags.2.weight", "tags.2.bias", transB=1)
    # the head's own bias comes after the tower's, as it was taught
    tags = graph.node("Sigmoid", graph.node("Add", logits, "bias"))
    rest = graph.node("Gemm", feature, "residual.weight", transB=1)
    made = graph.node("Add", graph.node("MatMul", tags, "names"), rest)
    if "up.weight" in head:
        mean, spread = (np.full(1, value, np.float32) for value in (LOGIT_MEAN, LOGIT_SPREAD))
        level = graph.node("Sub", logits, graph.weight("logit_mean", mean))
        both = graph.node("Concat", feature, graph.node("Div", level, graph.weight("logit_spread", spread)), axis=1)
        hidden = graph.node("HardSwish", graph.node("Gemm", both, "up.weight", "up.bias", transB=1))
        made = graph.node("Add", made, graph.node("Gemm", hidden, "down.weight", transB=1))
    graph.output(made, [1, width])
    return graph.session()


class Hearing:
    """waves (w, s) at the front end's sample rate -> raw embedding (w, d). `tower` and `head` are its weights by
    name; they are read when it hears for the first time."""

    def __init__(self, tower: Mapping[str, np.ndarray], head: Mapping[str, np.ndarray], width: int) -> None:
        self._tower, self._head, self._width = tower, head, width

    @cached_property
    def _network(self) -> Session:
        return network(self._tower, self._head, self._width)

    def alone(self, wave: np.ndarray) -> np.ndarray:
        """One window (s,) -> (d,)."""
        return self._network(rows=rows(wave, SPEC))[0]

    def embed(self, waves: np.ndarray) -> np.ndarray:
        """(w, s) -> (w, d), each row as `alone` gives it."""
        self._network  # noqa: B018  made once, before several threads want it
        return np.stack(side_by_side(self.alone, waves))
