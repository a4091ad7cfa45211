"""How the result of an evaluation is written: a table for the terminal, JSON, CSV, and the files of other tools."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli.formats import cell, plain_json, table, visible
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.evaluate.evaluation import Evaluation
    from mats_model.evaluate.intervals import Figure

FORMATS = ("table", "json", "csv", "html", "mteb")
_CONFUSED = 10  # pairs of classes that are named on the terminal
# tasks of MTEB's that are known to be the same files and labels
_MTEB = {"esc50": "ESC50_Zeroshot"}
_SHORT = ("labels", "recordings", "search", "santa", "bootstrap", "language_model", "synonyms")


def document(result: Evaluation, kind: str, against: dict[str, Figure], other: str) -> str:
    """The whole result, but for html, which pages/ makes; `against` are differences to the result called `other`."""
    if kind == "json":
        values = result.to_json()
        if against:
            values["against"] = {"result": other, "differences": {name: _values(one) for name, one in against.items()}}
        return plain_json(values, 2) + "\n"
    if kind == "csv":
        return _csv(result, against)
    if kind == "mteb":
        return plain_json(mteb(result), 2) + "\n"
    return _terminal(result, against, other)


def _values(figure: Figure) -> dict[str, Any]:
    return {name: _finite(getattr(figure, name)) for name in ("value", "low", "high")} | {"count": figure.count}


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def number(value: float | None) -> str:
    """Three digits after the point for what is small, one for what is large."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{round(value, 3) + 0.0:.3f}"  # and no -0.000


def span(figure: Figure | None) -> str:
    """An interval, or nothing."""
    return "" if figure is None or not math.isfinite(figure.low) else f"{number(figure.low)} to {number(figure.high)}"


def shared(against: dict[str, Figure]) -> str:
    """Over what the differences are; nothing where there are none."""
    counts = {one.count for one in against.values()}
    return f"differences over the {max(counts)} records that both results have\n" if counts else ""


def _columns(rows: list[list[str]]) -> str:
    """Columns of equal width, the first to the left, numbers to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.ljust(size) if at == 0 else text.rjust(size)
            for at, (text, size) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _terminal(result: Evaluation, against: dict[str, Figure], other: str) -> str:
    protocol = result.protocol
    tried, failed = protocol["recordings"]["tried"], len(protocol["recordings"]["failed"])
    name = f"{protocol.get('model', 'encoder')} {protocol['pipeline']}"
    head = f"{visible(protocol['set'])}: {result.task}, {tried} recordings tried, {failed} failed; {name}, mats "
    rows = [["figure", "value", "95 % interval", *([f"less {visible(other)}", "95 % interval"] if against else [])]]
    for key, figure in result.figures.items():
        row = [key, number(figure.value), span(figure)]
        if against:
            gain = against.get(key)
            row += [f"{round(gain.value, 3) + 0.0:+.3f}" if gain else "-", span(gain)]
        rows.append(row)
    text = f"{head}{protocol['mats']}\n\n{_columns(rows)}{shared(against)}"
    if result.tables.get("per_class"):
        text += "\n" + _per_class(result.tables["per_class"])
    if result.tables.get("confusion"):
        text += _confused(result)
    text += "".join(f"{key}: not computed ({why})\n" for key, why in result.not_computed.items())
    return text + "\n" + _protocol(result)


def _per_class(rows: list[dict[str, Any]]) -> str:
    keys = list(rows[0])
    shown = [
        [visible(str(row[key])) if key in ("label", "count", "events", "found") else number(row[key]) for key in keys]
        for row in rows
    ]
    return _columns([keys, *shown])


def _confused(result: Evaluation) -> str:
    """The pairs of classes that are taken for each other most often."""
    labels = [*result.protocol["labels"], "(silence)"]
    pairs = [
        (count, labels[right], labels[guess])
        for right, row in enumerate(result.tables["confusion"])
        for guess, count in enumerate(row)
        if count and guess != right
    ]
    most = sorted(pairs, key=lambda pair: -pair[0])[:_CONFUSED]
    named = ", ".join(f"{visible(right)} as {visible(guess)} {count}" for count, right, guess in most)
    return f"\nconfused: {named or 'nothing'}\n"


def _protocol(result: Evaluation) -> str:
    """One line a setting, long ones cut: JSON has them whole."""
    lines = []
    for key, value in result.protocol.items():
        if key in _SHORT or key in ("set", "pipeline", "mats", "model"):
            continue
        lines.append(f"{key.replace('_', ' ')}: {visible(str(value))}")
    if labels := result.protocol.get("labels"):
        named = ", ".join(labels[:12]) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
        lines.append(f"{len(labels)} labels: {visible(named)}")
    drawn = result.protocol["bootstrap"]
    lines.append(f"intervals: bootstrap over {drawn['over']}, {drawn['draws']} draws, seed {drawn['seed']}")
    left = result.protocol["recordings"]["left_out"]
    if left:
        lines.append(f"left out: {len(left)}, {visible(left[0]['key'])} first: {visible(left[0]['why'])}")
    return "".join(line + "\n" for line in lines)


def _csv(result: Evaluation, against: dict[str, Figure]) -> str:
    header = ["figure", "of", "value", "low", "high", "count", "difference", "difference_low", "difference_high"]
    rows = [header]
    for key, figure in result.figures.items():
        gain = against.get(key)
        differences = [gain.value, gain.low, gain.high] if gain else [math.nan] * 3
        rows.append(
            [
                key,
                "all",
                *map(_digits, (figure.value, figure.low, figure.high)),
                str(figure.count),
                *map(_digits, differences),
            ]
        )
    for row in result.tables.get("per_class", []):
        count = row.get("count", row.get("events"))
        rows += [
            [key, cell(row["label"]), _digits(math.nan if value is None else value), "", "", str(count), "", "", ""]
            for key, value in row.items()
            if key not in ("label", "count", "events", "found")
        ]
    return table(rows)


def _digits(value: float) -> str:
    return f"{value:.6f}" if math.isfinite(value) else ""


def mteb(result: Evaluation) -> dict[str, Any]:
    """As MTEB writes a result of zero-shot classification. Errors: UsageError for another task."""
    if result.task != "classes":
        raise UsageError(f"--format mteb is for the task classes, not {result.task}: choose json.")
    name = result.protocol["set"]
    figures = {key: _finite(figure.value) for key, figure in result.figures.items()}
    main = figures.get("top1", figures.get("mAP"))
    scores = {
        "accuracy": figures.get("top1"),
        "f1": figures.get("macro_f1"),
        "ap": figures.get("mAP"),
        "main_score": main,
    }
    entry = {key: value for key, value in scores.items() if value is not None}
    return {
        "dataset_revision": f"files of the set's authors ({result.protocol['version']}), not MTEB's copy of them",
        "task_name": _MTEB.get(name, name),
        "mteb_version": None,
        "scores": {"test": [{**entry, "hf_subset": "default", "languages": ["eng-Latn"]}]},
        "evaluation_time": None,
        "kg_co2_emissions": None,
        "mats_protocol": result.protocol,
    }


def exported(result: Evaluation, folder: Path) -> dict[Path, str]:
    """Files that aac-metrics (CSV) and pycocoevalcap (a pair of JSON) read. Errors: UsageError for another task."""
    if result.task != "captions":
        raise UsageError(f"--export is for the task captions, not {result.task}: --records has the rest.")
    most = max(len(row["captions"]) for row in result.records)
    rows = [["file_name", "caption_predicted", *(f"caption_{n + 1}" for n in range(most))]]
    for row in result.records:
        told = row["captions"] + [""] * (most - len(row["captions"]))
        rows.append([row["key"], row["said"], *told])
    numbered = list(enumerate(result.records))
    annotations = [(number, text) for number, row in numbered for text in row["captions"]]
    references = {
        "type": "captions",
        "images": [{"id": number, "file_name": row["key"]} for number, row in numbered],
        "annotations": [
            {"id": place, "image_id": number, "caption": text} for place, (number, text) in enumerate(annotations)
        ],
    }
    said = [{"image_id": number, "caption": row["said"]} for number, row in numbered]
    return {
        folder / "captions.csv": table(rows),
        folder / "references.json": plain_json(references) + "\n",
        folder / "captions.json": plain_json(said) + "\n",
    }
