"""Sounds made on the spot, the shipped model loaded once, and the program run as a user runs it."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import browser
import numpy as np
import program
import pytest
import soundfile
import torch

from mats_model import load
from mats_model.mats import Mats

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def noise(seconds: float, sample_rate: int = 32_000, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """White noise, float32 (s,)."""
    return (np.random.default_rng(seed).standard_normal(round(seconds * sample_rate)) * level).astype(np.float32)


def encoded(wave: np.ndarray, sample_rate: int = 32_000, kind: str = "WAV", subtype: str | None = "FLOAT") -> bytes:
    """The bytes of a sound file."""
    sink = io.BytesIO()
    soundfile.write(sink, wave, sample_rate, format=kind, subtype=subtype)
    return sink.getvalue()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    """A Chromium without a window."""
    if (chromium := browser.found()) is None:
        pytest.skip(f"there is no Chromium: none of {', '.join(browser.NAMES)}")
    with browser.Browser(chromium, tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture(scope="session")
def nano() -> Mats:
    """The model as shipped; one thread, as the program runs it."""
    torch.set_num_threads(1)
    return load()


@pytest.fixture(scope="session")
def dog() -> Path:
    """A real recording."""
    return EXAMPLES / "dog.ogg"


Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def mats(tmp_path: Path) -> Run:
    """`mats("caption", "a.wav")` in an empty folder, as a process of its own."""

    def run(*words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
        return program.run([str(word) for word in words], tmp_path, env, stdin, 120)

    return run
