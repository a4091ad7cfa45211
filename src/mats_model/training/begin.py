"""The model that a run begins with: `from_scratch`, of the recipe's sizes, or `from_model`, whose mapper and language
model it goes on with. Each refuses settings that it would not look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mats_model.clap.protocol import Clap
from mats_model.clap.published import PublishedClap
from mats_model.config import MatsConfig
from mats_model.device import find_device
from mats_model.errors import UsageError
from mats_model.gap.memory import DiskMemory
from mats_model.gap.noise import noised
from mats_model.gap.santa import Santa
from mats_model.llm.protocol import LanguageModel
from mats_model.llm.words import learn_tokenizer, vocabulary_size
from mats_model.mats import Mats
from mats_model.tensors import take
from mats_model.training.recipe import NO_FLOAT16, TextRecipe, refuse_unheeded
from mats_model.training.sources import TextExample, read_names
from mats_model.training.texts import locate
from mats_model.weights.encoders import load_encoder
from mats_model.weights.folder import WEIGHTS, Kept, read, read_config, tensors_of
from mats_model.weights.loading import borrowed_clap, build, load_llm
from mats_model.weights.resolve import resolve


@dataclass(frozen=True)
class Given:
    """What a recipe is carried out with."""

    recipe: TextRecipe
    told: list[list[TextExample]]  # what is trained on, by source
    data: Path  # folder of the recipe's files
    device: str = "auto"
    force: bool = False  # 4 bits also where they are slow
    clap: Clap | None = None  # in the place of the encoder that the recipe names, as while a new one is made


@dataclass(frozen=True)
class _Memory:
    """Santa's, before it is clustered; texts for each of the embeddings, or for none."""

    captions: list[str]
    vectors: np.ndarray  # (m, d)
    name_texts: list[str]
    names: np.ndarray  # (c, d)
    taught: dict[str, np.ndarray]  # the user's own words, and the mean (d,) of the descriptions of each


def begin(given: Given) -> Mats:
    """Encoder, memory, mapper and language model of a recipe, before any training. Errors: MatsError."""
    return from_model(given) if given.recipe.start else from_scratch(given)


def from_scratch(given: Given) -> Mats:
    """Mapper and small decoder, or LoRA, drawn from torch's generator. Errors: MatsError."""
    recipe = given.recipe
    refuse_unheeded(recipe)
    clap, config = _encoder(given)
    config = replace(
        config, name=recipe.name, clap=recipe.clap, mapper=recipe.mapper, llm=recipe.llm, decoder=recipe.decoder,
        santa=recipe.santa, search=recipe.search,
    )  # fmt: skip
    memory = _memory(given, clap)
    tokenizer = ""
    if config.llm.kind == "decoder":
        answers = [example.answer for part in given.told for example in part]
        tokenizer = learn_tokenizer(answers, config.decoder.vocabulary)
        # few texts have fewer pieces than were asked for
        config = replace(config, decoder=replace(config.decoder, vocabulary=vocabulary_size(tokenizer)))
    return _composed(given, config, clap, memory, tokenizer)


def from_model(given: Given) -> Mats:
    """The weights of the model that the recipe starts from, and its memory beside the new texts. Errors: MatsError."""
    recipe = given.recipe
    refuse_unheeded(recipe)
    folder = resolve(recipe.start, "model").found()
    start = read(folder)
    if start.config.audio:
        raise UsageError(
            f"start: {recipe.start} hears with an audio side of its own, which a run on text does not go on with: "
            "begin from another."
        )
    clap, _ = _encoder(given)
    if start.config.width != clap.dim:
        raise UsageError(
            f"start: {recipe.start} hears in {start.config.width} numbers, the encoder {recipe.clap} gives "
            f"{clap.dim}: leave start out."
        )
    own = start.config
    config = MatsConfig(
        name=recipe.name, width=own.width, label_scale=own.label_scale, multi_scale=own.multi_scale,
        multi_bias=own.multi_bias, background=own.background, clap=recipe.clap, mapper=own.mapper, llm=own.llm,
        decoder=own.decoder, santa=recipe.santa, search=recipe.search,
    )  # fmt: skip
    memory = _joined(start, _memory(given, clap), recipe)
    mats = _composed(given, config, clap, memory, start.tokenizer)
    trained = [
        {key: value for key, value in some.items() if key.startswith(("mapper.", "llm."))}
        for some in (tensors_of(mats), start.state)
    ]
    take(trained[0], trained[1], str(folder / WEIGHTS))
    return mats


def embedding_width(recipe: TextRecipe) -> int:
    """d of the encoder that a recipe names; a published one is read for it. Errors: ModelError."""
    if recipe.start:
        return read_config(resolve(recipe.start, "model").found()).width
    hears = resolve(recipe.clap, "encoder")
    return load_encoder(hears.found()).clap.dim if hears.kind == "encoder" else read_config(hears.found()).width


def _encoder(given: Given) -> tuple[Clap, MatsConfig]:
    """What reads the texts, on a GPU if it is a published one and there is one; and a config of its width and scales.
    Errors: MatsError."""
    name = given.recipe.clap
    if given.clap is not None:
        return given.clap, MatsConfig(width=given.clap.dim)
    hears = resolve(name, "encoder")
    if hears.kind == "model":
        own = read_config(hears.found())
        scales = {each: getattr(own, each) for each in ("label_scale", "multi_scale", "multi_bias", "background")}
        config = MatsConfig(width=own.width, clap=name, **scales)
        return borrowed_clap(config), config
    clap = load_encoder(hears.found()).clap
    move_published(clap, find_device(given.device))
    # how sure it is of a label, a published encoder says itself
    return clap, MatsConfig(width=clap.dim, label_scale=0.0)


def move_published(clap: Clap, device: str) -> None:
    """A published encoder to a CUDA device, where its texts are embedded, or to the CPU; nano's stays where it is."""
    # Apple's GPUs are left out: not every step of the towers is known to run there
    if isinstance(clap, PublishedClap) and device.split(":")[0] in ("cuda", "cpu"):
        clap.to(device)


def _composed(given: Given, config: MatsConfig, clap: Clap, memory: _Memory, tokenizer: str) -> Mats:
    """The model around an encoder and a memory. Errors: MatsError."""
    recipe = given.recipe
    variance = recipe.noise.variance if recipe.noise.variance >= 0 else 0.015 * 1024 / clap.dim
    size = len(memory.vectors)
    santa = replace(config.santa, size=size, clusters=min(config.santa.clusters, size), names=len(memory.names))
    santa = replace(santa, taught=len(memory.taught))
    config = replace(config, santa=santa, space=clap.space, noise_variance=variance)
    config, llm = _language_model(given, config, tokenizer)
    mats = build(config, clap, llm)
    taught = np.stack([*memory.taught.values()]) if memory.taught else None
    mats.santa = Santa.build(memory.vectors, santa, seed=recipe.memory.seed, names=memory.names, taught=taught)
    mats.santa.captions, mats.santa.name_texts = memory.captions, memory.name_texts
    mats.santa.taught_texts = list(memory.taught)
    return mats


def _language_model(given: Given, config: MatsConfig, tokenizer: str) -> tuple[MatsConfig, LanguageModel]:
    """A base's fingerprint enters the config. Errors: ModelError, DeviceError."""
    train = given.recipe.train
    if config.llm.dtype == "float16":
        raise UsageError(f"llm.dtype of {given.recipe.start or 'the recipe'} is float16: {NO_FLOAT16}.")
    llm = load_llm(config, given.device, tokenizer, train.dropout, given.force)
    if config.llm.kind == "transformers":
        from mats_model.llm.huggingface import HubLLM

        assert isinstance(llm, HubLLM)
        config = replace(config, llm=replace(config.llm, fingerprint=llm.fingerprint))
        if train.checkpointing:
            llm.recompute()
    return config, llm


# ---- the memory


def _memory(given: Given, clap: Clap) -> _Memory:
    """Of a memory folder, or of texts that are trained on. Errors: ModelError, MismatchError, UsageError."""
    settings, data = given.recipe.memory, given.data
    if settings.file:
        disk = DiskMemory(data / settings.file, clap.space)
        vectors = disk.every()
        captions = disk.texts(list(range(len(vectors))))
    else:
        captions = memory_texts(given.recipe, given.told)
        generator = torch.Generator().manual_seed(settings.seed)
        vectors = noised(clap.embed_text(captions), settings.variance, generator).numpy()
    name_texts = read_names(locate(settings.names, data)) if settings.names else []
    names = clap.embed_text(name_texts) if settings.names else vectors[:0]
    return _Memory(captions, vectors, name_texts, names, _taught(given, clap))


def _joined(start: Kept, new: _Memory, recipe: TextRecipe) -> _Memory:
    """The memory of the model that is gone on with, and what is new beside it; a memory folder takes its place."""
    captions, vectors = new.captions, new.vectors
    if not recipe.memory.file:
        known = set(start.captions)
        added = [place for place, text in enumerate(captions) if text not in known]
        vectors = np.concatenate([start.state["santa.memory"].float().numpy(), vectors[added]])
        kept = len(start.captions) == start.config.santa.size
        captions = start.captions + [captions[place] for place in added] if kept else []
    taught = new.taught
    if start.taught_texts:
        before = start.state["santa.taught"].float().numpy()
        taught = dict(zip(start.taught_texts, before, strict=True)) | new.taught
    if recipe.memory.names or not start.config.santa.names:
        name_texts = new.name_texts or start.name_texts
        return _Memory(captions, vectors, name_texts, new.names, taught)
    return _Memory(captions, vectors, start.name_texts, start.state["santa.names"].float().numpy(), taught)


def _taught(given: Given, clap: Clap) -> dict[str, np.ndarray]:
    """Each answer of the sources that teach words -> the mean of the texts that it answers. Errors: UsageError for a
    source that the recipe does not have."""
    recipe, wanted = given.recipe, given.recipe.memory.taught
    by_name = {source.known_as: told for source, told in zip(recipe.sources, given.told, strict=True)}
    if missing := [name for name in wanted if name not in by_name]:
        raise UsageError(f"memory.taught: there is no source of the name {missing[0]}.")
    texts: dict[str, list[str]] = {}
    for example in (example for name in wanted for example in by_name[name]):
        texts.setdefault(example.answer, []).append(example.text)
    return {word: clap.embed_text(some).mean(0) for word, some in texts.items()}


def memory_texts(recipe: TextRecipe, parts: list[list[TextExample]]) -> list[str]:
    """Texts of the training captions and labels: all of the sources that enter whole, the rest drawn with a seed."""
    memory = recipe.memory
    names = [source.known_as for source in recipe.sources]
    # a taught word is known by the mean of its texts, so that what is said of other sounds stays as it was
    sources, parts = (
        [name for name in names if name not in memory.taught],
        [part for name, part in zip(names, parts, strict=True) if name not in memory.taught],
    )
    first = {e.text: None for name, part in zip(sources, parts, strict=True) if name in memory.whole for e in part}
    texts = sorted(
        {e.text for part in parts for e in part if not memory.max_words or len(e.text.split()) <= memory.max_words}
        - first.keys()
    )
    texts = texts or sorted({e.text for part in parts for e in part} - first.keys())
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(memory.seed))
    return [*first, *(texts[place] for place in order.tolist())][: memory.captions]
