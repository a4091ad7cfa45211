"""What a run needs and has, before it is started: texts, encoder and base by name, each here or to be fetched; what it
would take; and which recipes a machine can train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mats_model.device import Placement, memory
from mats_model.errors import DeviceError, MatsError, ModelError
from mats_model.extras import not_installed
from mats_model.training.estimate import Estimate, configs_of, estimate
from mats_model.training.prepare import read_all
from mats_model.training.recipe import TextRecipe, text_recipe
from mats_model.training.sources import CaptionSource, SourceSettings, TextExample
from mats_model.training.texts import locate
from mats_model.training.values import read_values
from mats_model.weights.catalogue import INSIDE
from mats_model.weights.data_sets import DATA_SETS
from mats_model.weights.folder import read_config
from mats_model.weights.resolve import Place, resolve

_WORDS = 10  # of a caption, about, where it has not been read
# what a base in 4 bits is planned for, where this machine has no CUDA
_CARD = Placement(torch.device("cuda"), torch.bfloat16, "nf4", "a card with CUDA, which this machine lacks")


@dataclass(frozen=True)
class Need:
    """Something that a recipe names and does not hold itself."""

    name: str
    kind: str  # data, encoder, base or model
    path: Path | None  # where it is, if it is here
    licence: str
    megabytes: float  # 0 where nobody knows before it is fetched


@dataclass(frozen=True)
class Plan:
    """`sources` are as read, or as long as their data sets are where `read` is False."""

    needs: list[Need]
    sources: list[CaptionSource]
    read: bool
    estimate: Estimate | None  # None where the sizes of the base are not known before it is here
    cannot: DeviceError | None  # why this machine cannot train it; the estimate is then for one that can
    memory: tuple[str, float]  # the device's name and megabytes
    install: str  # what is to be installed first, "" for nothing

    @property
    def lacking(self) -> list[Need]:
        """What is to be fetched."""
        return [need for need in self.needs if need.path is None]


def plan(
    recipe: TextRecipe, data: Path, device: str = "auto", force: bool = False, strict: bool = False, read: bool = True
) -> Plan:
    """Nothing is fetched. With `read` the texts are read where all of them are here. Errors: MatsError."""
    has = memory(device)
    needs = needs_of(recipe, data)
    read = read and all(need.path for need in needs if need.kind == "data")
    sources = read_all(recipe, data, strict) if read else [_unread(source) for source in recipe.sources]
    cannot: DeviceError | None = None
    found: Estimate | None = None
    try:
        try:
            found = estimate(recipe, sources, device, force)
        except DeviceError as error:
            if configs_of(recipe).llm.quantize != "nf4":
                raise
            cannot = error
            found = estimate(recipe, sources, device, force, _CARD)
    except ModelError:
        # what is not here may have sizes that nobody wrote down
        if not cannot and all(need.path for need in needs):
            raise
    return Plan(needs, sources, read, found, cannot, has, _install(recipe))


def _install(recipe: TextRecipe) -> str:
    """Of libraries that not every install has; those of a model that is not here yet are not known."""
    try:
        llm = configs_of(recipe).llm
    except ModelError:
        return ""
    own = {"transformers": True, "peft": llm.tuning == "lora", "bitsandbytes": llm.quantize == "nf4"}
    wanted = [name for name, used in own.items() if used and llm.kind == "transformers"]
    return not_installed(wanted, f"the language model {llm.base}")


def needs_of(recipe: TextRecipe, data: Path) -> list[Need]:
    """Data sets in the order of the recipe, then encoder, model and base. Errors: ModelError."""
    groups = [(source.data, *source.leave_out, source.names) for source in recipe.sources]
    groups += [(recipe.held_out.data, recipe.noise.names, recipe.memory.names)]
    names = dict.fromkeys(name for group in groups for name in group if name in DATA_SETS)
    needs = [_data_set(name, data) for name in names]
    base = recipe.llm.base if recipe.llm.kind == "transformers" else ""
    if recipe.start:
        start = resolve(recipe.start, "model")
        needs.append(_need(start))
        own = read_config(start.path).llm if start.path else None
        base = own.base if own and own.kind == "transformers" else ""
        more = start.entry.needs if start.entry and not own else ()
        needs += [_need(resolve(name)) for name in more]
    if recipe.clap not in INSIDE:
        needs.append(_need(resolve(recipe.clap, "encoder")))
    return needs + ([_need(resolve(base, "base"))] if base else [])


def _need(place: Place) -> Need:
    """Errors: ModelError for what is not here and cannot be fetched."""
    if place.entry is None:
        place.found()
    known = place.entry
    return Need(
        place.name, place.kind, place.path, known.licence if known else "", known.megabytes if known else 0
    )  # fmt: skip


def _data_set(name: str, data: Path) -> Need:
    known = DATA_SETS[name]
    try:
        path = locate(name, data)
    except ModelError:
        path = None
    return Need(name, "data", path, known.licence, known.megabytes)


def _unread(source: SourceSettings) -> CaptionSource:
    """As many texts as a data set has rows, each as long as most are."""
    known = DATA_SETS.get(source.data)
    words = " ".join(["text"] * _WORDS)
    example = TextExample(words, source.tag, "", words)
    return CaptionSource(source, source.known_as, [example] * (known.rows if known else 1), [], 0)


def trainable(folder: Path, device: str = "auto") -> list[tuple[Path, float]]:
    """The recipes of a folder that this machine can train, and the minutes of each, the shortest first."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            recipe = text_recipe(*read_values(path))
            planned = plan(recipe, path.parent, device, read=False)
        except MatsError:
            continue
        if planned.estimate and not planned.cannot:
            found.append((path, planned.estimate.minutes))
    return sorted(found, key=lambda each: each[1])
