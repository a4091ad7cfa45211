"""mats evaluate: how good a model is on recordings whose truth is known, with the protocol beside the number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import console, loading, truth
from mats_cli import options as shared
from mats_cli.documents import chosen_format, save
from mats_cli.judging import judged
from mats_cli.results import FORMATS
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.evaluate.evaluation import Evaluation

UNDER = 8  # exit code: a figure is under what it should be

Input = Annotated[
    Optional[Path],
    typer.Argument(
        metavar="FOLDER|TABLE|RESULT",
        help="A folder with a folder per class; a CSV, TSV or JSONL of what is true; or an earlier result or its "
        "records, whose figures are computed again. - is a table or a result on stdin.",
        show_default=False,
    ),
]
TaskName = Annotated[
    Optional[str],
    typer.Option(
        "--task", metavar="NAME", help="classes, captions, retrieval, answers or events: what the table holds."
    ),
]
SetName = Annotated[
    Optional[str],
    typer.Option(
        "--set",
        metavar="NAME",
        help="A public set as its authors ship it: esc50, esc10, us8k, fsd50k, gtzan, tut2017, vocalsound, audiocaps, "
        "clotho, clothoaqa, musiccaps, mmau, mmau-pro, mmar.",
    ),
]
Data = Annotated[
    Optional[Path], typer.Option("--data", metavar="DIR", help="Where the set lies, or the table's sounds.")
]
Labels = Annotated[
    Optional[str],
    typer.Option(
        "--labels", metavar="FILE|LIST", help="Other names for the classes, in the order of theirs, for each one."
    ),
]
Template = Annotated[str, typer.Option("--template", help="A sentence around each label, with {} for the label.")]
Prompt = Annotated[
    str, typer.Option("--prompt", metavar="TEXT", help="What the model is asked about a class; a caption if not given.")
]
Tag = Annotated[
    str,
    typer.Option(
        "--tag",
        metavar="TEXT",
        help="The task as a MATS checkpoint was taught to be told it, such as '[single event]'; that of --prompt or of "
        "a caption if not given.",
    ),
]
NoGenerated = Annotated[
    bool, typer.Option("--no-generated", help="Classes by cosine alone: the model is not asked, which is faster.")
]
Synonyms = Annotated[
    Optional[Path],
    typer.Option(
        "--synonyms",
        metavar="FILE",
        help="A table label,words (; between): also count answers that hold a word of their own class.",
    ),
]
Together = Annotated[
    bool, typer.Option("--together", help="Also judge all recordings as one set (transductive); reported apart.")
]
Every = Annotated[float, typer.Option("--every", metavar="SECONDS", min=0.1, help="Events: length of a stretch.")]
Threshold = Annotated[
    Optional[float],
    typer.Option("--threshold", min=0.0, max=1.0, help="Events: the least probability of one; 0.5 if not given."),
]
TextToText = Annotated[
    bool,
    typer.Option("--text-to-text", help="Captions: read the first one instead of a sound; the others are references."),
]
Against = Annotated[
    Optional[Path],
    typer.Option("--against", metavar="FILE", help="Another result (json, or its records): paired differences."),
]
FailUnder = Annotated[
    Optional[list[str]],
    typer.Option("--fail-under", metavar="FIGURE=N", help="Exit code 8 when a figure is under N; may be given again."),
]
Records = Annotated[
    Optional[Path],
    typer.Option("--records", metavar="FILE", help="Write each recording's truth and answers, one JSON a line."),
]
Export = Annotated[
    Optional[Path],
    typer.Option("--export", metavar="DIR", help="Captions: write the files that aac-metrics and pycocoevalcap read."),
]
Format = Annotated[
    Optional[str],
    typer.Option("--format", metavar="|".join(FORMATS), help="How the result is written; a table if not given."),
]
Output = Annotated[
    Optional[Path],
    typer.Option("-o", "--output", metavar="FILE", help="Write to a file; the same command goes on after a stop."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the draws of the intervals.")]


def evaluate(
    input: Input = None,
    task: TaskName = None,
    set_name: SetName = None,
    data: Data = None,
    labels: Labels = None,
    template: Template = "{}",
    prompt: Prompt = "",
    tag: Tag = "",
    no_generated: NoGenerated = False,
    synonyms: Synonyms = None,
    together: Together = False,
    every: Every = 1.0,
    threshold: Threshold = None,
    text_to_text: TextToText = False,
    against: Against = None,
    fail_under: FailUnder = None,
    records: Records = None,
    export: Export = None,
    format: Format = None,
    json: shared.Json = False,
    csv: shared.Csv = False,
    output: Output = None,
    embed: shared.Embed = False,
    seed: Seed = 0,
    model: shared.Model = "nano",
    clap: shared.Clap = None,
    memory: shared.Memory = None,
    santa: shared.SantaWay = "",
    no_santa: shared.NoSanta = False,
    search: shared.Search = "",
    llm: shared.Llm = None,
    quantize: shared.Quantize = None,
    device: shared.Compute = "auto",
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
) -> None:
    """Measure a model on recordings whose truth is known; the protocol stands beside each figure.

    95 % intervals come from 1000 draws of recordings. A silent recording counts as wrong, one that cannot be read is
    left out and named.

    \b
    Examples:
      mats evaluate sounds/
      mats evaluate truth.csv --task captions --data clips/ -o captions.json
      mats evaluate --set esc50 --data ~/ESC-50 --clap laion/larger_clap_music_and_speech
      mats evaluate sounds/ --against before.json --fail-under top1=0.8
      mats evaluate sounds/ -o page.html
    """
    from mats_model.evaluate.evaluation import read_result
    from mats_model.evaluate.task import EvaluationSettings

    output = None if str(output) == "-" else output
    kind = chosen_format(
        format or _plain(output, json or csv), json, csv, FORMATS, output="" if format == "mteb" else str(output or "")
    )
    shared.check_goes_with(kind, trace=False, embed=embed)
    least = [_least(text) for text in fail_under or []]
    other = read_result(against, seed=seed) if against else None
    if output is None:
        console.check_output()
    code, source = 0, truth.given(input, quiet)
    if source.is_result():
        truth.check_nothing_is_heard({
            "task": task, "set": set_name, "data": data, "labels": labels, "template": template != "{}",
            "prompt": prompt, "tag": tag, "no_generated": no_generated, "together": together, "clap": clap,
            "text_to_text": text_to_text, "memory": memory, "santa": santa, "no_santa": no_santa, "search": search,
            "llm": llm, "quantize": quantize,
        })  # fmt: skip
        result = truth.rescored(source.result(seed), synonyms, threshold, seed)
    else:
        found = truth.examples_of(source, truth.Wanted(task, set_name, data, labels, text_to_text, quiet))
        named = truth.synonyms_of(synonyms, found.task, found.several, found.labels)
        least_sure = 0.5 if threshold is None else threshold
        settings = EvaluationSettings(template, prompt, tag, not no_generated, together, every, least_sure, named)
        if clap:
            ears: Any = loading.load_ears(clap, model, offline, device)
            across: dict[str, str] = {}
        else:
            ears = loading.load_model(model, offline, llm, quantize, device)
            across = loading.apply_santa(ears, memory, santa, no_santa) | loading.apply_search(ears, search)
        result, code = judged(ears, found, settings, {**across, "llm": llm, "quantize": quantize}, output, seed, quiet)
    try:
        _write(result, other, against, kind, output, embed, records, export, seed)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if not source.is_result() and other is None:
            raise
        why = f"{type(error).__name__}: {error}"[:100]
        raise UsageError(f"the earlier result is not as mats writes them ({why}): evaluate anew.") from None
    under = [text for name, value, text in least if _value(result, name) < value]
    for text in under:
        name = text.partition("=")[0]
        console.note(f"{name} is {_value(result, name):.4f}, which is under --fail-under {text}.")
    raise typer.Exit(UNDER if under else code)


def _plain(output: Path | None, named: bool) -> str | None:
    """A table, where neither an option nor an ending asks for another format."""
    ending = output.suffix.lower() if output else ""
    if named or ending in (".json", ".csv"):
        return None
    return "html" if ending in (".html", ".htm") else "table"


def _least(text: str) -> tuple[str, float, str]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value), text
    except ValueError:
        raise UsageError(f"--fail-under {text}: give a figure and a number, such as top1=0.8.") from None


def _value(result: Evaluation, name: str) -> float:
    if name not in result.figures:
        raise UsageError(f"--fail-under {name}: there is no such figure; there are {', '.join(result.figures)}.")
    return result.figures[name].value


def _write(
    result: Evaluation,
    other: Evaluation | None,
    against: Path | None,
    kind: str,
    output: Path | None,
    embed: bool,
    records: Path | None,
    export: Path | None,
    seed: int,
) -> None:
    from mats_cli.results import document, exported
    from mats_model.evaluate.evaluation import compare, differences, record_lines

    gains = compare(result, other, seed=seed) if other else {}
    if other and (unlike := differences(result.protocol, other.protocol)):
        console.note(f"{against} was measured otherwise: {', '.join(unlike)} differ.")
    files = exported(result, export) if export else {}
    if records:
        files[records] = record_lines(result)
    name = against.name if against else ""
    if kind == "html":
        from mats_cli.pages.evaluation import evaluation_page

        text = evaluation_page(result, gains, name, output, embed)
    else:
        text = document(result, kind, gains, name)
    if output:
        files[output] = text
    for path, content in files.items():
        save(path, content)
    if not output:
        console.out(text)
