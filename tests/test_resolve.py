"""Where a name leads: one table for models, encoders and bases, here or to be fetched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mats_model.errors import ModelError
from mats_model.weights.catalogue import INSIDE, place_of
from mats_model.weights.loading import load_ears
from mats_model.weights.resolve import resolve


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing was fetched."""
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MATS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def made(folder: Path, config: dict[str, object]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("name", "asked", "kind", "fetchable"),
    [
        ("mats-llama", "model", "model", True),
        ("no-such", "model", "model", False),
        ("owner/name", "model", "model", True),
        ("smollm2-135m", "base", "base", True),
        ("smollm2-135m", "model", "model", False),
        ("msclap-2023", "encoder", "encoder", True),
        ("630k-best.pt", "encoder", "encoder", True),
        ("owner/name", "encoder", "encoder", True),
        ("mine.pt", "encoder", "encoder", False),
        # a model whose encoder is borrowed hears as well, and a bare word is meant for one
        ("mats-llama", "encoder", "model", True),
        ("no-such", "encoder", "model", False),
        ("openai-community/gpt2", "encoder", "encoder", False),
        ("msclap-2023", "", "encoder", True),
        ("no-such", "", "model", False),
    ],
)
def test_what_is_not_here(name: str, asked: str, kind: str, fetchable: bool) -> None:
    place = resolve(name, asked)
    assert (place.name, place.kind, place.path, place.entry is not None) == (name, kind, None, fetchable)
    said = "is not here: `mats models pull" if fetchable else "there is no "
    with pytest.raises(ModelError, match=said):
        place.found()


def test_what_is_here(tmp_path: Path) -> None:
    for asked in ("model", "encoder", ""):
        assert resolve("nano", asked).found() == INSIDE["nano"] and resolve("nano", asked).kind == "model"
    for name, kind, config in (
        ("msclap-2023", "encoder", {"model_type": "clap"}),
        ("smollm2-135m", "base", {}),
        ("mats-llama", "model", {"mapper": {}}),
    ):
        folder = made(place_of(name, kind), config)
        assert resolve(name, kind).found() == resolve(name).found() == folder and resolve(name).kind == kind
    # a path of the user's, of whatever kind it is
    assert resolve(str(made(tmp_path / "m", {"mapper": {}})), "encoder").kind == "model"
    assert resolve(str(made(tmp_path / "e", {"model_type": "clap"})), "encoder").kind == "encoder"
    (tmp_path / "x.pt").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    assert resolve("x.pt", "encoder").path == Path("x.pt") and resolve("notes.txt", "encoder").path is None
    # a folder that happens to be called so is not nano
    made(tmp_path / "nano", {"mapper": {}})
    assert resolve("nano", "encoder").path == INSIDE["nano"]


def test_what_other_programs_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable, cache in (("HF_HOME", tmp_path / "a" / "hub"), ("HF_HUB_CACHE", tmp_path / "b")):
        monkeypatch.setenv(variable, str(tmp_path / variable if variable == "HF_HOME" else cache))
        kept = (tmp_path / "HF_HOME" / "hub" if variable == "HF_HOME" else cache) / "models--owner--name"
        (kept / "refs").mkdir(parents=True)
        (kept / "refs" / "main").write_text("abc\n")
        folder = made(kept / "snapshots" / "abc", {})
        assert resolve("owner/name", "base").path is None  # no weights
        (folder / "model.safetensors").write_bytes(b"")
        assert resolve("owner/name", "base").found() == folder and resolve("owner/name", "model").path is None


def test_models_that_borrow_in_a_circle(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        made(tmp_path / name, {"format": 1, "clap": other})
    with pytest.raises(ModelError, match="'a' is borrowed from a model that borrows it"):
        load_ears("a")
    # also where each has an audio side of its own
    for name, other in (("c", "d"), ("d", "c")):
        made(tmp_path / name, {"format": 1, "clap": other, "audio": "msclap"})
    with pytest.raises(ModelError, match="'c' is borrowed from a model that borrows it"):
        load_ears("c")
