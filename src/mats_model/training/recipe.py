"""One YAML file = one training run. Read strictly: what is wrong is said with file, line and setting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from mats_model.config import DecoderConfig, LLMConfig, MapperConfig, SantaSettings, SearchSettings
from mats_model.errors import UsageError
from mats_model.settings import May, Where, fill, name_and_value
from mats_model.tables import ENDINGS
from mats_model.training.sources import SourceSettings
from mats_model.training.texts import wrong_name
from mats_model.weights.catalogue import ENTRIES, HUB, near
from mats_model.weights.data_sets import DATA_SETS


@dataclass(frozen=True)
class NoiseSettings:
    """What is done to a text embedding before the mapper sees it."""

    variance: float = -1.0  # per dimension; below 0 keeps the paper's cosine: 0.015 * 1024 / d
    keywords: float = 0.0  # share of the examples that are told by some of their words only
    keep: float = 0.6  # of the words of those
    tags: float = 0.0  # share told again as a blend of class names, which is how nano's audio side speaks
    names: str = ""  # a data set, CSV (display_name, name) or TXT file of those class names


@dataclass(frozen=True)
class HeldOutSettings:
    """Examples that are never trained on: for the loss, and to show what the model answers."""

    share: float = 0.02  # of each source, set aside by a hash of the text
    most: int = 400  # of those are used, in all
    answers: int = 8  # of them whose answers are scored at each evaluation
    audio: list[str] = field(default_factory=list)  # sound files that the model is asked about now and then
    file: str = ""  # CSV of captions with several references a clip, for the scores of text told again
    data: str = ""  # in the place of `file`: a data set of `mats models list`
    recording: str = "youtube_id"  # its column that says which captions belong together
    text: str = "caption"
    limit: int = 400  # clips of it

    FORMER: ClassVar[Mapping[str, str]] = {"clip": "recording"}

    @property
    def text_of(self) -> str:
        """The data set or file that it names, "" for none."""
        return self.data or self.file


@dataclass(frozen=True)
class MemorySettings:
    """Santa's memory, drawn from the training texts, or one of `mats index memory`."""

    file: str = ""  # a memory folder; the rest, but for names, then says nothing
    captions: int = 5172
    max_words: int = 0  # of a text that may enter; 0 takes all
    whole: list[str] = field(default_factory=list)  # names of sources whose texts all enter, before any other is drawn
    names: str = ""  # a data set, CSV or TXT of class names for a second look; those of `start` are kept if not given
    taught: list[str] = field(default_factory=list)  # names of sources whose answers become words of the model's own
    variance: float = 0.0  # of the noise drawn once on it
    seed: int = 0

    FORMER: ClassVar[Mapping[str, str]] = {"longest": "max_words"}


@dataclass(frozen=True)
class RecallSettings:
    """What `start` says of texts of its memory, taught beside what is new, so that it goes on saying it."""

    texts: int = 0  # drawn from its memory; 0 teaches none
    ratio: float = 1.0  # odds of a step on them, as of a source

    MAY: ClassVar[Mapping[str, May]] = {"texts": (0, 10**6), "ratio": (1e-6, 1e6)}


@dataclass(frozen=True)
class LoopSettings:
    """What decides the weights, besides the data."""

    steps: int = 1000
    batch: int = 64
    micro_batch: int = 0  # examples at once; smaller ones add up to the batch exactly; 0 takes the batch whole
    learning_rate: float = 1e-3
    schedule: str = "cosine"  # cosine, linear or constant, after the warm-up
    warmup: int = 100  # steps
    weight_decay: float = 0.05  # none on norms and biases
    beta2: float = 0.999
    max_grad_norm: float = 1.0  # norm of the gradient
    dropout: float = 0.1  # on the small decoder's inputs
    ema: float = 0.0  # of the running mean of the weights that is kept; 0 keeps the last weights
    max_answer_tokens: int = 150  # tokens of an answer
    bf16: bool = True  # where the device multiplies it in hardware
    checkpointing: bool = False  # recompute activations: less memory, a third more time
    # the weights with the least loss on what is held out, or the last, where later sources are unlike the first
    keep: str = "best"
    evaluate_every: int = 500
    sample_every: int = 500
    save_every: int = 500
    seed: int = 0

    FORMER: ClassVar[Mapping[str, str]] = {
        "rate": "learning_rate", "clip": "max_grad_norm", "longest": "max_answer_tokens",
    }  # fmt: skip


@dataclass(frozen=True)
class TextRecipe:
    """All that decides a model trained on text alone."""

    kind: str = "text"
    name: str = "my-mats"
    clap: str = "nano"
    start: str = ""  # a model to begin from, nano or a folder: its mapper and language model, with its sizes
    sources: list[SourceSettings] = field(default_factory=list)
    held_out: HeldOutSettings = field(default_factory=HeldOutSettings)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    mapper: MapperConfig = field(default_factory=MapperConfig)
    llm: LLMConfig = field(default_factory=LLMConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    santa: SantaSettings = field(default_factory=lambda: SantaSettings(1.0, 0.02, 8))
    memory: MemorySettings = field(default_factory=MemorySettings)
    recall: RecallSettings = field(default_factory=RecallSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    train: LoopSettings = field(default_factory=LoopSettings)


def override(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """`train.steps=200` and the like put into a recipe's values. Errors: UsageError."""
    import copy

    import yaml

    changed = copy.deepcopy(values)
    for setting in settings:
        name, text = name_and_value(setting)
        if "=" not in setting or not name:
            raise UsageError(f"{setting}: write NAME=VALUE, such as train.steps=200.")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UsageError(f"{setting[:80]}: the value is no YAML.") from None
        if isinstance(value, str):
            # 1e-5 is a number to whoever types it here, whatever YAML says
            with contextlib.suppress(ValueError):
                value = float(value)
        group: Any = changed
        *above, last = name.split(".")
        for part in above:
            if isinstance(group, list) and part.isdigit() and int(part) < len(group):
                group = group[int(part)]
            elif isinstance(group, dict):
                group = group.setdefault(part, {})
            else:
                raise UsageError(f"{setting}: there is no group {part!r} in the recipe.")
        if isinstance(group, list) and last.isdigit() and int(last) < len(group):
            group[int(last)] = value
        elif isinstance(group, dict):
            group[last] = value
        else:
            raise UsageError(f"{setting}: {'.'.join(above)} is no group of settings.")
    return changed


def text_recipe(values: Mapping[str, Any], where: Where) -> TextRecipe:
    """Checked values -> the recipe. Errors: UsageError."""
    recipe = fill(TextRecipe(), dict(values), where, UsageError)
    if recipe.kind == "text" and not recipe.sources:
        raise UsageError(f"{where.file}: sources is missing; name at least one file of captions.")
    wrong = [*_wrong_train(recipe.train), *_wrong(recipe), *_wrong_texts(recipe), *_spelled_out(recipe, values)]
    for name, sentence in wrong:
        raise UsageError(f"{where.of(name)}: {name} {sentence}.")
    refuse_unheeded(recipe, where)
    return recipe


# said of a precision that answers are well given in
NO_FLOAT16 = "its gradients vanish, since the loss is not scaled; choose auto, bfloat16 or float32"
Wrong = Iterator[tuple[str, str]]  # settings, and what is wrong with each


def _wrong_train(train: LoopSettings) -> Wrong:
    for name in ("steps", "batch", "evaluate_every", "sample_every", "save_every", "max_answer_tokens"):
        if getattr(train, name) < 1:
            yield f"train.{name}", "should be 1 or more"
    if train.learning_rate <= 0:
        yield "train.learning_rate", "should be above 0"
    if train.micro_batch < 0 or (train.micro_batch and train.batch % train.micro_batch):
        yield "train.micro_batch", f"should divide train.batch ({train.batch})"
    if train.keep not in ("best", "last"):
        yield "train.keep", f"{train.keep!r}: choose best or last"
    if train.schedule not in ("cosine", "linear", "constant"):
        yield "train.schedule", f"{train.schedule!r}: choose cosine, linear or constant"


def _wrong(recipe: TextRecipe) -> Wrong:
    if recipe.kind != "text":
        yield "kind", f"{recipe.kind!r}: this version knows text and nano"
    for name, value in (
        ("held_out.share", recipe.held_out.share),
        ("noise.keywords", recipe.noise.keywords),
        ("noise.tags", recipe.noise.tags),
    ):
        if not 0.0 <= value < 1.0:
            yield name, "should be between 0 and 1"
    known = ENTRIES.get(recipe.start)
    if (
        recipe.start
        and not (known and known.kind == "model")
        and not HUB.fullmatch(recipe.start)
        and not Path(recipe.start).is_dir()
    ):
        yield "start", f"{recipe.start!r} is no model; give a folder, or one of `mats models list`"
    if (recipe.noise.tags or any(source.even for source in recipe.sources)) and not recipe.noise.names:
        yield "noise.names", "should be given where noise.tags, or even of a source, is above 0"
    llm = recipe.llm
    if llm.kind == "transformers" and not llm.base:
        yield "llm.base", "is missing: smollm2-135m, a folder or a hub id"
    if llm.kind == "transformers" and llm.prompt not in ("paper", "chat"):
        yield "llm.prompt", f"{llm.prompt!r}: choose paper or chat for a base of transformers"
    if llm.quantize != "none" and llm.tuning == "full":
        yield "llm.quantize", f"{llm.quantize}: weights in 4 bits cannot be trained; set llm.tuning to lora or frozen"
    if llm.dtype == "float16":
        yield "llm.dtype", f"float16: {NO_FLOAT16}"
    if llm.kind not in ("decoder", "transformers"):
        yield "llm.kind", f"{llm.kind!r}: choose decoder or transformers"


def _wrong_texts(recipe: TextRecipe) -> Wrong:
    """Of the data sets and files that it names."""
    for number, source in enumerate(recipe.sources):
        here = f"sources.{number}"
        yield from _wrong_text(here, source)
        if source.data in DATA_SETS and DATA_SETS[source.data].evaluation:
            yield f"{here}.data", f"{source.data} is for evaluation and never trained on: name another"
        for place, name in enumerate(source.leave_out):
            if why := wrong_name(name):
                yield f"{here}.leave_out.{place}", why
        if source.names and (why := wrong_name(source.names)):
            yield f"{here}.names", why
    yield from _wrong_text("held_out", recipe.held_out)
    for group in ("noise", "memory"):
        if (names := getattr(recipe, group).names) and (why := wrong_name(names)):
            yield f"{group}.names", why


def _wrong_text(here: str, given: SourceSettings | HeldOutSettings) -> Wrong:
    if given.data and given.file:
        yield f"{here}.data", f"and {here}.file name a text each: leave one of them out"
    elif given.file in DATA_SETS:
        yield f"{here}.file", f"{given.file} is a data set: write data in the place of file"
    elif given.data and given.data not in DATA_SETS:
        path = "; a path is given as file" if given.data.lower().endswith(ENDINGS) else ""
        yield f"{here}.data", f"{given.data!r} is no data set ({near(given.data, 'data').rstrip('.')}){path}"


_BESIDE_START = "says nothing beside start, whose mapper and language model are gone on with: leave it out"


def _spelled_out(recipe: TextRecipe, values: Mapping[str, Any]) -> Wrong:
    """What is written beside `start` though it is as always; a recipe as run spells everything out."""
    for group in ("mapper", "llm", "decoder") if recipe.start else ():
        given = values.get(group)
        if given and len(given) < len(fields(getattr(recipe, group))):
            yield f"{group}.{next(iter(given))}", _BESIDE_START


def _unheeded(recipe: TextRecipe) -> Wrong:
    """Settings that were changed and that a run of this recipe would not look at."""
    usual = TextRecipe()

    def changed(group: str, but: tuple[str, ...] = ()) -> list[str]:
        own, other = asdict(getattr(recipe, group)), asdict(getattr(usual, group))
        return [f"{group}.{name}" for name in own if name not in but and own[name] != other[name]]

    if recipe.start:
        yield from ((name, _BESIDE_START) for group in ("mapper", "llm", "decoder") for name in changed(group))
    else:
        yield from ((name, "says nothing without start: leave it out") for name in changed("recall"))
        if recipe.llm.kind == "decoder":
            why = "says nothing of the small decoder: leave it out, or set llm.kind to transformers"
            yield from ((name, why) for name in changed("llm", ("kind",)))
        else:
            why = "is of the small decoder, and llm.kind is transformers: leave it out"
            yield from ((name, why) for name in changed("decoder"))
    if recipe.memory.file:
        why = "says nothing beside memory.file, whose texts are taken as they are: leave it out"
        yield from ((name, why) for name in changed("memory", ("file", "names", "taught", "seed")))


def refuse_unheeded(recipe: TextRecipe, where: Where | None = None) -> None:
    """Errors: UsageError for a setting that would be passed over in silence."""
    for name, sentence in _unheeded(recipe):
        raise UsageError(f"{where.of(name)}: {name} {sentence}." if where else f"{name} {sentence}.")
