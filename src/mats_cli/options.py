"""Options that several verbs share, each written once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from typer.core import TyperCommand

from mats_cli import console
from mats_cli.formats import FORMATS, visible
from mats_model.errors import UsageError, is_text

if TYPE_CHECKING:
    from mats_model.ears import Ears
    from mats_model.mats import Mats
    from mats_model.weights.pull import Puller

# what the names of options say of those that may be paths, in which any byte may stand
_PATHS = re.compile("FILE|DIR|FOLDER|PATH|INPUTS|CMD")


class App(typer.Typer):
    """Verbs whose texts are known to be text."""

    def command(self, name: str | None = None, **more: Any) -> Any:
        """As typer has it."""
        return super().command(name, cls=_Verb, **more)


class _Verb(TyperCommand):
    """The door of all that is typed on the command line. Errors: UsageError for a text that is no UTF-8."""

    def invoke(self, ctx: Any) -> Any:
        """As click has it."""
        for option in self.params:
            if not _PATHS.search(option.metavar or ""):
                given = ctx.params.get(option.name)
                for value in given if isinstance(given, (list, tuple)) else [given]:
                    check_text(
                        value,
                        option.opts[0]
                        if option.param_type_name == "option"
                        else (option.metavar or str(option.name)).strip("[]"),
                    )
        return super().invoke(ctx)


def check_text(value: object, what: str) -> None:
    """Errors: UsageError."""
    if isinstance(value, str) and not is_text(value):
        raise UsageError(f"{what} {visible(value)} is not UTF-8 text: set the terminal to UTF-8, or type it anew.")


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUTS...",
        help="Sound files, folders (with all that is in them), or - for standard input.",
        show_default=False,
    ),
]
Every = Annotated[
    Optional[float],
    typer.Option("--every", metavar="SECONDS", help="Answer for each stretch of this length, with its times."),
]
Format = Annotated[
    Optional[str],
    typer.Option("--format", metavar="|".join(FORMATS), help="How results are written; text if not given."),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
Csv = Annotated[bool, typer.Option("--csv", help="Short for --format csv.")]
Bom = Annotated[bool, typer.Option("--bom", help="With --csv: begin with the mark by which Excel knows UTF-8.")]
Output = Annotated[
    Optional[str],
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|DIR",
        help="Write to a file, or to a folder with one file per input, instead of stdout.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", metavar="NAME|DIR", envvar="MATS_MODEL", help="The model: nano, mini, or the path of a model folder."
    ),
]
Index = Annotated[
    Optional[Path],
    typer.Option(
        "--index",
        metavar="FILE",
        envvar="MATS_INDEX",
        help="The index; library.db among the user's data if not given.",
        show_default=False,
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", envvar="MATS_OFFLINE", help="Open no connection; what is not here is an error.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No bar and no remarks on stderr; errors are still said.")]


Memory = Annotated[
    Optional[Path],
    typer.Option(
        "--memory", metavar="DIR", help="Santa's memory, from `mats index memory`; the model's own if not given."
    ),
]
SantaWay = Annotated[
    str,
    typer.Option(
        "--santa",
        metavar="SETTINGS",
        help="Other settings of Santa: lambda=0.5,tau=0.1,k=32,clusters=100,way=project.",
        show_default=False,
    ),
]
NoSanta = Annotated[bool, typer.Option("--no-santa", help="Hear without Santa: nothing is moved toward the captions.")]


Device = Annotated[
    Optional[str],
    typer.Option(
        "--device",
        metavar="N|NAME",
        help="The microphone, by number or part of its name; `mats chat --devices` lists them.",
    ),
]
Rate = Annotated[
    Optional[int],
    typer.Option("--rate", metavar="HZ", min=1000, help="Samples a second; the microphone's own if not given."),
]
Mic = Annotated[
    Optional[str],
    typer.Option("--mic", metavar="-", help="Hear raw samples from standard input instead of a microphone."),
]
Raw = Annotated[
    Optional[str],
    typer.Option("--raw", metavar="FORMAT,RATE,CHANNELS", help="What those samples are: s16le,16000,1 for instance."),
]
Gate = Annotated[
    float, typer.Option("--gate", metavar="DB", max=0.0, help="Quieter than this, below full scale, counts as silence.")
]


def one_thread() -> None:
    """One sound at a time is heard best on one thread, and leaves the other processors to whoever plays it."""
    import torch

    torch.set_num_threads(1)


def tag_names(mats: Mats) -> list[str]:
    """Names of everyday sounds that come with the model, or with the one whose encoder it borrows."""
    from mats_model.weights import resolve

    return mats.santa.name_texts or resolve.name_texts(mats.config.clap)


Clap = Annotated[
    Optional[str],
    typer.Option(
        "--clap",
        metavar="NAME|DIR|FILE",
        envvar="MATS_CLAP",
        help="Hear with LAION's or Microsoft's CLAP: a name, a hub id, a folder or a file.",
        show_default=False,
    ),
]


Llm = Annotated[
    Optional[str],
    typer.Option(
        "--llm",
        metavar="NAME|DIR|FILE",
        help="Another copy of the language model: a name, a folder, a hub id or a GGUF file.",
        show_default=False,
    ),
]
Quantize = Annotated[
    Optional[str],
    typer.Option(
        "--quantize",
        metavar="HOW",
        help="How the language model is kept: none, int8, nf4 (CUDA), or auto.",
        show_default=False,
    ),
]
Search = Annotated[
    str,
    typer.Option(
        "--search",
        metavar="SETTINGS",
        help="How an answer is found: beams=4,max_new_tokens=40,temperature=0.7,top_p=0.9,seed=1.",
    ),
]
_WHERE = "Where the language model runs: auto, cpu, cuda, cuda:N or mps."
Compute = Annotated[str, typer.Option("--device", metavar="NAME", help=_WHERE)]
ChatCompute = Annotated[str, typer.Option("--compute", metavar="NAME", help=_WHERE)]  # its --device is the microphone


EarsDevice = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="Where a published encoder computes: auto, cpu, cuda, cuda:N or mps."
    ),
]


def puller(offline: bool, quiet: bool = False) -> Puller:
    """Gets what is not here, and shows how far it is."""
    from mats_model.weights.pull import Puller

    return Puller(console.note, console.bytes_bar(quiet), offline)


def load_ears(clap: str | None, model: str, offline: bool, device: str = "cpu") -> Ears:
    """What hears: --clap, or the encoder of --model; fetched first where it is not here. Labels and search need no
    language model."""
    if offline:
        forbid_connections()
    from mats_model.weights import resolve

    pull, name = puller(offline), clap or model
    if resolve.wants(name):
        pull.encoder(name)
    return pull.complete(resolve.load_ears(name, device), name)


def apply_santa(mats: Mats, memory: Path | None, settings: str, without: bool) -> dict[str, str]:
    """Another memory or another way across; returns what was asked for, since answers depend on it."""
    from mats_model.gap.memory import DiskMemory
    from mats_model.gap.santa import changed

    if without and (memory or settings):
        raise UsageError("--no-santa leaves out what --memory and --santa ask for: choose one.")
    if without:
        settings = "way=none"
    if memory or settings:
        mats.santa.cross(
            changed(mats.santa.settings, settings), DiskMemory(memory, mats.clap.space) if memory else None
        )
    return {"memory": str(memory and memory.absolute()), "santa": settings}


def apply_search(mats: Mats, settings: str) -> dict[str, str]:
    """Another way of searching; returns what was asked for, since answers depend on it."""
    from dataclasses import replace

    from mats_model.config import search_changed

    if settings:
        changed = search_changed(mats.config.search, settings)
        if changed.temperature and mats.config.llm.kind == "decoder":
            raise UsageError(
                "--search temperature: this model searches for its answers and draws none; take --model mini, or "
                "leave it out."
            )
        mats.config = replace(mats.config, search=changed)
    return {"search": settings}


def forbid_connections() -> None:
    """For this process; the hub's library reads these when it is imported."""
    os.environ.update(MATS_OFFLINE="1", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


def load_model(
    name: str, offline: bool, llm: str | None = None, quantize: str | None = None, device: str = "auto"
) -> Mats:
    """The model; what it needs is fetched first where it is not here."""
    if offline:
        forbid_connections()
    from mats_model.weights import resolve

    base = puller(offline).ready(name, llm or "")
    return resolve.load(name, device, quantize or "", base)


def say_waiting(index: Path) -> None:
    """For a job that comes second."""
    console.note(f"another mats is at work on {index}; waiting for it.")


def index_path(given: Path | None) -> Path:
    """Of --index, or the user's own library."""
    from mats_model.places import data, expanded

    return expanded(str(given)) if given else data() / "library.db"


def chosen_format(
    given: str | None, json: bool, csv: bool, formats: tuple[str, ...] = FORMATS, bom: bool = False
) -> str:
    """One format out of --format, --json and --csv, `excel` for CSV with --bom. Errors: UsageError when they contradict
    each other."""
    named = [name for name, wanted in ((given, given is not None), ("json", json), ("csv", csv)) if wanted]
    kinds = list(dict.fromkeys(named))
    if len(kinds) > 1:
        raise UsageError(f"--format {kinds[0]} and {kinds[1]} were both asked for: choose one.")
    kind = kinds[0] if kinds else "text"
    if kind not in formats:
        raise UsageError(f"--format {kind}: choose one of {', '.join(formats)}.")
    if bom and kind != "csv":
        raise UsageError("--bom goes with --csv: other formats need no mark.")
    return "excel" if bom else kind
