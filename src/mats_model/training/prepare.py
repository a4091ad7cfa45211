"""What a run needs before its first step: texts read, embedded and tokenized, the model built."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mats_model.clap.protocol import Clap
from mats_model.device import place
from mats_model.errors import UsageError
from mats_model.mats import Mats
from mats_model.places import cache
from mats_model.training.batches import Data, encode, split
from mats_model.training.begin import Given, begin, move_published
from mats_model.training.embeddings import TextCache
from mats_model.training.events import Note
from mats_model.training.recall import gathered, recalled
from mats_model.training.recipe import TextRecipe
from mats_model.training.sources import CaptionSource, SourceSettings, read_names, read_source

_SHOWN = 5  # bad rows of a source


@dataclass
class Prepared:
    """All that a run needs, before its first step."""

    recipe: TextRecipe
    mats: Mats
    data: Data
    held_out: Data | None
    names: torch.Tensor | None
    device: torch.device


def read_all(recipe: TextRecipe, data: Path, strict: bool) -> list[CaptionSource]:
    """Every source of a recipe. Errors: UsageError."""
    return [read_source(source, data, strict) for source in recipe.sources]


def prepare(
    recipe: TextRecipe,
    data: Path,
    device: str = "auto",
    strict: bool = False,
    force: bool = False,
    clap: Clap | None = None,
) -> Iterator[Note | Prepared]:
    """Read, embed and build; yields what to say, then the `Prepared`. `clap` stands in for the encoder that the recipe
    names, as while a new one is made. Errors: MatsError."""
    torch.manual_seed(recipe.train.seed)
    sources = read_all(recipe, data, strict)
    for source in sources:
        yield from _said(source)
    parts = [split(source, recipe.held_out.share, recipe.held_out.most) for source in sources]
    if not all(told for told, _ in parts):
        raise UsageError(f"held_out.share {recipe.held_out.share:g} leaves nothing of a source to train on: lower it.")
    mats = begin(Given(recipe, [told for told, _ in parts], data, device, force, clap))
    clap, llm, variance = mats.clap, mats.llm, mats.config.noise_variance
    cosine = 1 / math.sqrt(1 + variance * clap.dim)
    yield Note(
        f"santa: {mats.santa.settings.size} texts in {mats.santa.settings.clusters} clusters; noise variance "
        f"{variance:.4f}, cosine {cosine:.2f}"
    )
    store = TextCache(cache() / "text", clap.space, clap.dim)
    held = [example for _, out in parts for example in out][: recipe.held_out.most]
    names = torch.from_numpy(clap.embed_text(read_names(data / recipe.noise.names))) if recipe.noise.names else None
    texts = gathered(recipe, [told for told, _ in parts])
    taught = [(some, source.settings) for some, source in zip(texts, sources, strict=True)]
    taught += yield from recalled(mats, recipe, texts)
    told = yield from encode(taught, llm, clap, store, recipe.noise, recipe.train, names)
    held_out = (
        (yield from encode([(held, SourceSettings())], llm, clap, store, recipe.noise, recipe.train)) if held else None
    )
    # its work is done but for a few samples: the memory is the training's
    move_published(clap, "cpu")
    where = place(mats.config.llm, device, force).device
    yield Prepared(recipe, mats, told, held_out, names if recipe.noise.tags else None, where)


def _said(source: CaptionSource) -> Iterator[Note]:
    """How much there is of a source, and the first of its rows that cannot be used."""
    more = f", {source.duplicates} duplicates" if source.duplicates else ""
    skipped = f", {len(source.bad)} bad rows skipped" if source.bad else ""
    yield Note(f"{source.name}: {len(source.examples)} examples{more}{skipped}")
    yield from (Note(str(bad)) for bad in source.bad[:_SHOWN])
    if len(source.bad) > _SHOWN:
        yield Note(f"... and {len(source.bad) - _SHOWN} more in {source.name}")
