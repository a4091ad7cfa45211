"""Names -> model folders. `nano` lies inside the package; any other name is a path."""

from __future__ import annotations

from pathlib import Path

from mats_model.checkpoint import load as load_folder
from mats_model.errors import ModelError
from mats_model.mats import Mats

EMBEDDED = Path(__file__).parent / "nano"
DEFAULT = "nano"


def find(name: str = DEFAULT) -> Path:
    """The folder of a model. Errors: ModelError, with what can be asked for."""
    if name == DEFAULT:
        return EMBEDDED
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelError(f"there is no model {name!r}: ask for {DEFAULT!r} or give the path of a model folder.")
    return folder


def load(name: str = DEFAULT) -> Mats:
    """The model, ready to listen."""
    return load_folder(find(name))
