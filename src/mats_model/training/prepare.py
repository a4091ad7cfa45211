"""Everything that a text-only run needs before its first step: texts read, embedded and tokenized, the model built."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mats_model.clap.protocol import Clap
from mats_model.config import MatsConfig
from mats_model.device import place
from mats_model.errors import UsageError
from mats_model.gap.memory import DiskMemory
from mats_model.gap.noise import noised
from mats_model.gap.santa import Santa
from mats_model.llm.words import learn_tokenizer, vocabulary_size
from mats_model.mats import Mats
from mats_model.places import cache
from mats_model.training.batches import Data, Note, encode, split
from mats_model.training.embeddings import TextCache
from mats_model.training.recipe import TextRecipe
from mats_model.training.sources import CaptionSource, SourceSettings, TextExample, read_names, read_source
from mats_model.weights.encoders import is_encoder, load_encoder
from mats_model.weights.folder import borrowed_clap, build, load_llm, read, read_config, take, tensors
from mats_model.weights.resolve import find, find_encoder, here, locate


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
        more = f", {source.duplicates} duplicates" if source.duplicates else ""
        yield Note(
            f"{source.name}: {len(source.examples)} examples{more}"
            + (f", {len(source.bad)} bad rows skipped" if source.bad else "")
        )
        yield from (Note(str(bad)) for bad in source.bad[:5])
        if len(source.bad) > 5:
            yield Note(f"... and {len(source.bad) - 5} more in {source.name} (--strict stops at the first)")
    parts = [split(source, recipe.held_out.share, recipe.held_out.most) for source in sources]
    if not all(told for told, _ in parts):
        raise UsageError(f"held_out.share {recipe.held_out.share:g} leaves nothing of a source to train on: lower it.")
    mats = make_model(recipe, [told for told, _ in parts], data, device, force, clap)
    clap, llm, variance = mats.clap, mats.llm, mats.config.noise_variance
    cosine = 1 / math.sqrt(1 + variance * clap.dim)
    yield Note(
        f"santa: {mats.santa.settings.size} texts in {mats.santa.settings.clusters} clusters; noise variance "
        f"{variance:.4f}, cosine {cosine:.2f}"
    )
    store = TextCache(cache() / "text", clap.space, clap.dim)
    held = [example for _, out in parts for example in out][: recipe.held_out.most]
    names = torch.from_numpy(clap.embed_text(read_names(data / recipe.noise.names))) if recipe.noise.names else None
    taught = [(told, source.settings) for (told, _), source in zip(parts, sources, strict=True)]
    told = yield from encode(taught, llm, clap, store, recipe.noise, recipe.train, names)
    held_out = (
        (yield from encode([(held, SourceSettings())], llm, clap, store, recipe.noise, recipe.train)) if held else None
    )
    where = place(mats.config.llm, device, force).device
    yield Prepared(recipe, mats, told, held_out, names if recipe.noise.tags else None, where)


def make_model(
    recipe: TextRecipe, told: list[list[TextExample]], data: Path, device: str, force: bool, clap: Clap | None = None
) -> Mats:
    """Encoder, memory, mapper and language model of a recipe, before any training. Errors: MatsError."""
    start = read(find(recipe.start)) if recipe.start else None
    borrowed = clap is None and (here(recipe.clap, "model") is None or is_encoder(find(recipe.clap)))
    like = MatsConfig() if clap is not None or borrowed else read_config(find(recipe.clap))
    if borrowed:
        # how sure it is of a label, a published encoder says itself
        clap = load_encoder(find_encoder(recipe.clap)).clap
        like = replace(like, width=clap.dim, label_scale=0.0)
    if start:
        like = start.config
    config = MatsConfig(
        name=recipe.name, width=like.width, label_scale=like.label_scale, multi_scale=like.multi_scale,
        multi_bias=like.multi_bias,
        clap=recipe.clap, mapper=recipe.mapper, llm=recipe.llm, decoder=recipe.decoder, santa=recipe.santa,
        search=recipe.search,
    )  # fmt: skip
    if start:
        config = replace(config, mapper=like.mapper, llm=like.llm, decoder=like.decoder)
    clap = clap or borrowed_clap(config, locate)
    if start and start.config.width != clap.dim:
        raise UsageError(
            f"start: {recipe.start} hears in {start.config.width} numbers, the encoder {recipe.clap} gives "
            f"{clap.dim}: leave start out."
        )
    if start and start.config.audio:
        raise UsageError(
            f"start: {recipe.start} hears with an audio side of its own, which a run on text does not go on with: "
            "begin from another."
        )
    variance = recipe.noise.variance if recipe.noise.variance >= 0 else 0.015 * 1024 / clap.dim
    captions, vectors = memory_of(recipe, told, data, clap)
    if start and not recipe.memory.file:
        known = set(start.captions)
        new = [place for place, text in enumerate(captions) if text not in known]
        vectors = np.concatenate([start.state["santa.memory"].float().numpy(), vectors[new]])
        # texts are kept for each of the embeddings, or for none
        captions = (
            start.captions + [captions[place] for place in new]
            if len(start.captions) == start.config.santa.size
            else []
        )
    name_texts = read_names(data / recipe.memory.names) if recipe.memory.names else start.name_texts if start else []
    names = vectors[:0]
    if recipe.memory.names:
        names = clap.embed_text(name_texts)
    elif start and start.config.santa.names:
        names = start.state["santa.names"].float().numpy()
    santa = replace(
        config.santa, size=len(vectors), clusters=min(config.santa.clusters, len(vectors)), names=len(names)
    )
    config = replace(config, santa=santa, space=clap.space, noise_variance=variance)
    tokenizer = ""
    if start and start.tokenizer:
        tokenizer = start.tokenizer
    elif config.llm.kind == "decoder":
        tokenizer = learn_tokenizer([example.answer for part in told for example in part], config.decoder.vocabulary)
        # few texts have fewer pieces than were asked for
        config = replace(config, decoder=replace(config.decoder, vocabulary=vocabulary_size(tokenizer)))
    llm = load_llm(config, locate, device, tokenizer, recipe.train.dropout, force)
    if config.llm.kind == "transformers":
        from mats_model.llm.bases import fingerprint
        from mats_model.llm.huggingface import HubLLM

        assert isinstance(llm, HubLLM)
        config = replace(config, llm=replace(config.llm, fingerprint=fingerprint(llm.base)))
        if recipe.train.checkpointing:
            llm.recompute()
    mats = build(config, clap, llm)
    mats.santa = Santa.build(vectors, santa, seed=recipe.memory.seed, names=names)
    mats.santa.captions, mats.santa.name_texts = captions, name_texts
    if start:
        learnt = ("mapper.", "llm.")
        own, theirs = (
            {key: value for key, value in some.items() if key.startswith(learnt)}
            for some in (tensors(mats), start.state)
        )
        take(own, theirs, find(recipe.start))
    return mats


def memory_of(
    recipe: TextRecipe, told: list[list[TextExample]], data: Path, clap: Clap
) -> tuple[list[str], np.ndarray]:
    """Texts, and their embeddings (m, d): of a memory folder, or of texts that are trained on. Errors: ModelError,
    MismatchError."""
    if recipe.memory.file:
        memory = DiskMemory(data / recipe.memory.file, clap.space)
        vectors = memory.every()
        return memory.texts(list(range(len(vectors)))), vectors
    texts = memory_texts(recipe, told)
    generator = torch.Generator().manual_seed(recipe.memory.seed)
    return texts, noised(clap.embed_text(texts), recipe.memory.variance, generator).numpy()


def memory_texts(recipe: TextRecipe, parts: list[list[TextExample]]) -> list[str]:
    """Texts of the training captions and labels: all of the sources that enter whole, the rest drawn with a seed."""
    memory = recipe.memory
    sources = [source.name or source.file for source in recipe.sources]
    first = {e.text: None for name, part in zip(sources, parts, strict=True) if name in memory.whole for e in part}
    texts = sorted(
        {e.text for part in parts for e in part if not memory.max_words or len(e.text.split()) <= memory.max_words}
        - first.keys()
    )
    texts = texts or sorted({e.text for part in parts for e in part} - first.keys())
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(memory.seed))
    return [*first, *(texts[place] for place in order.tolist())][: memory.captions]
