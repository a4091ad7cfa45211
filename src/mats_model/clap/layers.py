"""The audio tower of nano as a table: its layers in order, from which torch teaches and onnxruntime hears.

Three sections of convolutions, each narrow at its end; the first two are dense, which a CPU runs fastest on large maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MELS = 128
FEATURE = 384
TAGS = 527
HIDDEN = 512
# of the tags' logits, by which the head brings them to the scale of the feature
LOGIT_MEAN, LOGIT_SPREAD = -6.0, 3.0
# channels where one section ends and the next begins
EARLY, MIDDLE, LATE = 16, 48, 88


@dataclass(frozen=True)
class Conv:
    """(n, inp, f, t) -> (n, out, f / stride, t / stride)."""

    inp: int
    out: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1


@dataclass(frozen=True)
class Hardswish:
    """x * min(max(x / 6 + 1/2, 0), 1)."""


@dataclass(frozen=True)
class Block:
    """Widen, weigh, narrow, with a shortcut where the shape stays: (n, inp, f, t) -> (n, out, f / stride, t / stride).

    Widening is one dense convolution, or with `deep` a 1x1 and one convolution for each channel; with `squeeze` each
    channel is weighed by what all of them hold on average.
    """

    inp: int
    wide: int
    out: int
    kernel: int = 3
    stride: int = 1
    squeeze: bool = False
    deep: bool = False

    @property
    def shortcut(self) -> bool:
        """Whether what goes in is added to what comes out."""
        return self.stride == 1 and self.inp == self.out

    @property
    def narrowest(self) -> int:
        """Channels inside the weighing."""
        return max(8, self.wide // 4)

    def widening(self) -> tuple[Conv | Hardswish, ...]:
        """The layers up to where channels are weighed."""
        if not self.deep:
            return Conv(self.inp, self.wide, self.kernel, self.stride), Hardswish()
        each = Conv(self.wide, self.wide, self.kernel, self.stride, self.wide)
        return Conv(self.inp, self.wide), Hardswish(), each, Hardswish()


Layer = Conv | Hardswish | Block
SECTIONS: dict[str, tuple[Layer, ...]] = {
    "early": (
        Conv(1, 16, 3, 2), Hardswish(),
        Block(16, 32, 16, stride=2), Block(16, 32, 24),
        Block(24, 64, 32, stride=2, squeeze=True), Block(32, 64, 32, squeeze=True), Block(32, 64, 32, squeeze=True),
        Conv(32, EARLY),
    ),
    "middle": (
        Block(EARLY, 96, 40, stride=2), Block(40, 80, 40), Block(40, 80, 40), Block(40, 80, 40),
        Block(40, 240, 56, squeeze=True, deep=True), Block(56, 336, 56, squeeze=True, deep=True),
        Conv(56, MIDDLE),
    ),
    "late": (
        Block(MIDDLE, 336, LATE, 5, 2, squeeze=True, deep=True),
        Block(LATE, 440, LATE, 5, squeeze=True, deep=True), Block(LATE, 440, LATE, 5, squeeze=True, deep=True),
    ),
    "last": (Conv(LATE, FEATURE), Hardswish()),
}  # fmt: skip


def _convolved(name: str, conv: Conv) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (conv.out, conv.inp // conv.groups, conv.kernel, conv.kernel)
    yield f"{name}.bias", (conv.out,)


def _layer(name: str, layer: Layer) -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(layer, Conv):
        yield from _convolved(name, layer)
    elif isinstance(layer, Block):
        for place, part in enumerate(layer.widening()):
            yield from _layer(f"{name}.wide.{place}", part)
        if layer.squeeze:
            yield from _convolved(f"{name}.squeeze.down", Conv(layer.wide, layer.narrowest))
            yield from _convolved(f"{name}.squeeze.up", Conv(layer.narrowest, layer.wide))
        yield from _convolved(f"{name}.narrow.0", Conv(layer.wide, layer.out))


def tower_shapes() -> dict[str, tuple[int, ...]]:
    """The tower's weights as it ships, without batch normalisation: name -> shape."""
    shapes: dict[str, tuple[int, ...]] = {"mean": (FEATURE,), "std": (FEATURE,)}
    for section, layers in SECTIONS.items():
        for place, layer in enumerate(layers):
            shapes |= dict(_layer(f"{section}.{place}", layer))
    shapes |= {"tags.0.weight": (HIDDEN, FEATURE), "tags.0.bias": (HIDDEN,)}
    return shapes | {"tags.2.weight": (TAGS, HIDDEN), "tags.2.bias": (TAGS,)}


def head_shapes(width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The head's weights for embeddings of `width` numbers and a hidden layer of so many, or none: name -> shape."""
    shapes: dict[str, tuple[int, ...]] = {"names": (TAGS, width), "bias": (TAGS,), "residual.weight": (width, FEATURE)}
    if hidden:
        shapes |= {"up.weight": (hidden, FEATURE + TAGS), "up.bias": (hidden,), "down.weight": (width, hidden)}
    return shapes
