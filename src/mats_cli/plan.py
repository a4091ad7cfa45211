"""What a run needs, has and takes, before it is started: as a table, as JSON, or in a few lines; what is not here is
fetched."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING

from mats_cli import console, loading
from mats_cli.report import duration, plain, table
from mats_model.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from mats_model.training.plan import Plan
    from mats_model.training.recipe import TextRecipe

_ELSEWHERE = "on a card like an RTX 3090, by its rated speed"


def need_lines(planned: Plan) -> list[str]:
    """A head, and a line for each thing that the recipe names: its terms, its size, and whether it is here."""
    rows = [
        (need.kind, need.name, need.licence, _size(need.megabytes), "here" if need.path else "to fetch")
        for need in planned.needs
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    return ["needs"] * bool(rows) + [
        f"  {kind:<{widths[0]}}  {name:<{widths[1]}}  {terms:<{widths[2]}}  {size:>{widths[3]}}  {here}"
        for kind, name, terms, size, here in rows
    ]


def takes(recipe: TextRecipe, planned: Plan) -> list[str]:
    """Steps, time and memory, as far as they are known; roughly."""
    steps = f"{recipe.train.steps} steps of {recipe.train.batch}"
    if not (found := planned.estimate):
        return [f"takes {steps}; how long and how much memory is known when the base is here"]
    name, has = planned.memory
    there = f" of the {has:,.0f} MB of {name}" if has and not planned.cannot else ""
    short = ", which is too little" if there and found.megabytes > has else ""
    where = f" {_ELSEWHERE}" if planned.cannot else ""
    return [f"takes {steps}, roughly {duration(found.minutes)}{where} and {found.megabytes:,.0f} MB{there}{short}"]


def trainable_lines(recipes: list[tuple[Path, float]]) -> list[str]:
    """What to type for each, and how long it takes; nothing where there is none."""
    width = max((len(str(path)) for path, _ in recipes), default=0)
    return ["this machine can train"] * bool(recipes) + [
        f"  mats train {path!s:<{width}}   roughly {duration(minutes)}" for path, minutes in recipes
    ]


def as_text(recipe: TextRecipe, planned: Plan) -> str:
    """The whole plan, for people."""
    lines = [*need_lines(planned), ""] if planned.needs else []
    if planned.estimate:
        where = _ELSEWHERE if planned.cannot else "here"
        lines += [table(recipe, planned.sources, planned.estimate, where).rstrip("\n"), ""]
    if not planned.read:
        lines += ["the texts were not read, since not all of them are here: examples are the rows of the data sets"]
    lines += takes(recipe, planned)
    if planned.install:
        lines += [planned.install]
    if planned.cannot:
        lines += [f"this machine cannot train it: {planned.cannot}"]
    return "\n".join(lines) + "\n"


def as_json(recipe: TextRecipe, planned: Plan) -> str:
    """The same in one line."""
    told = plain(planned.estimate) if planned.estimate else {}
    needs = [{**vars(need), "path": str(need.path or "")} for need in planned.needs]
    device, megabytes = planned.memory
    told |= {"needs": needs, "read": planned.read, "cannot": str(planned.cannot or ""), "install": planned.install}
    told |= {"memory": {"device": device, "megabytes": round(megabytes)}}
    return jsonlib.dumps(told) + "\n"


def _size(megabytes: float) -> str:
    if not megabytes:
        return ""
    return f"{megabytes:g} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def possible(settings: TextRecipe, recipe: Path, data: Path, device: str, force: bool, quiet: bool) -> Plan:
    """What the run needs and takes. Errors: DeviceError where this machine cannot train it, with those that it can."""
    from mats_model.training.plan import plan, trainable

    planned = plan(settings, data, device, force, read=False)
    if planned.cannot:
        if not quiet:
            say(settings, planned)
            for line in trainable_lines(trainable(recipe.parent, device)):
                console.note(line)
        raise DeviceError(f"{recipe} cannot be trained here: {planned.cannot}")
    if planned.install:
        raise UsageError(planned.install)
    return planned


def say(settings: TextRecipe, planned: Plan) -> None:
    """In a few lines, before it begins."""
    for line in [*need_lines(planned), *takes(settings, planned)]:
        console.note(line)


def fetch_all(settings: TextRecipe, planned: Plan, offline: bool, quiet: bool) -> None:
    """What a recipe needs and is not here yet."""
    pull = loading.puller(offline, quiet)
    for need in planned.lacking:
        if need.kind == "data":
            pull.pull(need.name)
    if settings.start:
        pull.model(settings.start)
    elif settings.llm.kind == "transformers":
        pull.base(settings.llm.base)
    pull.encoder(settings.clap)


def tell(
    settings: TextRecipe, data: Path, strict: bool, device: str, force: bool, json: bool,
    fetch: tuple[bool, bool] | None,
) -> None:  # fmt: skip
    """The whole plan to standard output. `fetch`: first of all what is not here, offline and quiet or not."""
    from mats_model.training.plan import plan

    if fetch:
        fetch_all(settings, plan(settings, data, device, force, read=False), *fetch)
    planned = plan(settings, data, device, force, strict)
    console.out((as_json if json else as_text)(settings, planned))
