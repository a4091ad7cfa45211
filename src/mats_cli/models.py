"""mats models: what there is, what is here, and how it comes and goes; data sets as well."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import completing, console, loading
from mats_cli import options as shared
from mats_cli.formats import plain_json
from mats_model.errors import ModelError, UsageError

if TYPE_CHECKING:
    from mats_model.weights.catalogue import Entry
    from mats_model.weights.data_sets import DataSet

app = shared.App(no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name of `mats models list`, a hub id, or a model folder.",
        show_default=False,
        autocompletion=completing.anything,
    ),
]
Kind = Annotated[
    str,
    typer.Option("--kind", metavar="KIND", help="What a hub id is, where it does not tell: model, encoder or base."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.callback()
def _top() -> None:
    """Models, encoders, language models and data sets: what there is, what is here, and how it comes and goes.

    \b
    Examples:
      mats models list
      mats models pull mini
      mats models pull audiocaps/train
      mats models bundle mini -o mini.tar
    """


@app.command("list")
def list_(json: Json = False) -> None:
    """Show what can be asked for by name, and what is here."""
    from mats_model.weights.catalogue import ENTRIES

    rows = [_row(entry) for entry in ENTRIES.values()] + _others(set(ENTRIES))
    if json:
        for row in rows:
            console.out(plain_json(row) + "\n")
        return
    width = max(len(row["name"]) for row in rows)
    console.out(f"{'KIND':<8} {'NAME':<{width}}  {'HERE':<5} {'SIZE':>9}  {'STILL TO FETCH':<15} TERMS\n")
    for row in rows:
        size = f"{row['megabytes']} MB" if row["megabytes"] else ""
        fetch = f"{row['fetch']} MB" if row["fetch"] else "-" if row["here"] else "?"
        front = f"{row['kind']:<8} {row['name']:<{width}}  {'yes' if row['here'] else 'no':<5} {size:>9}"
        console.out(f"{front}  {fetch:<15} {row['licence']}\n")


def _row(entry: Entry) -> dict[str, Any]:
    from mats_model.weights.catalogue import ENTRIES, place_of
    from mats_model.weights.resolve import resolve

    # a folder of the user's that happens to bear the name is not it
    path = resolve(entry.name, entry.kind).path
    kept = path is not None and (
        entry.data is not None
        or entry.name in ("nano", "mini")
        or path == place_of(entry.name, entry.kind)
        or "/" in entry.name
    )
    row = {
        key: value
        for key, value in asdict(entry).items()
        if key in ("name", "kind", "megabytes", "licence", "page", "remark")
    }
    missing = [need for need in entry.needs if not resolve(need).path]
    fetch = sum(ENTRIES[need].megabytes for need in missing) + (0 if kept else entry.megabytes)
    return {**row, "here": kept and not missing, "needs": list(entry.needs), "fetch": fetch}


def _others(known: set[str]) -> list[dict[str, Any]]:
    """What was fetched or imported under other names."""
    from mats_model.weights.catalogue import ENTRIES, kept_in, place_of

    ours = {place_of(name, ENTRIES[name].kind) for name in known}
    rows: list[dict[str, Any]] = []
    for kind in ("model", "encoder", "base", "data"):
        for folder in sorted(
            path
            for path in kept_in(kind).glob("*")
            if path.is_dir() and not path.name.startswith(".") and path not in ours
        ):
            size = round(sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 1e6)
            name = folder.name.replace("--", "/")
            rows.append(
                {
                    "name": name,
                    "kind": kind,
                    "megabytes": size,
                    "licence": _terms(folder),
                    "page": "",
                    "remark": "",
                    "here": True,
                    "needs": [],
                    "fetch": 0,
                }
            )
    return rows


def _terms(folder: Path) -> str:
    from mats_model.weights.pull import TERMS

    lines = (folder / TERMS).read_text(encoding="utf-8").splitlines() if (folder / TERMS).is_file() else []
    return lines[1] if len(lines) > 1 else ""


@app.command()
def pull(name: Name, kind: Kind = "", offline: shared.Offline = False, quiet: shared.Quiet = False) -> None:
    """Get a model and all it needs, or a data set, once: its terms are shown first, its files are checked, and weights
    are kept as safetensors."""
    if kind not in ("", "model", "encoder", "base"):
        raise UsageError(f"--kind {kind}: choose model, encoder or base.")
    if offline:
        loading.forbid_connections()
    console.out(f"{loading.puller(offline, quiet).pull(name, kind)}\n")


@app.command()
def info(name: Name, json: Json = False) -> None:
    """Say what a model is made of, what it needs, under which terms, and where it is."""
    told = _info(name)
    if json:
        console.out(plain_json(told) + "\n")
        return
    for key, value in told.items():
        if value not in ("", [], None):
            console.out(f"{key + ':':<12} {', '.join(value) if isinstance(value, list) else value}\n")


def _info(name: str) -> dict[str, Any]:
    from mats_model.weights.catalogue import ENTRIES
    from mats_model.weights.resolve import ENCODER_CARD, resolve

    known = ENTRIES.get(name)
    told: dict[str, Any] = {"name": name}
    if known:
        told |= {
            "kind": known.kind,
            "megabytes": known.megabytes,
            "licence": known.licence,
            "page": known.page,
            "remark": known.remark,
        }
        told["needs"] = list(known.needs)
        if known.data:
            told |= _of_data_set(known.data)
    path = resolve(name).path
    if path is None:
        if known is None:
            raise ModelError(f"{name!r} is neither here nor known: `mats models list` shows what can be asked for.")
        return told | {"path": f"not here: `mats models pull {name}` gets it"}
    told.setdefault("licence", _terms(path))
    config = path / "config.json"
    values = _settings(config) if config.is_file() else {}
    if "mapper" in values:
        from mats_model.weights.folder import read_config

        read = read_config(path)
        own = read.llm.kind == "decoder"
        hears = name if read.clap == "inside" else f"{read.clap}, its audio side replaced" if read.audio else read.clap
        told |= {"kind": "model", "id": read.id, "hears with": hears, "embedding": read.width}
        told |= {"answers with": "a small decoder of its own" if own else f"{read.llm.base} ({read.llm.tuning})"}
        told |= {
            "mapper": f"{read.mapper.kind}, {read.mapper.prefix_length} tokens",
            "memory": f"{read.santa.size} texts in {read.santa.clusters} clusters",
        }
        told["needs"] = [
            need for need in (read.clap, "" if own else read.llm.base) if need not in ("", "inside", "nano")
        ]
    elif (path / ENCODER_CARD).is_file():
        from mats_model.weights.encoders import read_card

        card = read_card(path)
        told |= {"kind": "encoder", "made by": card.kind, "origin": card.origin, "digest": card.digest}
    elif path.is_dir() and "kind" not in told:
        told |= {"kind": "base", "model type": values.get("model_type", "")}
    return told | {"path": str(path)}


def _of_data_set(known: DataSet) -> dict[str, Any]:
    own = {"rows": known.rows, "columns": list(known.columns)}
    return own if known.inside else {**own, "address": known.url, "SHA-256": known.digest, "bytes": known.size}


def _settings(path: Path) -> dict[str, Any]:
    from mats_model.files import read_json

    try:
        return read_json(path)
    except ValueError as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch or train the model again.") from None


@app.command()
def path(name: Annotated[Optional[str], typer.Argument(metavar="[NAME]", show_default=False)] = None) -> None:
    """Print where a model is, or without a name where mats keeps what it fetched."""
    from mats_model.places import cache
    from mats_model.weights.resolve import resolve

    if name is None:
        console.out(f"{cache()}\n")
        return
    found = resolve(name).path
    if found is None:
        raise ModelError(f"{name!r} is not here: `mats models pull {name}` gets it.")
    console.out(f"{found}\n")


@app.command()
def rm(name: Name, quiet: shared.Quiet = False) -> None:
    """Remove what was fetched or imported under a name; what it needed stays. Nothing outside mats' own cache is
    touched."""
    from mats_model.weights.catalogue import ENTRIES, INSIDE, KINDS, place_of

    known = ENTRIES.get(name)
    kinds = (known.kind,) if known else (*KINDS, "data")
    places = [place_of(name, kind) for kind in kinds if place_of(name, kind).is_dir()] if name.strip("./") else []
    if not places:
        within = name in INSIDE or (known and known.data and known.data.inside)
        inside = " It lies inside mats itself." if within else ""
        raise ModelError(f"{name!r} was not fetched: there is nothing to remove.{inside}")
    for each in places:
        shutil.rmtree(each)
        if not quiet:
            console.note(f"{each} removed.")


@app.command()
def bundle(
    name: Name,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.tar", help="The tar to write.", show_default=False)
    ],
    quiet: shared.Quiet = False,
) -> None:
    """Put a model and all it needs, or a data set, into one tar, for a machine without a network."""
    from mats_model.weights.bundle import bundle as write

    if output.is_dir() or not output.parent.is_dir():
        raise UsageError(f"-o {output}: give a file in a folder that is there.")
    held = write(name, output, console.bytes_bar(quiet))
    console.out(f"{output}: {', '.join(held)}\n")


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.tar", help="A tar of `mats models bundle`.", show_default=False)
    ],
    quiet: shared.Quiet = False,
) -> None:
    """Unpack a bundle into the cache, each file checked; then its names work as if they had been pulled."""
    from mats_model.weights.bundle import unbundle

    if not file.is_file():
        raise UsageError(f"{file} is not there; check the path.")
    console.out("".join(f"{name}\n" for name in unbundle(file, console.bytes_bar(quiet))))


@app.command()
def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="LAION's .pt, Microsoft's .pth (CLAP or clapcap), or the checkpoint of MATS' authors.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.", show_default=False)
    ],
    tokenizer: Annotated[
        Optional[Path],
        typer.Option(
            "--tokenizer",
            metavar="FILE",
            help="tokenizer.json of RoBERTa (LAION) or GPT-2 (Microsoft).",
            show_default=False,
        ),
    ] = None,
    llm: Annotated[
        str,
        typer.Option(
            "--llm", metavar="NAME|DIR", help="Authors' checkpoint or clapcap: where the language model beside it is."
        ),
    ] = "",
    clap: Annotated[
        str,
        typer.Option(
            "--clap", metavar="NAME|DIR", help="Authors' checkpoint or clapcap: where the encoder beside it is."
        ),
    ] = "",
) -> None:
    """Turn a checkpoint into a folder of safetensors, once: afterwards no pickle is opened. One with code in it is
    refused."""
    from mats_model.weights.convert import convert as make

    if tokenizer is not None and not tokenizer.is_file():
        raise UsageError(f"--tokenizer {tokenizer} is not there; check the path.")
    console.out(f"{output}: {make(checkpoint, output, tokenizer, base=llm, clap=clap)}\n")
