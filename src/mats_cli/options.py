"""Options that several verbs share, each written once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from mats_cli import completing
from mats_cli.formats import FORMATS, TABLES, visible
from mats_cli.helptext import HelpfulCommand, HelpfulGroup
from mats_model.errors import UsageError, is_text

# what the names of options say of those that may be paths, in which any byte may stand
_PATHS = re.compile("FILE|DIR|FOLDER|PATH|INPUTS|CMD")


class App(typer.Typer):
    """Verbs whose texts are known to be text."""

    def __init__(self, **more: Any) -> None:
        super().__init__(cls=HelpfulGroup, **more)

    def command(self, name: str | None = None, **more: Any) -> Any:
        """A verb under its function's name, if none is given."""
        return super().command(name, cls=_Verb, **more)


class _Verb(HelpfulCommand):
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
    typer.Option(
        "--format",
        metavar="NAME",
        help=f"How results are written: {', '.join(FORMATS)}; or by the ending of -o.",
        autocompletion=completing.formats,
    ),
]
Timeline = Annotated[
    bool, typer.Option("--timeline", help="Short for --format timeline: a row a label, blocks over time.")
]
Trace = Annotated[bool, typer.Option("--trace", help="With --csv: columns for the model's id and the version of mats.")]
Embed = Annotated[bool, typer.Option("--embed", help="With --format html: the sounds are inside the page, as Opus.")]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
Csv = Annotated[bool, typer.Option("--csv", help="Short for --format csv.")]
Bom = Annotated[bool, typer.Option("--bom", help="With --csv: begin with the mark by which Excel knows UTF-8.")]
Output = Annotated[
    Optional[str],
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|DIR",
        help="Write to a file, in the format of its ending, or to a folder with one file per input.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|DIR",
        envvar="MATS_MODEL",
        help="The model: nano, mini, or the path of a model folder.",
        autocompletion=completing.models,
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
        "--memory", metavar="DIR", help="Other captions to hear by (Santa's memory), from `mats index memory`."
    ),
]
SantaWay = Annotated[
    str,
    typer.Option(
        "--santa",
        metavar="SETTINGS",
        help="How a sound is moved toward known captions (Santa), as in k=32,way=project; also lambda, tau, clusters.",
        show_default=False,
    ),
]
NoSanta = Annotated[
    bool, typer.Option("--no-santa", help="Hear without Santa: no sound is moved toward known captions.")
]


Rate = Annotated[
    Optional[int],
    typer.Option("--rate", metavar="HZ", min=1000, help="Samples a second; the microphone's own if not given."),
]
Mic = Annotated[
    Optional[str],
    typer.Option(
        "--mic",
        metavar="N|NAME|-",
        help="The microphone, by number or part of its name (`mats chat --devices` lists them); - for raw samples on "
        "stdin.",
    ),
]
Raw = Annotated[
    Optional[str],
    typer.Option(
        "--raw", metavar="FORMAT,RATE,CHANNELS", help="With --mic -: what the samples are, as in s16le,16000,1."
    ),
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
        autocompletion=completing.encoders,
        show_default=False,
    ),
]


Llm = Annotated[
    Optional[str],
    typer.Option(
        "--llm",
        metavar="NAME|DIR|FILE",
        help="Another copy of the language model: a name, a folder, a hub id or a GGUF file.",
        autocompletion=completing.bases,
        show_default=False,
    ),
]
Quantize = Annotated[
    Optional[str],
    typer.Option(
        "--quantize",
        metavar="HOW",
        help="In how many bits the language model is kept: none, int8, nf4 (4 bits, on CUDA), or auto.",
        autocompletion=completing.quantize,
        show_default=False,
    ),
]
Search = Annotated[
    str,
    typer.Option(
        "--search",
        metavar="SETTINGS",
        help="How an answer is found, as in beams=4,seed=1; also max_new_tokens, temperature, top_p and others.",
    ),
]
_WHERE = "Where the language model runs: auto, cpu, cuda, cuda:N or mps."
Compute = Annotated[str, typer.Option("--device", metavar="NAME", help=_WHERE, autocompletion=completing.devices)]
# before --device was the processor everywhere
FormerCompute = Annotated[str, typer.Option("--compute", metavar="NAME", hidden=True)]


EarsDevice = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where a published encoder computes: auto, cpu, cuda, cuda:N or mps.",
        autocompletion=completing.devices,
    ),
]


def check_goes_with(kind: str, trace: bool, embed: bool) -> None:
    """Errors: UsageError for an option that would do nothing."""
    if trace and kind not in TABLES:
        raise UsageError("--trace goes with --csv: JSON says which model it was in any case.")
    if embed and kind != "html":
        raise UsageError("--embed goes with --format html, or with -o and a name that ends in .html.")
