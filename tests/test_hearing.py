"""Nano's audio side: onnxruntime and numpy give what torch taught, whatever else is heard at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import EXAMPLES, noise

from mats_model.audio import source, windows
from mats_model.clap.layers import head_shapes, tower_shapes
from mats_model.clap.logmel import LogMel
from mats_model.clap.mels import BANKS
from mats_model.clap.nano import NanoClap
from mats_model.clap.nano_audio import NanoAudio
from mats_model.clap.spectrum import ROW, log_mel, rows
from mats_model.clap.tower import AudioTower
from mats_model.mats import Mats
from mats_model.onnx import Graph


@pytest.fixture(scope="module")
def waves() -> np.ndarray:
    """Windows of the examples (w, s), and one of noise."""
    cut = [each for path in sorted(EXAMPLES.glob("*.ogg")) for each in windows(source(path), 32_000, 160_000)]
    return np.stack([*(each.samples for each in cut), noise(5.0)])


def clap_of(mats: Mats) -> NanoClap:
    assert isinstance(mats.clap, NanoClap)
    return mats.clap


@torch.inference_mode()
def test_as_in_torch(nano: Mats, waves: np.ndarray) -> None:
    taught = NanoAudio.of(clap_of(nano))(torch.from_numpy(waves)).numpy()
    assert np.abs(nano.clap.embed_windows(waves) - taught).max() < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("hidden", [0, 24])
def test_head_with_and_without_a_hidden_layer(nano: Mats, waves: np.ndarray, hidden: int) -> None:
    clap, rng = NanoClap(clap_of(nano).text.tokenizer_json, hidden), np.random.default_rng(0)
    for name, value in clap.tower.items():
        value[...] = clap_of(nano).tower[name]
    for value in clap.head.values():
        value[...] = rng.normal(0.0, 0.05, value.shape)
    taught = NanoAudio.of(clap)(torch.from_numpy(waves)).numpy()
    assert np.abs(clap.embed_windows(waves) - taught).max() < 2e-5 * np.abs(taught).max()


def test_windows_keep_no_company(nano: Mats, waves: np.ndarray) -> None:
    together = nano.clap.embed_windows(waves)
    assert np.array_equal(together[::-1], nano.clap.embed_windows(waves[::-1]))
    assert np.array_equal(together, np.stack([nano.clap.embed_alone(wave) for wave in waves]))
    with ThreadPoolExecutor(5) as pool:
        for heard in pool.map(nano.clap.embed_windows, [waves] * 5):
            assert np.array_equal(heard, together)


def test_shapes_are_those_that_torch_teaches() -> None:
    taught = NanoAudio(hidden=32)
    for part, shapes in ((taught.tower, tower_shapes()), (taught.head, head_shapes(256, 32))):
        # in the same order, of which the id is made
        assert [(name, tuple(value.shape)) for name, value in part.state_dict().items()] == list(shapes.items())


def test_ids_stay(nano: Mats) -> None:
    clap = clap_of(nano)
    other = NanoClap(clap.text.tokenizer_json, len(clap.head.get("up.bias", ())))
    other.text = clap.text
    assert other.id != clap.id and other.space == clap.space
    for own, given in ((other.tower, clap.tower), (other.head, clap.head)):
        for name in own:
            own[name][:] = given[name]
    assert other.id == clap.id


@pytest.mark.parametrize("seconds", [5.0, 0.31, 0.05])
def test_log_mel_as_in_torch(seconds: float) -> None:
    graph, spec, wave = Graph(), BANKS["nano"], noise(seconds, BANKS["nano"].sample_rate)
    graph.output(log_mel(graph, graph.input("rows", [1, "count", ROW]), spec), [1, 1, spec.n_mels, "frames"])
    got = graph.session()(rows=rows(wave, spec))
    expected = AudioTower.scaled(LogMel("nano")(torch.from_numpy(wave)[None])).numpy()
    assert got.dtype == np.float32 and got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=5e-5)


def test_a_graph_says_what_was_written(tmp_path: Path) -> None:
    graph, weight = Graph(), np.arange(400, dtype=np.float32).reshape(4, 100) / 7
    graph.weight("w", weight)
    x = graph.input("x", ["rows", 100])
    made = graph.node("HardSigmoid", graph.node("Gemm", x, "w", transB=1, alpha=0.5), alpha=0.01, beta=0.25)
    graph.output(made, ["rows", 4])
    session = onnxruntime.InferenceSession(graph.model(), providers=["CPUExecutionProvider"])
    given = np.random.default_rng(0).standard_normal((3, 100)).astype(np.float32)
    expected = np.clip(0.01 * 0.5 * given @ weight.T + 0.25, 0, 1)
    np.testing.assert_allclose(session.run(None, {"x": given})[0], expected, atol=1e-5)
    assert session.get_inputs()[0].shape == ["rows", 100] and session.get_inputs()[0].name == "x"


def test_what_is_lent_is_read_where_it_lies() -> None:
    graph, weight = Graph(), np.ones((2, 100), np.float32)
    graph.output(graph.node("Gemm", graph.input("x", [1, 100]), graph.lent("w", weight), transB=1), [1, 2])
    network, x = graph.session(), np.ones((1, 100), np.float32)
    assert network(x=x).tolist() == [[100, 100]]
    weight[1] = 2
    assert network(x=x).tolist() == [[100, 200]]
