"""The library built by a Ray cluster of two nodes on one machine, as by one process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import encoded, noise

from mats_model.library.store import Library

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is an extra: pip install 'mats[ray]'")


@pytest.fixture
def address() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield str(cluster.address)
    cluster.shutdown()


def test_two_nodes_make_the_same_library(tmp_path: Path, address: str) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.wav").write_bytes(encoded(noise(6, seed=number // 2)))
    (folder / "words.wav").write_text("not a sound")

    def index(name: str, *more: str) -> dict[str, object]:
        env = {**os.environ, "RAY_ADDRESS": address, "RAY_USAGE_STATS_ENABLED": "0"}
        command = [
            sys.executable,
            "-m",
            "mats_cli",
            "index",
            "library",
            str(folder),
            "--index",
            str(tmp_path / name),
            "--json",
            *more,
        ]
        done = subprocess.run(command, capture_output=True, env=env, timeout=240, check=False)
        assert done.returncode == 3, done.stderr.decode()
        return dict(json.loads(done.stdout))

    one, two = index("one.db"), index("two.db", "--engine", "ray")
    same = ("new", "files", "sounds", "windows", "seconds", "failed")
    assert [two[key] for key in same] == [one[key] for key in same] and one["sounds"] == 6
    with Library(tmp_path / "one.db") as a, Library(tmp_path / "two.db") as b:
        for path in sorted(str(path) for path in folder.glob("[0-9]*.wav")):
            vectors = [store.matrix(path).vectors for store in (a, b)]
            assert len(vectors[0]) == 2 and np.array_equal(*vectors)
        assert index("two.db", "--engine", "ray")["same"] == 12
