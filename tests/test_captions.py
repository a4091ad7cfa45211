"""Readers of captions, and the small judgements about them."""

from __future__ import annotations

import json
from pathlib import Path

from mats_model import captions
from mats_model.captions import Example


def test_audiocaps_leaves_out_what_others_say(tmp_path: Path) -> None:
    header = "audiocap_id,youtube_id,start_time,caption\n"
    (tmp_path / "train.csv").write_text("\ufeff" + header + '1,a,0,A dog  barks.\n2,b,0,Rain\n3,c,0,"Rain falls, hard"\n4,d,0,a dog barks\n', "utf-8")
    (tmp_path / "test.csv").write_text(header + "9,z,0,Rain falls, hard\n".replace("Rain falls, hard", '"rain falls , hard"'), "utf-8")
    assert captions.audiocaps(tmp_path / "train.csv") == [Example(t, "<caption>", t) for t in ("a dog barks", "rain falls, hard")]
    assert captions.audiocaps(tmp_path / "train.csv", [tmp_path / "test.csv"]) == [Example("a dog barks", "<caption>", "a dog barks")]


def test_musiccaps_is_shortened(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption\nx,0,10,/m/1,\"['low quality', 'slow piano']\","
        '"The low quality recording features a slow piano melody. It is sad."\n'
    )
    told = captions.musiccaps(tmp_path / "m.csv")
    assert [e.answer for e in told] == ["a slow piano melody"] * 2 and told[1].text == "music, slow piano"


def test_class_names(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text('"bird chirping, tweeting",1,animals\nplaying banjo,1,music\n')
    assert [(e.text, e.answer) for e in captions.vggsound(tmp_path / "v.csv")] == [
        ("bird chirping", "bird chirping"), ("tweeting", "bird chirping"), ("playing banjo", "someone playing banjo"),
    ]  # fmt: skip
    (tmp_path / "o.json").write_text(json.dumps([{"name": "Dog", "description": "A pet.", "restrictions": []}]))
    (tmp_path / "u.json").write_text(json.dumps([{"Category": "AIR", "SubCategory": "HISS", "Explanations": "Slow leaks."}]))
    made = captions.class_labels(tmp_path / "o.json", tmp_path / "u.json")
    assert [e.answer for e in made] == ["dog", "dog", "air hiss"]
    assert made[0].prompt == "<question> what makes this sound? <answer>"


def test_yes_or_no() -> None:
    told = [Example("a dog barks loudly", "<caption>", "a dog barks loudly")] * 101
    asked = captions.yes_or_no(told, ["Dog", "Chicken, rooster"], 0)
    assert {(e.prompt, e.answer) for e in asked} <= {
        ("<question> is there dog? <answer>", "yes"), ("<question> is there chicken? <answer>", "no"),
        ("<question> is there rooster? <answer>", "no"),
    }  # fmt: skip
    assert {e.answer for e in asked} == {"yes", "no"}


def test_judgements() -> None:
    assert captions.repeats("a man speaks and a woman speaks") and not captions.repeats("a dog and a cat")
    assert captions.adds_speech("a dog barks while a man speaks") and not captions.adds_speech("a man speaks")
    assert captions.of_one_sound("a man speaks") and not captions.of_one_sound("a dog barks, people talk")
