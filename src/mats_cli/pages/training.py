"""A page about a training run, in one file that opens nothing else: its loss, what was held out, what it says now."""

from __future__ import annotations

import math
import re
from html import escape
from pathlib import Path
from typing import Any

from mats_cli.formats import visible
from mats_cli.pages.page import digest

_HERE = Path(__file__).parent
_WIDE, _HIGH, _LEFT, _LOW = 900, 300, 52, 34  # pixels of the curve; its axes stand so far from the edges
_POINTS = 400  # of a line: more of them are joined by their means
_AGAIN = 20  # seconds after which a browser looks again, while the run goes on

Row = dict[str, Any]  # a report, as in steps.jsonl


def training_page(title: str, about: list[str], rows: list[Row], done: bool) -> str:
    """HTML. `about`: what is trained, in a few words each; `rows`: all reports so far; a page that is not `done` is
    looked at again by the browser."""
    style = (_HERE / "training.css").read_text("utf-8")
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("step", "evaluated", "sample")}
    values = {
        "title": escape(visible(title)),
        "about": escape(visible(" · ".join(about))),
        "again": "" if done else f'<meta http-equiv="refresh" content="{_AGAIN}">\n',
        "policy": f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src '{digest(style)}'",
        "style": style,
        "facts": _facts(kinds["step"], kinds["evaluated"], done),
        "curve": _curve(kinds["step"], kinds["evaluated"]),
        "evaluated": _evaluated(kinds["evaluated"]),
        "samples": _samples(kinds["sample"]),
    }
    shell = (_HERE / "training.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], shell)


def _facts(steps: list[Row], evaluated: list[Row], done: bool) -> str:
    if not steps:
        return "<p>No step was reported yet.</p>"
    last = steps[-1]
    facts = [("step", f"{last['step']} of {last['steps']}"), ("loss", f"{last['loss']:.3f}")]
    if evaluated:
        best = min(evaluated, key=lambda row: row["loss"])
        facts.append(("least held-out loss", f"{best['loss']:.3f} (step {best['step']})"))
    facts.append(("examples a second", f"{last['examples']:.0f}"))
    facts.append(("left", "done" if done else _clock(last.get("left", 0.0))))
    told = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    share = last["step"] / last["steps"]
    return f'<dl>{told}</dl><progress value="{share:.3f}" aria-label="share of all steps">{share:.0%}</progress>'


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# ---- the curve


def _curve(steps: list[Row], evaluated: list[Row]) -> str:
    """Both losses over the steps, as a picture of lines."""
    lines = {"step": _thinned(_points(steps)), "evaluated": _points(evaluated)}
    points = [point for line in lines.values() for point in line]
    if not points:
        return "<p>No step was reported yet.</p>"
    most = max((row["steps"] for row in steps), default=points[-1][0])
    low, high, ticks = _ticks([loss for _, loss in points])
    across = (_WIDE - _LEFT - 8) / max(1, most)
    up = (_HIGH - _LOW - 8) / (high - low)

    def place(step: float, loss: float) -> tuple[float, float]:
        return round(_LEFT + step * across, 1), round(_HIGH - _LOW - (loss - low) * up, 1)

    drawn = []
    for tick in ticks:
        y = place(0, tick)[1]
        drawn.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDE - 8}" y1="{y}" y2="{y}"/>')
        drawn.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for part in range(5):
        x = place(most * part / 4, low)[0]
        end = ("start", "middle", "middle", "middle", "end")[part]
        drawn.append(f'<text x="{x}" y="{_HIGH - 10}" text-anchor="{end}">{round(most * part / 4)}</text>')
    for kind, line in lines.items():
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in line))
        drawn.append(f'<polyline class="{kind}" points="{path}"/>')
    for point in lines["evaluated"]:
        x, y = place(*point)
        drawn.append(
            f'<circle class="dot" cx="{x}" cy="{y}" r="3.5"><title>{point[0]}: {point[1]:.3f}</title></circle>'
        )
    said = f"from {points[0][1]:.2f} to {lines['step'][-1][1]:.2f}" if lines["step"] else "held out"
    key = '<p class="key"><span>training</span>' + ('<span class="held">held out</span>' if evaluated else "") + "</p>"
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="Loss, {said}">{"".join(drawn)}</svg>{key}'


def _points(rows: list[Row]) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in rows if math.isfinite(row["loss"])]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """As many as can be seen: each the mean of some that follow each other."""
    size = -(-len(points) // _POINTS)
    parts = [points[at : at + size] for at in range(0, len(points), size)] if points else []
    return [(part[-1][0], sum(loss for _, loss in part) / len(part)) for part in parts]


def _ticks(values: list[float]) -> tuple[float, float, list[float]]:
    """Round numbers below, above and between."""
    least, most = min(values), max(values)
    rough = max(most - least, 1e-3) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(each for each in (1, 2, 2.5, 5, 10) if each * power >= rough)
    first, last = math.floor(least / step), math.ceil(most / step)
    last += last == first
    return first * step, last * step, [round(number * step, 6) for number in range(first, last + 1)]


# ---- tables


def _evaluated(rows: list[Row]) -> str:
    if not rows:
        return ""
    scored = any(row.get("rouge_l") is not None for row in rows)
    head = '<th scope="col" class="number">ROUGE-L</th>' if scored else ""
    lines = []
    for row in reversed(rows):
        rouge = "" if row.get("rouge_l") is None else f"{row['rouge_l']:.3f}"
        cells = [str(row["step"]), f"{row['loss']:.3f}"] + ([rouge] if scored else [])
        told = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        lines.append(f"<tr>{told}<td>{'the best so far' if row['best'] else ''}</td></tr>")
    return (
        '<section aria-labelledby="held"><h2 id="held">On what is held out</h2><div class="scroll"><table><thead><tr>'
        '<th scope="col" class="number">Step</th><th scope="col" class="number">Loss</th>'
        f"{head}<th></th></tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>\n"
    )


def _samples(rows: list[Row]) -> str:
    """What it says now; what it said before is folded away."""
    if not rows:
        return ""
    steps = sorted({row["step"] for row in rows}, reverse=True)
    tables = [_said([row for row in rows if row["step"] == step]) for step in steps]
    before = "".join(f"<p>Step {step}</p>{table}" for step, table in zip(steps[1:], tables[1:], strict=True))
    folded = f"<details><summary>Before</summary>{before}</details>" if before else ""
    title = f'<h2 id="says">What it says now (step {steps[0]})</h2>'
    return f'<section aria-labelledby="says">{title}{tables[0]}{folded}</section>\n'


def _said(rows: list[Row]) -> str:
    cells = "".join(
        "<tr>" + "".join(f"<td>{escape(visible(row[key]))}</td>" for key in ("heard", "wanted", "answer")) + "</tr>"
        for row in rows
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("What is heard", "Wanted", "Said"))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>'
