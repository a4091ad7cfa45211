"""Models and encoders, ready to hear and to answer: by name, or out of a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mats_model import tensors
from mats_model.clap.nano import NanoClap
from mats_model.clap.protocol import ORIGINAL, Clap
from mats_model.config import LLMConfig, MatsConfig
from mats_model.device import check_device, find_device
from mats_model.ears import Ears
from mats_model.errors import MismatchError, ModelError, UsageError
from mats_model.gap.santa import Santa
from mats_model.gap.taught import words
from mats_model.llm.graph_decoder import GraphDecoder
from mats_model.llm.numpy_llm import NumpyLLM
from mats_model.llm.words import Words
from mats_model.mats import Mats
from mats_model.mats import scales as scales_of
from mats_model.numpy_mapper import NumpyMapper
from mats_model.places import expanded
from mats_model.weights.encoders import load_encoder, load_original, published, scales, text_of
from mats_model.weights.folder import (
    CLAP_TOKENIZER,
    NAMES,
    TOKENIZER,
    WEIGHTS,
    Kept,
    check_id,
    read,
    read_config,
    tensors_of,
)
from mats_model.weights.resolve import DEFAULT, EMBEDDED, Place, resolve

if TYPE_CHECKING:
    from mats_model.llm.protocol import LanguageModel
    from mats_model.llm.small import SmallLLM

_CLAP = "clap."  # before the names of its arrays, in a model folder
_DEPTH = 3  # models that borrow from each other, one after the other


# ---- by name


def load(name: str = DEFAULT, device: str = "cpu", quantize: str = "", base: str = "") -> Mats:
    """The model, ready to listen.

    `quantize` (none, int8, nf4, auto) is how its language model is kept, as its config says if empty; `base` is another
    language model in the place of the one it was trained beside. Errors: ModelError, also when something it needs is
    not here; MismatchError where a base does not fit.
    """
    check_device(device)
    folder = resolve(name, "model").found()
    return load_folder(folder, device, llm=_asked(read_config(folder).llm, quantize, base))


def _asked(trained: LLMConfig, quantize: str, base: str) -> LLMConfig | None:
    """What a config says of its language model, with what was asked for in its place.

    Errors: ModelError, UsageError for a model with a decoder of its own.
    """
    if trained.kind != "transformers":
        if base:
            raise ModelError(
                "this model answers with a small decoder of its own, which was trained with it: another language "
                f"model, {base}, has no place there."
            )
        if quantize in ("int8", "nf4"):
            raise UsageError(
                "this model answers with a small decoder of its own, which is kept as it is: do not ask for "
                f"{quantize}."
            )
        return None
    changed = replace(trained, quantize=quantize or trained.quantize)
    # another copy of it, quantized or tuned further, has other numbers: what must fit is checked tensor by tensor
    return replace(changed, base=base, fingerprint="") if base and base != trained.base else changed


def name_texts(name: str) -> list[str]:
    """The class names that come with a model, nano's where it has none: the status line's and the diary's
    vocabulary."""
    folder = resolve(name, "model").path
    file = folder / NAMES if folder and (folder / NAMES).is_file() else EMBEDDED / NAMES
    return text_of(file).splitlines()


def load_ears(name: str, device: str = "cpu") -> Ears:
    """What hears: a published encoder by name, folder or file of its makers, or a model's; `device` is where a
    published one computes.

    Labels need no language model, so that it is left out where the encoder lies apart from it. Errors: ModelError,
    DeviceError.
    """
    check_device(device)
    if name.startswith(ORIGINAL):
        ears: Ears = load_original(expanded(name.removeprefix(ORIGINAL)))
    else:
        asked = resolve(name, "encoder")
        hears = _follow(asked)
        ears = _ears_of(hears.found()) if hears.kind == "model" else load_encoder(hears.found())
        if asked.kind == "model":
            ears.taught = _taught(asked.found())
    clap = published(ears.clap)
    if clap is not None:
        where = find_device(device)
        # Apple's GPUs only where they are asked for: not every step of the towers is known to run there
        if where != "cpu" and (where != "mps" or device == "mps"):
            clap.to(where)
    return ears


def _taught(folder: Path) -> dict[str, np.ndarray]:
    """The words that a user taught a model whose language model is not needed. Errors: ModelError."""
    config = read_config(folder)
    if not config.santa.taught:
        return {}
    kept = read(folder)
    return words(kept.taught_texts, kept.arrays["santa.taught"])


def _follow(hears: Place) -> Place:
    """From a model to the one whose encoder it borrows, and so on: the encoder, or the first model that has its own
    audio side. Errors: ModelError, also where they borrow in a circle."""
    name, first = hears.name, None
    for _ in range(_DEPTH + 1):
        if hears.kind != "model":
            return first or hears
        config = read_config(hears.found())
        if config.clap == "inside":
            return first or hears
        if config.audio:
            first = first or hears
        hears = resolve(config.clap, "encoder")
    raise ModelError(f"the encoder {name!r} is borrowed from a model that borrows it: name the model that has it.")


# ---- out of a folder


def build(config: MatsConfig, clap: Clap, llm: LanguageModel | NumpyLLM) -> Mats:
    """A model of the config's sizes; mapper and memory are not yet set."""
    if isinstance(llm, NumpyLLM):
        mapper: Any = NumpyMapper(config.mapper, config.width, llm.width)
    else:
        from mats_model.mapper import make_mapper

        mapper = make_mapper(config.mapper, config.width, llm.width)
    return Mats(config, clap, Santa(config.width, config.santa), mapper, llm)


def small_llm(config: MatsConfig, tokenizer_json: str, dropout: float = 0.0) -> SmallLLM:
    """The small decoder with its tokenizer, to be trained."""
    from mats_model.llm.decoder import Decoder
    from mats_model.llm.small import SmallLLM

    return SmallLLM(Decoder(config.decoder), _words(config, tokenizer_json), dropout)


def _words(config: MatsConfig, tokenizer_json: str) -> Words:
    words = Words(tokenizer_json)
    if len(words.stem) != config.decoder.vocabulary:
        raise ModelError(
            f"the tokenizer has {len(words.stem)} pieces where decoder.vocabulary is {config.decoder.vocabulary}."
        )
    return words


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """A sentence about what is in a file names it."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None


def load_folder(folder: Path, device: str = "cpu", clap: Clap | None = None, llm: LLMConfig | None = None) -> Mats:
    """Read a model folder; `clap` stands in for the encoder that it borrows, `llm` for what its config says of its
    language model.

    Errors: ModelError, which names the file and what is missing or left over in it; MismatchError.
    """
    kept = read(folder)
    trained = kept.config.llm
    config = replace(kept.config, llm=llm or trained)
    ears = _hearing(config, kept, folder, clap)
    with _naming(folder / TOKENIZER) if config.llm.kind == "decoder" else contextlib.nullcontext():
        answers: LanguageModel | NumpyLLM = (
            NumpyLLM(GraphDecoder(config.decoder), _words(config, kept.tokenizer))
            if config.llm.kind == "decoder"
            else load_llm(config, device, kept.tokenizer, training=False)
        )
    mats = build(config, ears, answers)
    wanted = tensors_of(mats)
    if config.llm.base != trained.base:
        _fits(wanted, kept.arrays, folder, trained, config.llm, answers.width)
    tensors.check({name: value.shape for name, value in wanted.items()}, kept.arrays, str(folder / WEIGHTS))
    inside = config.clap == "inside"
    if inside:
        _lay(cast(NanoClap, ears), kept)
        wanted = {name: value for name, value in wanted.items() if not name.startswith(_CLAP)}
    tensors.take(wanted, kept.arrays.part(_CLAP, others=True) if inside else kept.arrays, str(folder / WEIGHTS))
    check_id(kept.config, folder)
    mats.santa.captions, mats.santa.name_texts = kept.captions, kept.name_texts
    mats.santa.taught_texts = kept.taught_texts
    mats.taught = words(kept.taught_texts, mats.santa.taught)
    clap = published(ears)
    if clap is not None and not config.label_scale:
        mats.scales = scales(clap)
    if not isinstance(answers, NumpyLLM):
        for part in (mats.mapper, answers):
            part.eval().requires_grad_(False)
        answers.settle()
        # the prefix is made where it is read; a published encoder is as large as to be worth moving
        mats.mapper.to(answers.device)
        if clap is not None and answers.device.type == "cuda":
            clap.to(answers.device)
    return mats


def _ears_of(folder: Path) -> Ears:
    """What hears for a model in this folder; where that is its own, nothing else of it is read. Errors: ModelError,
    MismatchError."""
    config = read_config(folder)
    if config.clap != "inside":
        return load_folder(folder)
    kept = read(folder)
    clap = cast(NanoClap, _hearing(config, kept, folder, None))
    _lay(clap, kept)
    check_id(config, folder)
    return Ears(clap, scales_of(config), config.id)


def _lay(clap: NanoClap, kept: Kept) -> None:
    """The encoder of a model is read where it lies, and only what of it is used. Errors: ModelError."""
    wanted = {f"{_CLAP}{name}": array for name, array in clap.kept().items()}
    found = tensors.lying(wanted, kept.arrays.part(_CLAP))
    clap.keep({name.removeprefix(_CLAP): array for name, array in found.items()})


def _hearing(config: MatsConfig, kept: Kept, folder: Path, clap: Clap | None) -> Clap:
    """What hears for a model: its own, not yet filled, or what it borrows. Errors: ModelError, MismatchError."""
    if config.clap == "inside":
        with _naming(folder / CLAP_TOKENIZER):
            ears: Clap = NanoClap(kept.clap_tokenizer, config.audio_hidden)
        ears.names = kept.name_texts
    else:
        ears = borrowed_clap(config, clap)
    if ears.dim != config.width:
        raise MismatchError(
            f"{folder} was trained on embeddings of {config.width} numbers; the encoder {config.clap!r} gives "
            f"{ears.dim}."
        )
    if config.audio and config.audio != getattr(ears, "kind", ""):
        raise MismatchError(
            f"{folder} holds the audio side of an encoder of kind {config.audio}, which {config.clap!r} is not: "
            "convert it beside another encoder."
        )
    return ears


def _fits(
    wanted: dict[str, tensors.Held],
    state: tensors.Stored,
    folder: Path,
    trained: LLMConfig,
    other: LLMConfig,
    width: int,
) -> None:
    """Whether what was trained beside one base may speak to another. Errors: MismatchError."""
    if trained.tuning == "full":
        raise MismatchError(f"{folder} holds {trained.base} itself, trained whole: it cannot answer with {other.base}.")
    unlike = next((key for key, value in wanted.items() if key not in state or state.shape(key) != value.shape), None)
    if unlike is None and not state.keys() - wanted.keys():
        return
    had = next((state.shape(key)[0] for key in ("mapper.project.weight", "mapper.fc2.weight") if key in state), 0)
    why = (
        f"its mapper speaks to {had} numbers a token, {other.base} reads {width}"
        if had and had != width
        else f"its LoRA has no place there ({unlike})"
    )
    raise MismatchError(
        f"{folder} was trained beside {trained.base} and does not fit {other.base}: {why}; train it for that one with "
        "llm.base."
    )


def borrowed_clap(config: MatsConfig, clap: Clap | None = None) -> Clap:
    """A published encoder, another model's, or the one given, if its text side is the one this model was trained on.
    Errors: ModelError, MismatchError."""
    if clap is None:
        clap = load_ears(config.clap).clap
    if config.space and clap.space != config.space:
        raise MismatchError(
            f"this model was trained on another version of the encoder {config.clap!r} (text side {config.space}, "
            f"here {clap.space}): train it again."
        )
    return clap


def load_llm(
    config: MatsConfig,
    device: str,
    tokenizer_json: str,
    dropout: float = 0.0,
    force: bool = False,
    training: bool = True,
) -> LanguageModel:
    """The language model of a config. Errors: ModelError, DeviceError."""
    if config.llm.kind == "decoder":
        return small_llm(config, tokenizer_json, dropout)
    if config.llm.kind != "transformers":
        raise ModelError(f"llm.kind {config.llm.kind!r}: this version knows decoder and transformers.")
    from mats_model.device import place
    from mats_model.llm.bases import load_base

    base = resolve(config.llm.base, "base").found()
    return load_base(base, config.llm, place(config.llm, device, force, training, stored(base)))


def stored(base: Path) -> int:
    """Bytes of a base's weights, as they lie in its folder."""
    return sum(file.stat().st_size for file in base.glob("*.safetensors"))
