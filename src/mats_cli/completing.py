"""What the tab key offers for values: formats, models, devices, searches. Where nothing is, the shell offers files."""

from __future__ import annotations

from mats_cli.formats import FORMATS

DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")


def formats(incomplete: str) -> list[str]:
    """Of --format."""
    return [name for name in FORMATS if name.startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Of --device."""
    return [name for name in DEVICES if name.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Of --model; a path is completed by the shell."""
    return _named("model", incomplete)


def encoders(incomplete: str) -> list[str]:
    """Of --clap."""
    return _named("encoder", incomplete)


def bases(incomplete: str) -> list[str]:
    """Of --llm."""
    return _named("base", incomplete)


def quantize(incomplete: str) -> list[str]:
    """Of --quantize."""
    return [name for name in ("none", "int8", "nf4", "auto") if name.startswith(incomplete)]


def anything(incomplete: str) -> list[str]:
    """A name of `mats models`."""
    return [name for kind in ("model", "encoder", "base", "data") for name in _named(kind, incomplete)]


def _named(kind: str, incomplete: str) -> list[str]:
    """What is known by name, and what was fetched or imported under others."""
    from mats_model.weights.catalogue import ENTRIES, kept_in

    known = [entry.name for entry in ENTRIES.values() if entry.kind == kind]
    try:
        here = [path.name.replace("--", "/") for path in sorted(kept_in(kind).iterdir())]
    except OSError:
        here = []
    names = dict.fromkeys([*known, *(name for name in here if not name.startswith("."))])
    return [name for name in names if name.startswith(incomplete)]
