"""Tensors that may come from anywhere: compared strictly, told apart, sampled as they lie in their files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mats_model import tensors
from mats_model.errors import ModelError


def test_names_and_shapes_must_fit() -> None:
    wanted = {"a": (2, 3), "b": (4,)}
    held = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    tensors.check(wanted, held, "x.pt")
    for change, said in (
        ({"c": torch.zeros(1)}, r"x\.pt holds c, which no part of it has \(0 missing, 1 left over\)\."),
        ({"b": torch.zeros(5)}, r"x\.pt: b is \(5,\) where \(4,\) is expected\."),
    ):
        with pytest.raises(ModelError, match=said):
            tensors.check(wanted, held | change, "x.pt", "it")
    with pytest.raises(ModelError, match=r"x\.pt lacks a and holds z, which no part of the model has \(1 .*, 1 .*\)"):
        tensors.check(wanted, {"b": held["b"], "z": held["b"]}, "x.pt")


def test_nothing_is_taken_where_one_does_not_fit() -> None:
    own = {"a": torch.zeros(2), "b": torch.zeros(2)}
    for bad, said in (
        (torch.tensor([1, 2]), "b holds int64 where fractions are expected"),
        (torch.tensor([1.0, float("nan")]), "b holds numbers that are none"),
    ):
        with pytest.raises(ModelError, match=said):
            tensors.take(own, {"a": torch.ones(2), "b": bad}, "x.pt")
        assert not own["a"].any()
    tensors.take(own, {"a": torch.ones(2, dtype=torch.float16), "b": torch.ones(2)}, "x.pt")
    assert own["a"].tolist() == own["b"].tolist() == [1, 1]


def test_two_names_of_one_tensor(tmp_path: Path) -> None:
    """The same address is not enough: what begins where another does may be another part or another view of it."""
    whole = torch.arange(6.0).reshape(2, 3)
    state = {
        "whole": whole, "tied": whole, "first": whole[:1], "turned": whole.T, "flat": whole.view(-1), "none": whole[:0],
        "nothing": torch.zeros(0), "nothing else": torch.zeros(0),
    }  # fmt: skip
    kept = tensors.once(state)
    assert kept.keys() == state.keys() - {"tied"} and kept["whole"] is whole
    assert all(torch.equal(kept[key], state[key]) and kept[key].is_contiguous() for key in kept)
    save_file(kept, tmp_path / "x.safetensors")  # which refuses tensors that share memory
    assert tensors.load(tmp_path / "x.safetensors")["first"].tolist() == [[0, 1, 2]]


def test_rows_as_they_lie_in_a_file(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(3)}, tmp_path / "model-1.safetensors")
    matrix = torch.arange(20.0).reshape(10, 2)
    save_file({"wte.weight": matrix}, tmp_path / "model-2.safetensors")
    for name in ("wte.weight", "transformer.wte.weight"):
        held = tensors.every_row(tmp_path, name, 4)
        assert held is not None and torch.equal(held, matrix[::4])
    assert tensors.every_row(tmp_path, "lm_head.weight", 4) is None
    (tmp_path / "model-0.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ModelError, match=r"model-0\.safetensors cannot be read"):
        tensors.every_row(tmp_path, "wte.weight", 4)
