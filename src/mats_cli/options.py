"""Options that several verbs share, each written once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperCommand

from mats_cli.formats import FORMATS, visible
from mats_model.errors import UsageError, is_text

# what the names of options say of those that may be paths, in which any byte may stand
_PATHS = re.compile("FILE|DIR|FOLDER|PATH|INPUTS|CMD")


class App(typer.Typer):
    """Verbs whose texts are known to be text."""

    def command(self, name: str | None = None, **more: Any) -> Any:
        """A verb under its function's name, if none is given."""
        return super().command(name, cls=_Verb, **more)


class _Verb(TyperCommand):
    """The door of all that is typed on the command line. Errors: UsageError for a text that is no UTF-8."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb. Errors: UsageError for a text that is no UTF-8."""
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
