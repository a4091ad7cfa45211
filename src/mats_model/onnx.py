"""A network written as ONNX, in memory, and run by onnxruntime: nodes and weights -> a session.

Only what a few layers need of the format (https://onnx.ai/onnx/repo-docs/IR.html): float32 tensors, and whole numbers
that say shapes and places. The numbers below are those of the fields in its onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

_IR, _OPSET = 8, 17  # of ONNX 1.12
_FLOAT, _WHOLE = 1, 7  # TensorProto.FLOAT, INT64
_ATTRIBUTE = {float: 1, int: 2, list: 7}  # AttributeProto.FLOAT, INT, INTS

Attribute = float | int | list[int]
Shape = list[int | str]  # a word stands for any size


def _varint(value: int) -> bytes:
    """A whole number of 64 bits, seven bits a byte."""
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _head(field: int, length: int) -> bytes:
    return _varint(field << 3 | 2) + _varint(length)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _head(field, len(data)) + data


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        held = _varint(2 << 3 | 5) + struct.pack("<f", value)
    elif isinstance(value, int):
        held = _number(3, value)
    else:
        held = b"".join(_number(8, each) for each in value)
    return _bytes(1, name) + held + _number(20, _ATTRIBUTE[type(value)])


def _value(name: str, shape: Shape, kind: int) -> bytes:
    """What goes in or comes out."""
    sizes = [_bytes(2, size) if isinstance(size, str) else _number(1, size) for size in shape]
    tensor = _number(1, kind) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


class Graph:
    """Nodes are added in the order they run; each gives one output, by whose name others take it."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._ends: list[bytes] = []  # what goes in and comes out
        self._constants: list[tuple[bytes, memoryview | bytes]] = []  # head and numbers
        self._lent: dict[str, np.ndarray] = {}

    def input(self, name: str, shape: Shape, whole: bool = False) -> str:
        """What goes in: float32, or whole numbers; returns its name."""
        self._ends.append(_bytes(11, _value(name, shape, _WHOLE if whole else _FLOAT)))
        return name

    def output(self, name: str, shape: Shape) -> None:
        """What comes out, float32, in the order of these calls."""
        self._ends.append(_bytes(12, _value(name, shape, _FLOAT)))

    def weight(self, name: str, array: np.ndarray) -> str:
        """A constant, float32; returns its name."""
        return self._constant(name, np.ascontiguousarray(array, "<f4"), _FLOAT)

    def whole(self, name: str, values: list[int]) -> str:
        """A constant list of whole numbers: a shape, or places."""
        return self._constant(name, np.array(values, "<i8"), _WHOLE)

    def lent(self, name: str, array: np.ndarray) -> str:
        """As a constant, float32, but read where it lies: it goes in with each run; returns its name."""
        self._lent[name] = array
        return self.input(name, list(array.shape))

    def _constant(self, name: str, data: np.ndarray, kind: int) -> str:
        dims = b"".join(_number(1, size) for size in data.shape)
        head = dims + _number(2, kind) + _bytes(8, name) + _head(9, data.nbytes)
        self._constants.append((head, data.reshape(-1).view(np.uint8).data))
        return name

    def node(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """One operation of ONNX; returns the name of its output."""
        return self.nodes(op, 1, *inputs, **attributes)[0]

    def nodes(self, op: str, count: int, *inputs: str, **attributes: Attribute) -> list[str]:
        """One operation with `count` outputs; returns their names."""
        outputs = [f"{op}{len(self._nodes)}.{number}" for number in range(count)]
        parts = [*(_bytes(1, name) for name in inputs), *(_bytes(2, name) for name in outputs), _bytes(4, op)]
        parts += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return outputs

    def model(self) -> bytes:
        """The whole as a file would hold it."""
        parts: list[memoryview | bytes] = [_bytes(1, node) for node in self._nodes]
        parts += [_bytes(2, "mats"), *self._ends]
        for head, numbers in self._constants:
            parts += [_head(5, len(head) + len(numbers)), head, numbers]
        about = _number(1, _IR) + _bytes(8, _bytes(1, "") + _number(2, _OPSET))
        # in one go, since weights that were joined several times would stay as memory
        return b"".join([about, _head(7, sum(map(len, parts))), *parts])

    def session(self) -> Session:
        """Ready to run."""
        return Session(self.model(), self._lent)


class Session:
    """A network of onnxruntime, on one thread: what it gives depends on no load and no number of processors."""

    def __init__(self, model: bytes, lent: dict[str, np.ndarray]) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # what it would keep is more than what a run takes
        # what is planned for one length of text serves no other, and would be kept
        options.enable_mem_pattern = not lent
        self._value: Any = onnxruntime.OrtValue.ortvalue_from_numpy  # copies nothing
        self._lent = {name: self._value(array) for name, array in lent.items()}
        self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._made = [each.name for each in self._session.get_outputs()]

    def __call__(self, **given: np.ndarray) -> np.ndarray:
        """The first that comes out."""
        made: np.ndarray = self.passed(given, self._made[:1])[0].numpy()
        return made

    def passed(self, given: Mapping[str, Any], made: list[str]) -> list[Any]:
        """Arrays, or what an earlier run gave -> what comes out under these names, to be read by `numpy()` or given to
        the next run."""
        held = {name: self._value(each) if isinstance(each, np.ndarray) else each for name, each in given.items()}
        return list(self._session.run_with_ort_values(made, {**self._lent, **held}))
