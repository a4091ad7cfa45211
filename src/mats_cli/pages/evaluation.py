"""The result of an evaluation as a page: figures with intervals and protocol, confusion, reliability, classes, and the
worst recordings to be listened to."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli.formats import visible
from mats_cli.pages.charts import bar, interval, reliability
from mats_cli.pages.faults import cards
from mats_cli.pages.page import Front, page
from mats_cli.results import number, shared, span

if TYPE_CHECKING:
    from mats_model.evaluate.evaluation import Evaluation
    from mats_model.evaluate.intervals import Figure

_LARGEST = 60  # classes of a confusion matrix that is drawn; of more, the pairs that are confused most
_PAIRS, _WORDS = 30, 20
_SHADES = 8
_COUNTS = ("count", "events", "found")
# what a reader meets who has not read docs/evaluate.md
_MEANING = {
    "top1": "the nearest label is the right one",
    "top5": "the right label is among the five nearest",
    "mean_recall": "share found of each class, averaged",
    "macro_f1": "F1 of each class, averaged",
    "mAP": "average precision of each label's ranking, averaged",
    "ECE": "how far confidence is from being right; less is better",
    "top1_among": "the nearest label is one of the right ones",
    "generated_top1": "what the model says, matched to a label by its words, else to the nearest",
    "generated_by_words": "right by its words alone",
    "unmatched_by_words": "answers that hold no label's words",
    "generated_names_it": "answers that hold a word given for their class",
    "together_top1": "all recordings judged as one set: transductive",
    "hallucination_rate": "statements that fit no window; less is better",
    "repeated_words": "captions with a word twice; less is better",
    "sentence_similarity": "cosine to the references by all-MiniLM-L6-v2",
    "consistency": "the same option chosen in all orders",
    "accuracy_permuted": "over all orders of the options",
    "accuracy_without_audio": "what the language model guesses",
    "chance": "of guessing blindly",
}


def evaluation_page(
    result: Evaluation, against: dict[str, Figure], other: str, output: Path | None, embed: bool
) -> str:
    """HTML in one file; `against` are differences to the result called `other`."""
    from mats_model.evaluate.worst import worst

    protocol, tried = result.protocol, result.protocol["recordings"]
    model = f"{protocol.get('model', 'encoder')} {protocol['pipeline']}"
    lead = (
        f"{result.task} \u00b7 {tried['tried']} recordings tried, {len(tried['failed'])} failed \u00b7 {model} \u00b7 "
    )
    faults = worst(result)
    sections = [
        _figures(result, against, other),
        _protocol(result),
        _per_class(result.tables.get("per_class") or []),
        _confusion(result),
        _reliability(result),
        _ranks(result.tables.get("ranks") or []),
        _words(result.tables.get("words") or []),
        _left_out(result),
        f"<h2>The {len(faults)} worst</h2>" if faults else "",
    ]
    front = Front(f"{lead}mats {protocol['mats']}", "\n".join(filter(None, sections)), "evaluation.css")
    return page(f"mats evaluate: {protocol['set']}", cards(result, faults, output, embed), {}, front)


def _text(value: Any) -> str:
    return escape(visible(str(value)))


def _section(name: str, title: str, body: str) -> str:
    head = f'<section class="card" id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>'
    return f"{head}{body}</section>"


def _head(names: list[str]) -> str:
    return "<thead><tr>" + "".join(f'<th scope="col">{_text(name)}</th>' for name in names) + "</tr></thead>"


def _scrolling(name: str, table: str) -> str:
    """What is wider than a phone moves by itself."""
    return f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}-title">{table}</div>'


def _figures(result: Evaluation, against: dict[str, Figure], other: str) -> str:
    rows = []
    for key, one in result.figures.items():
        meaning = f'<span class="meaning">{_MEANING[key]}</span>' if key in _MEANING else ""
        row = (
            f'<th scope="row">{_text(key)}{meaning}</th><td class="number strong">{number(one.value)}</td>'
            f'<td class="number">{span(one)}</td><td class="chart">{interval(one.value, one.low, one.high)}</td>'
        )
        if against:
            gain = against.get(key)
            row += (
                f'<td class="number">{f"{gain.value:+.3f}" if gain else "-"}</td><td class="number">{span(gain)}</td>'
            )
        rows.append(f"<tr>{row}</tr>")
    names = [
        "figure",
        "value",
        "95 % interval",
        "from 0 to 1",
        *([f"less {other}", "95 % interval"] if against else []),
    ]
    table = f"<table>{_head(names)}<tbody>{''.join(rows)}</tbody></table>"
    missing = "".join(f"<li>{_text(key)}: not computed ({_text(why)})</li>" for key, why in result.not_computed.items())
    drawn = result.protocol["bootstrap"]
    told = f"Intervals: bootstrap over {_text(drawn['over'])}, {drawn['draws']} draws, seed {drawn['seed']}."
    told += f" {shared(against).strip().capitalize()}." if against else ""
    rest = f"<ul>{missing}</ul>" if missing else ""
    return _section("figures", "Figures", f'{_scrolling("figures", table)}{rest}<p class="meaning">{told}</p>')


def _protocol(result: Evaluation) -> str:
    """All of it, but for the recordings, which have a place of their own."""
    rows = "".join(
        f"<dt>{_text(key.replace('_', ' '))}</dt><dd>{_text(_plain(value))}</dd>"
        for key, value in result.protocol.items()
        if key not in ("recordings", "bootstrap")
    )
    return f'<details class="card" open><summary>Protocol</summary><dl class="notes">{rows}</dl></details>'


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "") else str(value)


def _per_class(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    keys = list(rows[0])
    main = next(key for key in ("recall", "AP", "segment_F1", "accuracy") if key in keys)
    body = "".join(
        f'<tr><th scope="row">{_text(row["label"])}</th><td class="chart">{bar(row[main])}</td>'
        + "".join(f'<td class="number">{row[key] if key in _COUNTS else number(row[key])}</td>' for key in keys[1:])
        + "</tr>"
        for row in rows
    )
    table = f"<table>{_head(['', main, *keys[1:]])}<tbody>{body}</tbody></table>"
    return _section("classes", "Per class", _scrolling("classes", table))


def _confusion(result: Evaluation) -> str:
    table, labels = result.tables.get("confusion"), result.protocol.get("labels", [])
    if not table:
        return ""
    names = [*labels, "(silence)"]
    if len(labels) > _LARGEST:
        return _section("confusion", "Confused most often", _pairs(table, names))
    head = "".join(f'<th scope="col"><span>{_text(name)}</span></th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{_text(labels[right])}</th>{_cells(row, right, names)}</tr>'
        for right, row in enumerate(table)
    )
    words = '<p class="meaning">Rows are the truth, columns the nearest label.</p>'
    drawn = f'<table class="matrix"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'
    return _section("confusion", "Confusion", words + _scrolling("confusion", drawn))


def _cells(row: list[int], right: int, names: list[str]) -> str:
    """A row of counts, each the darker the larger a share of the row it is."""
    whole = max(1, sum(row))
    return "".join(
        f'<td class="{"hit" if place == right else "miss"} s{-(-_SHADES * count // whole)}" '
        f'title="{_text(names[right])} as {_text(names[place])}: {count}">{count or ""}</td>'
        for place, count in enumerate(row)
    )


def _pairs(table: list[list[int]], names: list[str]) -> str:
    pairs = [
        (count, names[right], names[guess])
        for right, row in enumerate(table)
        for guess, count in enumerate(row)
        if count and guess != right
    ]
    most = sorted(pairs, key=lambda pair: -pair[0])[:_PAIRS]
    return "<ul>" + "".join(f"<li>{_text(one)} as {_text(two)}: {count}</li>" for count, one, two in most) + "</ul>"


def _reliability(result: Evaluation) -> str:
    rows = result.tables.get("reliability")
    if not rows:
        return ""
    words = (
        '<p class="meaning">How often the best label is right, by how sure it is; on the dashed line they agree. Below '
        f"stands how many recordings. ECE {number(result.figures['ECE'].value)}.</p>"
    )
    return _section("reliability", "Reliability", words + reliability(rows))


def _ranks(rows: list[dict[str, Any]]) -> str:
    """Of a retrieval."""
    if not rows:
        return ""
    ways = ("text_to_audio", "audio_to_text")
    whole = {way: max(1, sum(row[way] for row in rows)) for way in ways}
    body = "".join(
        f'<tr><th scope="row">{_between(row)}</th>'
        + "".join(
            f'<td class="chart">{bar(row[way] / whole[way])}</td><td class="number">{row[way]}</td>' for way in ways
        )
        + "</tr>"
        for row in rows
    )
    head = _head(["rank", "text to audio", "", "audio to text", ""])
    return _section("ranks", "Ranks", _scrolling("ranks", f"<table>{head}<tbody>{body}</tbody></table>"))


def _between(row: dict[str, Any]) -> str:
    low, high = row["low"], row["high"]
    return f"{low}" if low == high else f"{low} to {high}" if high < 1000 else f"over {low - 1}"


def _words(rows: list[dict[str, Any]]) -> str:
    """Those said most often."""
    if not rows:
        return ""
    most = max(row["count"] for row in rows)
    body = "".join(
        f'<tr><th scope="row">{_text(row["word"])}</th><td class="chart">{bar(row["count"] / most)}</td>'
        f'<td class="number">{row["count"]}</td></tr>'
        for row in rows[:_WORDS]
    )
    return _section("words", "Words said most often", _scrolling("words", f"<table><tbody>{body}</tbody></table>"))


def _left_out(result: Evaluation) -> str:
    """Each recording that failed or was not tried, and why."""
    told = result.protocol["recordings"]
    rows = "".join(
        f"<li>{_text(one['key'])}: {_text(one['why'])}</li>" for name in ("failed", "left_out") for one in told[name]
    )
    count = len(told["failed"]) + len(told["left_out"])
    title = f"{len(told['failed'])} failed, {len(told['left_out'])} left out"
    return f'<details class="card"><summary>{title}</summary><ul>{rows}</ul></details>' if count else ""
