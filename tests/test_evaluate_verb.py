"""`mats evaluate` as its users meet it: figures and protocol, going on after a stop, comparing, exit codes."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import EXAMPLES, Run, encoded

from mats_cli import console
from mats_cli.judging import judged
from mats_model.errors import InputError, UsageError
from mats_model.evaluate.evaluation import compare, read_result, rescored, task_of
from mats_model.evaluate.examples import Example, of_folder, of_table
from mats_model.evaluate.run import Judged, conclude, evaluate, judge
from mats_model.evaluate.task import EvaluationSettings, Task
from mats_model.llm.prompts import Question, is_caption
from mats_model.mats import Ears, Mats
from mats_model.together import together


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder per class; one recording is silent, one is none."""
    for name, label in (("dog", "001 - Dog bark"), ("rain", "rain"), ("rooster", "rooster"), ("clock", "clock_tick")):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        shutil.copy(EXAMPLES / f"{name}.ogg", tmp_path / "sounds" / label / f"{name}.ogg")
    (tmp_path / "sounds" / "rain" / "bad.wav").write_text("not a sound")
    (tmp_path / "sounds" / "rain" / "silent.wav").write_bytes(encoded(np.zeros(32_000, np.float32)))
    return tmp_path / "sounds"


def test_a_folder_of_classes(mats: Run, sounds: Path, tmp_path: Path) -> None:
    done = mats("evaluate", sounds, "--json", "--records", "records.jsonl", "--together")
    assert done.returncode == 3 and b"bad.wav" in done.stderr and b"1 of 6 recordings failed" in done.stderr
    result = json.loads(done.stdout)
    figures, protocol = result["figures"], result["protocol"]
    assert figures["top1"]["value"] == 0.8 and figures["together_top1"]["value"] == 0.8  # silence is wrong
    assert figures["top1"]["low"] <= 0.8 <= figures["top1"]["high"] and figures["top1"]["count"] == 5
    assert protocol["labels"] == ["dog bark", "clock tick", "rain", "rooster"]
    assert [one["key"] for one in protocol["recordings"]["failed"]] == ["rain/bad.wav"]
    assert protocol["recordings"]["tried"] == 6 and protocol["bootstrap"]["draws"] == 1000
    for key in ("template", "prompt", "tag", "windows", "pooling", "resampling", "pipeline", "mats", "search", "santa"):
        assert protocol[key], key
    # the records alone give every figure again, in whatever order the keys stand
    again = mats("evaluate", "records.jsonl", "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["figures"] == figures


def test_all_together_is_as_classify_does_it(nano: Mats, sounds: Path) -> None:
    (sounds / "rain" / "bad.wav").unlink()
    (sounds / "rain" / "silent.wav").unlink()
    found = of_folder(sounds)
    result = evaluate(task_of(nano, found, EvaluationSettings(generated=False, together=True)), draws=10)
    heard = np.stack([nano.embed_audio(one.path) for one in found.examples if one.path])
    best = together(heard, nano.label_embeddings(found.labels)).argmax(1)
    assert [row["together"] for row in result.records] == [found.labels[place] for place in best]


def test_answers_that_name_their_class_by_given_words(mats: Run, sounds: Path, tmp_path: Path) -> None:
    (sounds / "rain" / "bad.wav").unlink()
    (tmp_path / "w.csv").write_text("label,words\ndog bark,puppy;dog\nrain,drizzl;RAIN\nrooster,crow\nclock tick,xyz\n")
    done = mats("evaluate", sounds, "--synonyms", "w.csv", "-o", "r.json")
    assert done.returncode == 0
    result = json.loads((tmp_path / "r.json").read_text())
    # dog, rain and rooster are named; the clock not by such a word, and silence by none
    assert result["figures"]["generated_names_it"]["value"] == 0.6 and result["protocol"]["synonyms"]["rooster"] == [
        "crow"
    ]
    assert {row["label"]: row["names_it"] for row in result["tables"]["per_class"]}["clock tick"] == 0
    # other words need no hearing
    (tmp_path / "w.csv").write_text("label,words\ndog bark,xyz\nrain,xyz\nrooster,xyz\nclock tick,clock\n")
    again = json.loads(mats("evaluate", "r.json", "--synonyms", "w.csv", "--json").stdout)
    assert again["figures"]["generated_names_it"]["value"] == 0.2
    (tmp_path / "w.csv").write_text("label,words\nrain,x\n")
    refused = mats("evaluate", "r.json", "--synonyms", "w.csv")
    assert refused.returncode == 2 and b"w.csv has no words for dog bark, clock tick, rooster" in refused.stderr
    refused = mats("evaluate", "r.json", "--template", "a {}")
    assert refused.returncode == 2 and b"--template changes nothing in an earlier result" in refused.stderr


def test_table_csv_and_mteb(mats: Run, sounds: Path) -> None:
    (sounds / "rain" / "bad.wav").unlink()
    shown = mats("evaluate", sounds, "--no-generated", "-o", "r.json")
    assert shown.returncode == 0 and shown.stdout == b""
    text = mats("evaluate", "r.json").stdout.decode()
    assert "sounds: classes, 5 recordings tried, 0 failed; nano" in text and "generated" not in text
    assert "confused: rain as (silence) 1" in text and "intervals: bootstrap over recordings, 1000 draws" in text
    assert all(len(line) < 200 and line == line.rstrip() for line in text.splitlines())
    rows = mats("evaluate", "r.json", "--csv").stdout.decode().splitlines()
    assert rows[0].startswith("figure,of,value,low,high,count") and "recall,rain,0.500000,,,2,,," in rows
    assert mats("evaluate", "r.json", "--format", "mteb", "-o", "m.json").returncode == 0
    entry = json.loads((sounds.parent / "m.json").read_text())
    assert entry["scores"]["test"][0]["accuracy"] == entry["scores"]["test"][0]["main_score"] == 0.8


def test_against_another_and_fail_under(mats: Run, sounds: Path) -> None:
    (sounds / "rain" / "bad.wav").unlink()
    mats("evaluate", sounds, "--no-generated", "-o", "before.json")
    done = mats(
        "evaluate", sounds, "--no-generated", "--labels", "violin,sermon,applause,printer", "--against", "before.json",
        "--fail-under", "top1=0.8", "--fail-under", "mAP=0.0", "--json",
    )  # fmt: skip
    assert done.returncode == 8 and b"labels differ" in done.stderr
    assert b"which is under --fail-under top1=0.8" in done.stderr and b"mAP=" not in done.stderr
    gain = json.loads(done.stdout)["against"]
    assert gain["result"] == "before.json" and gain["differences"]["top1"]["value"] < 0
    assert mats("evaluate", "before.json", "--fail-under", "top1=0.8").returncode == 0
    shown = mats("evaluate", "before.json", "--against", "before.json").stdout
    assert b"differences over the 5 records that both results have" in shown


def test_it_goes_on_after_a_stop(
    nano: Mats, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = of_folder(sounds)
    settings = EvaluationSettings(together=True)
    whole = evaluate(task_of(nano, found, settings))

    out = tmp_path / "out" / "r.json"
    with monkeypatch.context() as patch:
        patch.setattr("mats_model.evaluate.run.judge", stopped_after(2))
        with pytest.raises(console.Stopped):
            judged(nano, found, settings, {}, out, 0, False)
    assert "2 of 6 recordings are done. The same command goes on from there" in capsys.readouterr().err
    journal = out.with_name(".r.json.unfinished.jsonl")
    journal.write_text(journal.read_text() + "nonsense\n" + journal.read_text()[:50])  # as a kill leaves it
    again, code = judged(nano, found, settings, {}, out, 0, False)
    assert "going on: 2 of 6 recordings were done before" in capsys.readouterr().err
    assert again.to_json() == whole.to_json() and code == 3 and not journal.exists()


def stopped_after(count: int) -> Any:
    """The loop over recordings, ended by Ctrl-C after so many."""

    def some(task: Task, recordings: list[list[Example]]) -> Iterator[Judged]:
        yield from itertools.islice(judge(task, recordings), count)
        raise KeyboardInterrupt

    return some


def test_a_truth_that_was_corrected_is_judged_anew(
    nano: Mats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, out = EvaluationSettings(), tmp_path / "r.json"
    rows = "path,caption,caption_2\na,a dog barks,the dog barks\nb,rain falls,it rains\nc,a bell rings,bells\n"
    before = of_table(truth(tmp_path, rows), "captions", text_only=True)
    with monkeypatch.context() as patch:
        patch.setattr("mats_model.evaluate.run.judge", stopped_after(2))
        with pytest.raises(console.Stopped):
            judged(nano, before, settings, {}, out, 0, False)
    found = of_table(truth(tmp_path, rows.replace("it rains", "rain drops")), "captions", text_only=True)
    result, code = judged(nano, found, settings, {}, out, 0, False)
    assert "going on: 1 of 3 recordings were done before" in capsys.readouterr().err and code == 0
    assert [row["captions"] for row in result.records] == [["the dog barks"], ["rain drops"], ["bells"]]
    assert result.to_json() == evaluate(task_of(nano, found, settings)).to_json()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a folder or a table"),
        (["nowhere"], "there is no nowhere"),
        (["sounds", "--task", "events"], "needs a table"),
        (["t.csv"], "say what t.csv holds: --task classes"),
        (["t.csv", "--task", "sounds"], "choose one of classes"),
        (["--set", "esc50"], "needs --data DIR"),
        (["sounds", "--set", "esc50", "--data", "."], "name a folder or a table"),
        (["sounds", "--format", "xml"], "--format xml: choose one of table, json, csv, html, mteb"),
        (["sounds", "-o", "r.csv", "--json"], "asks for csv and --format json for another"),
        (["sounds", "--fail-under", "top1"], "give a figure and a number"),
        (["sounds", "--against", "t.csv"], "is no result of mats evaluate"),
        (["sounds", "--text-to-text", "--task", "classes"], "is for the task captions"),
    ],
)
def test_what_is_asked_wrongly(mats: Run, sounds: Path, tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "t.csv").write_text("path,caption\na.wav,a dog\n")
    done = mats("evaluate", *words)
    assert done.returncode == 2 and said in done.stderr.decode() and b"Traceback" not in done.stderr


def test_sounds_that_are_all_missing_are_said_once(mats: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,caption\n" + "".join(f"{n}.wav,a dog\n" for n in range(99)))
    done = mats("evaluate", "t.csv", "--task", "captions", "--data", "nowhere")
    assert done.returncode == 4 and done.stderr.count(b"\n") == 1
    assert b"none of the 99 recordings of t can be opened: nowhere/0.wav is not there" in done.stderr


def test_silence_alone(nano: Mats, tmp_path: Path) -> None:
    for label in ("dog", "rain"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.wav").write_bytes(encoded(np.zeros(32_000, np.float32)))
    result = evaluate(task_of(nano, of_folder(tmp_path), EvaluationSettings(together=True)), draws=10)
    assert result.figures["top1"].value == 0.0 and "together_top1" not in result.figures


def test_hostile_results(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", "[" * 100_000, '{"format": 9, "protocol": {}, "task": "x", "records": []}', "\0",
                 '{"format": 1, "task": "classes", "protocol": {}, "records": [{"key": 1}]}'):  # fmt: skip
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(UsageError, match=r"r\.json"):
            read_result(tmp_path / "r.json")


# ---- the other tasks, as Python has them


def truth(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    for file in EXAMPLES.glob("*.ogg"):
        shutil.copy(file, tmp_path)
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_captions(mats: Run, nano: Mats, tmp_path: Path) -> None:
    rows = "path,caption\ndog.ogg,a dog barks\ndog.ogg,the dog is barking\nrain.ogg,rain falls\nrain.ogg,it rains\n"
    path = truth(tmp_path, rows)
    done = mats("evaluate", path, "--task", "captions", "--json", "--export", "exported")
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["figures"]["CIDEr-D"]["value"] > 0
    assert {"SPICE", "METEOR", "FENSE"} <= result["not_computed"].keys() and "SPICE" not in result["figures"]
    assert 0 <= result["figures"]["hallucination_rate"]["value"] <= 1
    assert result["records"][0]["said"] == nano.caption(EXAMPLES / "dog.ogg")
    said = json.loads((tmp_path / "exported" / "captions.json").read_text())
    told = json.loads((tmp_path / "exported" / "references.json").read_text())
    assert [one["image_id"] for one in said] == [0, 1] and len(told["annotations"]) == 4
    head, first, _ = (tmp_path / "exported" / "captions.csv").read_text().splitlines()
    assert head == "file_name,caption_predicted,caption_1,caption_2" and first.startswith("dog.ogg,")


@pytest.mark.parametrize(
    "text",
    [
        "path,caption\ndog.ogg,a dog barks\nrain.ogg,rain falls\n",
        "path\tcaption\r\ndog.ogg\ta dog barks\r\nrain.ogg\train falls\r\n",
        '{"path": "dog.ogg", "caption": "a dog barks"}\n{"path": "rain.ogg", "caption": "rain falls"}\n',
        '[{"path": "dog.ogg", "caption": "a dog barks"}, {"path": "rain.ogg", "caption": "rain falls"}]',
    ],
    ids=["csv", "tsv", "jsonl", "json"],
)
def test_a_table_on_standard_input(mats: Run, text: str) -> None:
    done = mats("evaluate", "-", "--task", "captions", "--data", EXAMPLES, "--json", stdin=text.encode())
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["protocol"]["set"] == "standard input"
    assert [row["captions"] for row in result["records"]] == [["a dog barks"], ["rain falls"]]
    # and the result again
    again = mats("evaluate", "-", "--json", "-o", "-", stdin=done.stdout)
    assert json.loads(again.stdout)["figures"] == result["figures"]


def test_nothing_on_standard_input(mats: Run) -> None:
    empty, strange = mats("evaluate", "-", "--task", "captions"), mats("evaluate", "-", stdin=b"path,caption\na,b\n")
    assert empty.returncode == strange.returncode == 2
    assert b"standard input is empty: pipe a table in" in empty.stderr
    assert b"say what standard input holds: --task classes" in strange.stderr


def test_prompt_and_tag_reach_the_language_model(nano: Mats, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, plain = list[Question](), nano.llm.answers

    def answers(prefix: Any, question: Question, settings: Any) -> Any:
        asked.append(question)
        return plain(prefix, Question(), settings)

    monkeypatch.setattr(nano.llm, "answers", answers)
    found = of_folder(sounds)
    for prompt, tag, told in (("", "", "[audio caption]"), ("Which?", "", "[audio qa]"), ("Which?", "[x]", "[x]")):
        result = evaluate(task_of(nano, found, EvaluationSettings(prompt=prompt, tag=tag)), draws=5)
        assert asked[-1] == Question(prompt, told) and result.protocol["tag"] == told
    assert is_caption("[audio caption clotho]") and not is_caption("[audio qa]")


def test_text_to_text_hears_nothing(nano: Mats, tmp_path: Path) -> None:
    path = truth(tmp_path, "path,caption\nx.wav,a dog barks\nx.wav,the dog is barking\ny.wav,rain falls\n")
    found = of_table(path, "captions", text_only=True)
    assert found.left_out == [("y.wav", "has one caption only, and nothing to compare it with")]
    result = evaluate(task_of(nano, found, EvaluationSettings()), draws=10)
    assert result.records[0]["read"] == "a dog barks" and result.records[0]["captions"] == ["the dog is barking"]
    assert "hallucination_rate" not in result.figures and "nothing" in result.protocol["heard"]


def test_retrieval(nano: Mats, tmp_path: Path) -> None:
    rows = "path,caption\ndog.ogg,a dog barks\nrain.ogg,rain falls on a roof\nrooster.ogg,a rooster crows\n"
    found = of_table(truth(tmp_path, rows), "retrieval")
    result = evaluate(task_of(Ears(nano.clap, nano.scales), found, EvaluationSettings()), draws=10)
    assert result.figures["text_to_audio_R@1"].value == result.figures["audio_to_text_mAP@10"].value == 1.0
    assert result.records[0]["caption_ranks"] == [1] and "embedding" not in result.records[0]
    assert "model" not in result.protocol


def test_answers(nano: Mats, tmp_path: Path) -> None:
    rows = (
        "path,question,answer,options\ndog.ogg,What barks?,dog,cat|dog|cow\ndog.ogg,Is there a dog?,yes,\n"
        "rain.ogg,Is there a dog?,no,\n"
    )
    found = of_table(truth(tmp_path, rows), "answers")
    result = evaluate(task_of(nano, found, EvaluationSettings()), draws=10)
    assert result.figures["accuracy"].value == 1.0 and [row["said"][0][:3] for row in result.records] == [
        "dog",
        "Yes",
        "No,",
    ]
    assert "scores of the sound" in result.not_computed["accuracy_without_audio"]
    with pytest.raises(UsageError, match="needs a model that answers"):
        task_of(Ears(nano.clap, nano.scales), found, EvaluationSettings())


def test_events(nano: Mats, tmp_path: Path) -> None:
    found = of_table(truth(tmp_path, "path,start,end,label\nrain.ogg,0,5,rain\ndog.ogg,0,1,dog bark\n"), "events")
    result = evaluate(task_of(nano, found, EvaluationSettings(every=1.0, threshold=0.5)), draws=10)
    assert 0 < result.figures["segment_F1"].value <= 1 and result.protocol["every"] == 1.0
    assert [row["label"] for row in result.tables["per_class"]] == ["dog bark", "rain"]
    assert len(result.records[0]["scores"]) == len(result.records[0]["frames"]) == 5
    # another threshold needs no hearing
    other = evaluate(task_of(nano, found, EvaluationSettings(every=1.0, threshold=0.9)), draws=10)
    assert rescored(result, {"threshold": 0.9}, draws=10).to_json() == other.to_json()


def test_results_that_share_nothing_do_not_compare(nano: Mats, sounds: Path) -> None:
    (sounds / "rain" / "bad.wav").unlink()
    found = of_folder(sounds)
    task = task_of(nano, found, EvaluationSettings(generated=False))
    one = evaluate(task, draws=10)
    other = evaluate(task, draws=10)
    other.records = [{**row, "key": f"other/{row['key']}"} for row in other.records]
    with pytest.raises(UsageError, match="shares no recording"):
        compare(one, other)
    lost = [judged for judged in judge(task, [[found.examples[0]]]) if judged.error]
    assert lost == []
    with pytest.raises(InputError, match="nothing could be judged"):
        conclude(task, [])
