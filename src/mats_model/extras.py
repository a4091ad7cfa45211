"""Libraries that not every install has: imported where they are used, and asked for in a sentence where they lack."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from mats_model.errors import UsageError

_EXTRA = {"bitsandbytes": "cuda"}  # which extra of the package brings a library; llm where none is named


def need(module: str, user: str = "this language model") -> Any:
    """The module, for `user`. Errors: UsageError, which says what to install."""
    # peft imports bitsandbytes wherever it is installed, which then says on stderr which of its kernels it lacks
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        return importlib.import_module(module)
    except ImportError:
        library = module.split(".")[0]
        raise UsageError(
            f"{user} needs {library}, which is not installed: pip install 'mats[{_EXTRA.get(library, 'llm')}]'."
        ) from None


def not_installed(modules: Iterable[str], user: str) -> str:
    """What `user` needs of these and how to install it; "" where all are here. Nothing is imported."""
    lacking = [module for module in modules if find_spec(module) is None]
    extras = ",".join(dict.fromkeys(_EXTRA.get(module, "llm") for module in lacking))
    return f"{user} needs {', '.join(lacking)}, not installed here: pip install 'mats[{extras}]'." if lacking else ""


def hush() -> None:
    """No reports and no bars of transformers', where it is installed: the library is silent."""
    try:
        said = importlib.import_module("transformers").utils.logging
    except ImportError:
        return
    said.set_verbosity_error()
    said.disable_progress_bar()
