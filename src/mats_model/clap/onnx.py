"""A network written as ONNX, in memory: nodes and weights -> the bytes of a model that onnxruntime reads.

Only what a few layers need of the format (https://onnx.ai/onnx/repo-docs/IR.html): float32 tensors and whole numbers that
say shapes and places, one input, one output. The numbers below are those of the fields in its onnx.proto.
"""

from __future__ import annotations

import struct

import numpy as np

_IR, _OPSET = 8, 17  # of ONNX 1.12
_FLOAT, _WHOLE = 1, 7  # TensorProto.FLOAT, INT64
_ATTRIBUTE = {float: 1, int: 2, list: 7}  # AttributeProto.FLOAT, INT, INTS

Attribute = float | int | list[int]


def _varint(value: int) -> bytes:
    """A whole number from 0, seven bits a byte."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        held = _varint(2 << 3 | 5) + struct.pack("<f", value)
    elif isinstance(value, int):
        held = _number(3, value)
    else:
        held = b"".join(_number(8, each) for each in value)
    return _bytes(1, name) + held + _number(20, _ATTRIBUTE[type(value)])


def _value(name: str, shape: list[int | str]) -> bytes:
    """A name of float32 with its shape, in which a word stands for any size."""
    sizes = [_bytes(2, size) if isinstance(size, str) else _number(1, size) for size in shape]
    tensor = _number(1, _FLOAT) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


class Graph:
    """Nodes are added in the order they run; each gives one output, by whose name others take it."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._weights: dict[str, bytes] = {}

    def weight(self, name: str, array: np.ndarray) -> str:
        """A constant, float32; returns its name."""
        return self._constant(name, np.ascontiguousarray(array, "<f4"), _FLOAT)

    def whole(self, name: str, values: list[int]) -> str:
        """A constant list of whole numbers: a shape, or places."""
        return self._constant(name, np.array(values, "<i8"), _WHOLE)

    def _constant(self, name: str, data: np.ndarray, kind: int) -> str:
        dims = b"".join(_number(1, size) for size in data.shape)
        self._weights[name] = dims + _number(2, kind) + _bytes(8, name) + _bytes(9, data.tobytes())
        return name

    def node(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """One operation of ONNX; returns the name of its output."""
        output = f"{op}{len(self._nodes)}"
        parts = [*(_bytes(1, name) for name in inputs), _bytes(2, output), _bytes(4, op)]
        parts += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return output

    def model(self, given: str, shape: list[int | str], made: str, made_shape: list[int | str]) -> bytes:
        """The whole, from the input `given` to the output `made`."""
        graph = b"".join(_bytes(1, node) for node in self._nodes) + _bytes(2, "mats")
        graph += b"".join(_bytes(5, weight) for weight in self._weights.values())
        graph += _bytes(11, _value(given, shape)) + _bytes(12, _value(made, made_shape))
        return _number(1, _IR) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, _OPSET))
