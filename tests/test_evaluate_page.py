"""The page of an evaluation: what stands on it, the worst recordings, and what a real browser makes of it."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from conftest import EXAMPLES, Run

from mats_cli.pages.charts import bar, interval, reliability
from mats_cli.pages.evaluation import evaluation_page
from mats_model.evaluate.evaluation import Evaluation, compare, record_lines, score
from mats_model.evaluate.worst import worst

EVIL = "</script><script>document.title='bad'</script><img src=x onerror=alert(1)>{{script}}"
# cards are made when they come near
LAST = "document.querySelector('#sounds article:last-child').scrollIntoView()"
HEAD = {"set": "small", "pipeline": "abc", "mats": "0", "recordings": {"tried": 9, "failed": [], "left_out": []}}


def told(text: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    return made


def notes(card: dict[str, Any]) -> dict[str, str]:
    return dict(card["notes"])


def classes(labels: list[str], more: dict[str, Any] | None = None) -> Evaluation:
    """Six recordings of three classes: a narrow mistake, a broad one and a silent recording."""
    cosines = [[0.9, 0.1, 0.2], [0.5, 0.6, 0.1], [0.1, 0.8, 0.2], [0.0, 0.0, 0.9], None, [0.9, 0.1, 0.1]]
    records = [
        {"key": f"{place}.wav", "path": str(EXAMPLES / "dog.ogg"), "labels": [labels[truth]], "cosines": row}
        for place, (truth, row) in enumerate(zip([0, 0, 1, 2, 1, 2], cosines, strict=True))
    ]
    records[0] |= {"answer": EVIL, "generated": labels[0], "by_words": True}
    return score("classes", records, {**HEAD, "labels": labels, "several": False, "scale": 4.0, **(more or {})}, 20)


def captions() -> Evaluation:
    rows = [("a dog barks", ["a dog barks loudly", "the dog barks"]), ("music", ["rain falls on a roof"])]
    records = [{"key": str(place), "said": said, "captions": some} for place, (said, some) in enumerate(rows)]
    return score("captions", records, HEAD, 20)


def retrieval() -> Evaluation:
    ranks = [([1, 3], [2, 40]), ([12, 200], [6, 7])]
    records = [
        {"key": str(place), "captions": ["a", "b"], "sound_ranks": one, "caption_ranks": two}
        for place, (one, two) in enumerate(ranks)
    ]
    return score("retrieval", records, HEAD, 20)


def answers() -> Evaluation:
    options = ["dog", "cat"]
    said = [["dog", "a dog"], ["cat", "dog"], ["cat", "cat"]]
    records = [
        {"key": str(place), "question": "What?", "answer": "dog", "options": options, "said": some,
         "without_audio": "cat"}
        for place, some in enumerate(said)
    ]  # fmt: skip
    return score("answers", records, HEAD, 20)


def events() -> Evaluation:
    frames = [[0, 1], [1, 2], [2, 3]]
    records = [
        {"key": "0", "events": [[0, 2, "dog"]], "frames": frames, "scores": [[0.9], [0.9], [0.1]]},
        {"key": "1", "events": [[0, 1, "dog"]], "frames": frames, "scores": [[0.1], [0.1], [0.9]]},
        {"key": "2", "events": [], "frames": frames, "scores": [[0.1], [0.1], [0.1]]},
    ]
    return score("events", records, {**HEAD, "labels": ["dog"], "threshold": 0.5}, 20)


# ---- which are the worst


def test_the_worst_stand_first() -> None:
    # a broad mistake, a narrow one, what is silent, and then what is right, the narrowest first
    found = worst(classes(["dog", "rain", "bell"]))
    assert [one.record["key"] for one in found] == ["5.wav", "1.wav", "4.wav", "2.wav", "0.wav", "3.wav"]
    assert [one.right for one in found] == [False, False, False, True, True, True]
    assert len(worst(classes(["dog", "rain", "bell"]), 2)) == 2
    assert [one.record["key"] for one in worst(captions())] == ["1", "0"]
    assert [one.score for one in worst(retrieval())] == pytest.approx([(1 / 12 + 1 / 200) / 2, (1 + 1 / 3) / 2])
    assert [(one.record["key"], one.right) for one in worst(answers())] == [("2", False), ("1", False), ("0", True)]
    # where nothing is to be found and nothing was, there is nothing to say
    assert [one.record["key"] for one in worst(events())] == ["1", "0"]


def test_of_several_labels_the_one_that_is_found_last_counts() -> None:
    records = [
        {"key": "a", "labels": ["dog", "bell"], "cosines": [0.9, 0.5, 0.2]},
        {"key": "b", "labels": ["rain"], "cosines": [0.7, 0.6, 0.1]},
    ]
    several = {**HEAD, "labels": ["dog", "rain", "bell"], "several": True, "scale": 4.0}
    assert [one.score for one in worst(score("classes", records, several, 20))] == pytest.approx([-0.3, -0.1])


# ---- what stands on it


def test_figures_protocol_and_confusion_are_on_the_page() -> None:
    text = evaluation_page(classes(["dog", "rain", "bell"], {"template": "a {}"}), {}, "", None, False)
    plain = unescape(re.sub(r"<[^>]+>", " ", text))
    assert re.search(r"top1\s+the nearest label is the right one\s+0\.500\s+0\.\d+ to 0\.\d+", plain)
    assert "bootstrap over recordings, 20 draws, seed 0" in plain and re.search(r"template\s+a \{\}", plain)
    assert 'title="bell as dog: 1">1<' in text and 'title="rain as (silence): 1">1<' in text
    assert 'class="hit s8" title="rain as rain' not in text  # one of two
    assert text.count("<circle") == len(classes(["dog", "rain", "bell"]).tables["reliability"])
    assert told(text)["lead"] == "classes \u00b7 9 recordings tried, 0 failed \u00b7 encoder abc \u00b7 mats 0"
    first = notes(told(text)["sounds"][0])
    assert first["true"] == "bell 0.04" and first["by cosine"].startswith("dog 0.92") and first["margin"] == "-0.800"


def test_a_comparison_stands_beside_the_figures() -> None:
    ours, theirs = classes(["dog", "rain", "bell"]), classes(["dog", "rain", "bell"])
    theirs.records[5]["cosines"] = [0.1, 0.1, 0.9]
    text = evaluation_page(ours, compare(ours, theirs, 20), "<before>", None, False)
    assert "less &lt;before&gt;" in text and ">-0.167<" in text
    assert "Differences over the 6 records that both results have." in text


def test_a_count_of_different_things_has_no_interval_in_a_comparison_either() -> None:
    gain = compare(captions(), captions(), 20)
    assert np.isnan([gain["vocabulary"].low, gain["different_captions"].high]).all() and gain["CIDEr-D"].low == 0


def test_nothing_that_was_typed_or_heard_is_run() -> None:
    labels = [EVIL, "rain", "bell"]
    text = evaluation_page(classes(labels, {"template": EVIL}), {}, "", None, False)
    assert text.count("<script") == 2 and "<img src=x" not in text and "http" not in text.replace("http-equiv", "")
    assert "style=" not in text.replace("<style>", "")  # the page's own rules refuse such


def test_what_fits_each_task(tmp_path: Path) -> None:
    told_of = notes(told(evaluation_page(captions(), {}, "", None, False))["sounds"][0])
    assert told_of["said"] == "music" and told_of["people wrote"] == "rain falls on a roof"
    text = evaluation_page(retrieval(), {}, "", None, False)
    assert [row["text_to_audio"] for row in retrieval().tables["ranks"]] == [1, 1, 0, 1, 1] and "over 100" in text
    told_of = notes(told(evaluation_page(answers(), {}, "", None, False))["sounds"][1])
    assert (told_of["said"], told_of["in another order"], told_of["without the sound"]) == ("cat", "dog", "cat")
    card = told(evaluation_page(events(), {}, "", None, False))
    assert [card["texts"][mark[2]] for mark in card["sounds"][0]["marks"]] == ["dog, true", "dog, found"]


def test_many_classes_are_told_by_their_pairs() -> None:
    labels = [f"class {place}" for place in range(80)]
    cosines = np.eye(80)[np.r_[1, np.arange(1, 80)]]
    records = [
        {"key": str(row), "labels": [labels[row]], "cosines": cosines[row].tolist()} for row in range(len(labels))
    ]
    text = evaluation_page(
        score("classes", records, {**HEAD, "labels": labels, "several": False, "scale": 4.0}, 5), {}, "", None, False
    )
    assert "<li>class 0 as class 1: 1</li>" in text and 'class="matrix"' not in text


def test_charts_are_true_to_their_values() -> None:
    assert 'width="87.50"' in bar(0.875) and bar(None) == "" == interval(1.4, 1.0, 2.0)
    assert 'x="50.00"' in interval(0.6, 0.5, 0.75) and 'width="25.00"' in interval(0.6, 0.5, 0.75)
    drawn = reliability([{"low": 0.4, "high": 0.6, "count": 3, "confidence": 0.5, "right": 0.25}])
    # a square of 240 units that begins at 34, 8
    assert 'cx="154.0" cy="188.0"' in drawn and "<title>confidence 0.500, right 0.250, 3 recordings</title>" in drawn


def test_the_program_makes_the_page(mats: Run, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(record_lines(classes(["dog", "rain", "bell"])))
    assert mats("evaluate", "r.jsonl", "-o", "out/page.html").returncode == 0
    card = told((tmp_path / "out" / "page.html").read_text())["sounds"][0]
    assert card["link"].endswith("examples/dog.ogg") and card["link"].startswith("./") and card["picture"]
    piped = mats("evaluate", "-", "--format", "html", "--embed", stdin=(tmp_path / "r.jsonl").read_bytes())
    inside = told(piped.stdout.decode())["sounds"][0]
    assert "link" not in inside and inside["audio"]
    refused = mats("evaluate", "r.jsonl", "--embed")
    assert refused.returncode == 2 and b"--embed goes with --format html" in refused.stderr


def test_a_sound_that_has_gone_is_said() -> None:
    result = classes(["dog", "rain", "bell"])
    result.records[5]["path"] = "nowhere/gone.wav"
    card = told(evaluation_page(result, {}, "", None, False))["sounds"][0]
    assert notes(card)["sound"] == "nowhere/gone.wav is not there any more" and "link" not in card


def test_records_that_mats_did_not_write(mats: Run, tmp_path: Path) -> None:
    lines = record_lines(classes(["dog", "rain", "bell"])).splitlines()
    lines[1] = lines[1].replace('"by_words": true', '"other": 1')
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    (tmp_path / "p.jsonl").write_text("\n".join([lines[0].replace('"pipeline"', '"other"'), *lines[1:]]))
    for name, kind in (("r.jsonl", "html"), ("p.jsonl", "html"), ("p.jsonl", "table")):
        done = mats("evaluate", name, "--format", kind)
        assert done.returncode == 2 and b"is not as mats writes them (KeyError" in done.stderr, (name, kind)
        assert done.stderr.count(b"\n") == 1 and not done.stdout


# ---- in a browser


def test_a_browser_shows_and_plays_it(shown: browser.Browser, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text(evaluation_page(classes([EVIL, "rain", "bell"]), {}, "", out, False), encoding="utf-8")
    shown.addresses.clear()
    shown.open(out)
    shown.run(LAST)
    shown.wait("document.querySelectorAll('#sounds .sight img').length >= 3")
    assert shown.run("document.title") == "mats evaluate: small"
    assert shown.run(
        "document.querySelector('#summary').hidden && document.querySelectorAll('.plot circle').length > 2"
    )
    shade = "getComputedStyle(document.querySelector('.matrix .hit.s4')).backgroundColor"
    assert shown.run(shade) not in ("rgba(0, 0, 0, 0)", shown.run("getComputedStyle(document.body).backgroundColor"))
    for width in (390, 320, 1100):
        shown.narrow(width)
        assert shown.run("document.documentElement.scrollWidth") <= width
    ink = "getComputedStyle(document.querySelector('.card')).backgroundColor"
    shown.look(tmp_path / "light.png")
    light = shown.run(ink)
    shown.look(tmp_path / "dark.png", dark=True)
    assert shown.run(ink) != light
    shown.click("#sounds .sight", 0.5)
    shown.wait("!document.getElementById('audio').paused && document.getElementById('audio').currentTime >= 2")
    assert all(each.startswith(("file:", "data:", "blob:")) for each in shown.addresses), shown.addresses
    assert not shown.problems


@pytest.mark.parametrize("task", [captions, retrieval, answers, events])
def test_a_browser_shows_every_task(shown: browser.Browser, tmp_path: Path, task: Any) -> None:
    out = tmp_path / "page.html"
    out.write_text(evaluation_page(task(), {}, "", out, False), encoding="utf-8")
    shown.open(out)
    shown.narrow(390)
    shown.run(LAST)
    shown.wait("document.querySelectorAll('#sounds article .notes').length >= 2")
    assert shown.run("document.documentElement.scrollWidth") <= 390
    lanes = "[...document.querySelectorAll('.lane-name')].map(e => e.textContent).filter(Boolean).join()"
    shown.wait(f"{lanes} == {','.join(['dog, true', 'dog, found'] * 2 if task is events else [])!r}")
    shown.run("(document.getElementById('filter').focus(), 1)")
    for letter in "zzz":
        shown.key(letter)
    shown.wait("[...document.querySelectorAll('#sounds article')].every(a => a.hidden)")
    assert not shown.problems
