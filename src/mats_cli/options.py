"""Options that several verbs share, each written once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mats_cli import console
from mats_cli.formats import FORMATS
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.mats import Mats

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUTS...", help="Sound files, folders (with all that is in them), or - for standard input.", show_default=False),
]
Every = Annotated[Optional[float], typer.Option("--every", metavar="SECONDS", help="Answer for each stretch of this length, with its times.")]
Format = Annotated[Optional[str], typer.Option("--format", metavar="|".join(FORMATS), help="How results are written; text if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
Csv = Annotated[bool, typer.Option("--csv", help="Short for --format csv.")]
Output = Annotated[
    Optional[str],
    typer.Option("-o", "--output", metavar="FILE|DIR", help="Write to a file, or to a folder with one file per input, instead of stdout."),
]
Model = Annotated[str, typer.Option("--model", metavar="NAME|DIR", envvar="MATS_MODEL", help="The model: nano, mini, or the path of a model folder.")]
Offline = Annotated[bool, typer.Option("--offline", envvar="MATS_OFFLINE", help="Open no connection; what is not here is an error.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No bar and no remarks on stderr; errors are still said.")]


def forbid_connections() -> None:
    """For this process; the hub's library reads these when it is imported."""
    os.environ.update(MATS_OFFLINE="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


def load_model(name: str, offline: bool, answers: bool = True) -> Mats:
    """The model; its base language model is fetched first where it is not here. With `answers` false only its ears are loaded."""
    if offline:
        forbid_connections()
    from mats_model import registry

    if not answers:
        return registry.load(registry.listener(name))
    registry.fetch(name, console.note, offline)
    return registry.load(name)


def chosen_format(given: str | None, json: bool, csv: bool) -> str:
    """One format out of --format, --json and --csv. Errors: UsageError when they contradict each other."""
    named = [name for name, wanted in ((given, given is not None), ("json", json), ("csv", csv)) if wanted]
    kinds = list(dict.fromkeys(named))
    if len(kinds) > 1:
        raise UsageError(f"--format {kinds[0]} and {kinds[1]} were both asked for: choose one.")
    kind = kinds[0] if kinds else "text"
    if kind not in FORMATS:
        raise UsageError(f"--format {kind}: choose one of {', '.join(FORMATS)}.")
    return kind
