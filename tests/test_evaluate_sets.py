"""Public sets in small, laid out as their authors ship them, and tables of a user's own with their faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mats_model.errors import UsageError
from mats_model.evaluate.examples import Example, label_of, of_files, of_table, renamed
from mats_model.evaluate.sets import SETS, of_set


def laid(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


ESC = """filename,fold,target,category,esc10,src_file,take
1-1-A-0.wav,1,0,dog,True,1,A
1-2-A-1.wav,1,1,crying_baby,False,2,A
"""
URBAN = """slice_file_name,fsID,start,end,salience,fold,classID,class
7-3-0-0.wav,7,0,1,1,5,3,dog_bark
"""
WET = """file_name,QuestionText,answer,confidence
a.wav,Is it wet?,no,yes
a.wav,Is it wet?,YES,yes
a.wav,Is it wet?,yes,yes
"""
CAPS = "audiocap_id,youtube_id,start_time,caption\n1,abc,30,a dog\n2,abc,30,the dog\n"
CLOTHO = "file_name,caption_1,caption_2\nA b.wav,a dog,the dog\n"
MUSIC = "ytid,start_s,end_s,caption,is_audioset_eval\nabc,0,10,a song,True\nx,0,10,b,False\n"
SCENES = "TUT-acoustic-scenes-2017-evaluation"
VOCAL = {"data": [{"wav": "/x/f0003_0_throatclearing.wav", "labels": "/m/01"}]}
CHOICE: dict[str, Any] = {"id": "1", "question": "What barks?", "choices": ["dog", "cat; old"], "answer": "dog"}
CHOSEN = {"question": "What barks?", "answer": "dog", "options": ["dog", "cat; old"]}
TWO = {"captions": ["a dog", "the dog"]}
# name -> files, the truth of the last example, where its sound should lie
SHIPPED: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "esc50": ({"meta/esc50.csv": ESC}, {"labels": ["crying baby"]}, "audio/1-2-A-1.wav"),
    "esc10": ({"meta/esc50.csv": ESC}, {"labels": ["dog"]}, "audio/1-1-A-0.wav"),
    "us8k": ({"metadata/UrbanSound8K.csv": URBAN}, {"labels": ["dog bark"]}, "audio/fold5/7-3-0-0.wav"),
    "fsd50k": (
        {"FSD50K.ground_truth/eval.csv": 'fname,labels,mids\n37199,"Electric_guitar,Guitar",x\n'},
        {"labels": ["electric guitar", "guitar"]},
        "FSD50K.eval_audio/37199.wav",
    ),
    "gtzan": (
        {"genres/blues/blues.00000.au": "", "genres/rock/rock.00000.au": ""},
        {"labels": ["rock"]},
        "genres/rock/rock.00000.au",
    ),
    "tut2017": (
        {f"{SCENES}/meta.txt": "audio/1.wav\tcafe/restaurant\n"},
        {"labels": ["cafe or restaurant"]},
        f"{SCENES}/audio/1.wav",
    ),
    "vocalsound": (
        {"datafiles/te.json": json.dumps(VOCAL)},
        {"labels": ["throat clearing"]},
        "audio_16k/f0003_0_throatclearing.wav",
    ),
    "audiocaps": ({"test.csv": CAPS, "waves/Yabc.wav": ""}, TWO, "waves/Yabc.wav"),
    "clotho": ({"clotho_captions_evaluation.csv": CLOTHO, "evaluation/A b.wav": ""}, TWO, "evaluation/A b.wav"),
    "clothoaqa": (
        {"clotho_aqa_test.csv": WET},
        {"question": "Is it wet?", "answer": "yes", "options": []},
        "audio_files/a.wav",
    ),
    "musiccaps": ({"musiccaps-public.csv": MUSIC}, {"captions": ["a song"]}, "abc.wav"),
    "mmau": (
        {"mmau-test-mini.json": json.dumps([{**CHOICE, "audio_id": "./test-mini-audios/a.wav"}])},
        CHOSEN,
        "test-mini-audios/a.wav",
    ),
    "mmau-pro": ({"test.json": json.dumps([{**CHOICE, "audio_path": ["data/a.wav"]}])}, CHOSEN, "data/a.wav"),
    "mmar": (
        {"MMAR-meta.jsonl": json.dumps({**CHOICE, "audio_path": "./audio/a.wav", "modality": "music"}) + "\n"},
        {**CHOSEN, "category": "music"},
        "audio/a.wav",
    ),
}


def test_every_set_is_tried() -> None:
    assert set(SHIPPED) == set(SETS)


@pytest.mark.parametrize("name", sorted(SETS))
def test_sets_as_shipped(tmp_path: Path, name: str) -> None:
    files, truth, place = SHIPPED[name]
    found = of_set(name, laid(tmp_path, files))
    assert (found.name, found.task) == (name, SETS[name].task) and found.version
    assert found.examples[-1].truth == truth and found.examples[-1].path == tmp_path / place
    # a sound that is not there is a fault of that recording, said when it is to be heard
    assert bool(found.examples[-1].problem) != (tmp_path / place).is_file()


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_set_that_is_not_there_is_not_fetched(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="fetches no set"):
        of_set(name, tmp_path)


def test_a_set_of_another_layout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not laid out as that of esc50: it lacks 'filename'"):
        of_set("esc50", laid(tmp_path, {"meta/esc50.csv": "file,label\na,b\n"}))
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        of_set("mmar", laid(tmp_path, {"MMAR-meta.json": "[" * 100_000}))
    with pytest.raises(UsageError, match="is for the task captions or retrieval"):
        of_set("clotho", tmp_path, "events")
    with pytest.raises(UsageError, match="no set 'esc'; there are esc50"):
        of_set("esc", tmp_path)


def test_questions_that_their_authors_left_odd(tmp_path: Path) -> None:
    """MMAU has options twice, and answers that are none of the options: its own rule judges them."""
    odd = [
        {**CHOICE, "audio_id": "a.wav", "choices": ["dog", "cat", "cat"], "task": "sound"},
        {**CHOICE, "audio_id": "b.wav", "answer": "A dog.", "task": "speech"},
    ]
    found = of_set("mmau", laid(tmp_path, {"mmau-test-mini.json": json.dumps(odd)}))
    assert [one.truth["options"] for one in found.examples] == [["dog", "cat"], ["dog", "cat; old"]]
    assert [one.truth["category"] for one in found.examples] == ["sound", "speech"] and not found.left_out
    assert found.version.startswith("no revision that mats knows, mmau-test-mini.json, SHA-256 ")
    # in a table of one's own it is a slip
    with pytest.raises(UsageError, match="has 2 different options of 3"):
        table(tmp_path, "path,question,answer,options\na.wav,What?,dog,dog|cat|cat\n", "answers")


def test_the_revision_of_mmau_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid(tmp_path, {"mmau-test-mini.json": json.dumps([{**CHOICE, "audio_id": "a.wav"}])})
    monkeypatch.setattr("mats_model.evaluate.sets.sha256", lambda path: "9f18fda99f8d" + "0" * 52)
    told = "v05.15.25, its authors' file of 2025-08-09, mmau-test-mini.json, SHA-256 9f18fda99f8d"
    assert of_set("mmau", tmp_path).version == told


def test_labels_of_filess() -> None:
    assert [label_of(name) for name in ("001 - Dog bark", "dog_bark", "Rain", "1980s", "3", "é_è")] == [
        "dog bark", "dog bark", "rain", "s", "3", "é è",
    ]  # fmt: skip


def test_a_folder_per_class(tmp_path: Path) -> None:
    files = [(tmp_path / name, "") for name in ("dog/a.wav", "dog/sub/b.wav", "rain/a.wav", "loose.wav")]
    found = of_files(tmp_path, files)
    assert found.labels == ["dog", "rain"] and len(found.examples) == 3
    assert found.left_out == [(str(tmp_path / "loose.wav"), "lies in no class's folder")]
    other = renamed(found, ["hound", "downpour"])
    assert other.examples[2].truth == {"labels": ["downpour"]} and other.labels == ["hound", "downpour"]
    with pytest.raises(UsageError, match=r"1 labels were given for 2 classes.*dog, rain"):
        renamed(found, ["hound"])
    with pytest.raises(UsageError, match=r"holds 1 folder\(s\) with sounds"):
        of_files(tmp_path, files[:2])
    with pytest.raises(UsageError, match="two folders stand for 'dog'"):
        of_files(tmp_path, [*files, (tmp_path / "1_dog" / "a.wav", "")])


def table(tmp_path: Path, text: str, task: str, name: str = "t.csv") -> list[Example]:
    (tmp_path / name).write_text(text)
    return of_table(tmp_path / name, task).examples


def test_tables(tmp_path: Path) -> None:
    assert table(tmp_path, "path,label\na.wav,dog; rain\n", "classes")[0].truth == {"labels": ["dog", "rain"]}
    told = table(tmp_path, "path,caption,caption_2\na.wav,a dog,the dog\na.wav,dogs,\n", "captions")
    assert [one.truth for one in told] == [{"captions": ["a dog", "the dog", "dogs"]}]
    rows = '{"path": "a.wav", "captions": ["a dog", "the dog"]}\n'
    assert table(tmp_path, rows, "captions", "t.jsonl")[0].truth == {"captions": ["a dog", "the dog"]}
    asked = table(tmp_path, "path,question,answer,options\na.wav,What?,dog,dog|cat\na.wav,Wet?,no,\n", "answers")
    assert [one.key for one in asked] == ["a.wav#1", "a.wav#2"] and asked[0].truth["options"] == ["dog", "cat"]
    heard = table(tmp_path, "path,start,end,label\na.wav,1,2.5,dog\na.wav,0,1,rain\nb.wav,,,\n", "events")
    assert [one.truth["events"] for one in heard] == [[(0, 1, "rain"), (1, 2.5, "dog")], []]


@pytest.mark.parametrize(
    ("text", "task", "said"),
    [
        ("", "captions", "holds no rows"),
        ("name,caption\na,b\n", "captions", r"no column that names the sound \(path\); it has name, caption"),
        ("path,text\na.wav,b\n", "captions", r"nothing for the task captions \(has no caption\)"),
        ("path,question,answer,options\na.wav,What?,cow,dog|cat\n", "answers", "none of its options: 'cow'"),
        ("path,question,answer\na.wav,What?,\n", "answers", "has no answer to 'What"),
        ("path,start,end,label\na.wav,2,1,dog\n", "events", "an event from 2 to 1 s"),
        ("path,start,end,label\na.wav,nan,x,dog\n", "events", "without start and end"),
        ("path,label\na.wav,\n", "classes", "has no label"),
    ],
)
def test_faults_of_tables_are_said(tmp_path: Path, text: str, task: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        table(tmp_path, text, task)


def test_a_path_that_leads_out_is_no_sound(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("path,label\n../secret.wav,dog\n")
    assert "leads out of" in of_table(tmp_path / "in" / "t.csv", "classes").examples[0].problem
