"""A recipe as it was run, and what differs between two runs."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from mats_model.config import SearchSettings
from mats_model.training.recipe import HeldOutSettings, LoopSettings, TextRecipe
from mats_model.training.sources import SourceSettings

# settings of `train` that a run may go on with in other values
FREE = ("evaluate_every", "sample_every", "save_every", "keep", "micro_batch", "checkpointing")


def written(recipe: TextRecipe) -> str:
    """The recipe as run, all settings spelled out, as YAML."""
    import yaml

    return str(yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True))


def decisive(recipe: TextRecipe) -> TextRecipe:
    """The recipe without what only decides how often it is looked at, which of its weights are kept, and how much
    memory a step takes: a run whose memory ran out goes on in smaller pieces."""
    usual, held, search = LoopSettings(), HeldOutSettings(), SearchSettings()
    looks = {name: getattr(usual, name) for name in FREE}
    train = replace(recipe.train, **looks)
    return replace(
        recipe,
        train=train,
        held_out=replace(held, share=recipe.held_out.share, most=recipe.held_out.most),
        search=search,
    )


def differences(one: str, other: str) -> str:
    """What differs between two recipes as written, in words; "" where nothing does. A setting that one of them does not
    know yet counts as its default there, so that a run outlives a version of mats."""
    import yaml

    usual = _flat(asdict(TextRecipe()))
    usual_source = _flat(asdict(SourceSettings()))

    def whole(text: str) -> dict[str, Any]:
        values = _flat(yaml.safe_load(text))
        sources = {name.split(".")[1] for name in values if name.startswith("sources.")}
        return {
            **usual,
            **{f"sources.{n}.{key}": value for n in sources for key, value in usual_source.items()},
            **values,
        }

    a, b = whole(one), whole(other)
    return ", ".join(
        f"{key} was {a.get(key)!r} and is {b.get(key)!r}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key) and key not in {f"train.{name}" for name in FREE}
    )[:200]


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, list) and values and isinstance(values[0], dict):
        values = dict(enumerate(values))
    if isinstance(values, dict):
        return {name: each for key, value in values.items() for name, each in _flat(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): values}
