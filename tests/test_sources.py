"""Training text of the user's own: every format, every column, and every row that cannot be used said with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mats_model.captions import NOT_HEARD, Turn
from mats_model.errors import UsageError
from mats_model.training.sources import LONGEST, SourceSettings, TextExample, read_names, read_source


def read(folder: Path, name: str, data: str | bytes, strict: bool = False, **settings: object) -> list[TextExample]:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_source(SourceSettings(file=name, **settings), folder, strict).examples  # type: ignore[arg-type]


def test_formats_say_the_same(tmp_path: Path) -> None:
    rows = [{"caption": "A dog barks."}, {"caption": "Rain falls, hard"}]
    told = [("a dog barks", "a dog barks"), ("rain falls, hard", "rain falls, hard")]
    for name, data in {
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "a.json": json.dumps(rows),
        "a.csv": '\ufeffcaption,x\n"A dog barks.",1\n"Rain falls, hard",2\n',
        "a.tsv": "caption\tx\nA dog barks.\t1\nRain falls, hard\t2\n",
        "a.txt": "A dog barks.\n\n# a remark\nRain falls, hard\n",
    }.items():
        assert [(e.text, e.answer) for e in read(tmp_path, name, data)] == told, name
    assert read(tmp_path, "a.csv", "A dog barks.,1\n", columns=["said", "n"], text="said")[0].answer == "a dog barks"
    assert read(tmp_path, "a.csv", "caption\nA Dog.\n", tidy=False)[0].answer == "A Dog."


def test_tasks(tmp_path: Path) -> None:
    question = read(tmp_path, "q.csv", "caption,question,answer\nA dog barks,Is there a dog?,Yes\n", task="question")
    assert question == [TextExample("a dog barks", "[audio qa]", "Is there a dog?", "yes")]
    labels = read(
        tmp_path, "l.txt", "Dog\nRain\n", task="labels", templates=["{}", "the sound of {}"], instructions=["What?"]
    )
    assert labels[1] == TextExample("the sound of dog", "[single event]", "What?", "dog") and len(labels) == 4
    described = read(tmp_path, "d.csv", "label,description\nkettle,steam whistles\n", task="labels")
    assert (described[0].text, described[0].answer) == ("steam whistles", "kettle")
    (tmp_path / "names.txt").write_text("Dog\nCat\nRain\n")
    said = "".join(f"a {thing} is heard {number} times\n" for number in range(100) for thing in ("dog", "cat"))
    asked = read(tmp_path, "p.txt", said, task="presence", names="names.txt")
    assert {e.answer for e in asked} == {"yes", "no"}
    assert all(e.instruction.startswith("Is there ") and e.instruction.endswith("?") for e in asked)
    assert all((e.instruction[9:-1] in e.text) == (e.answer == "yes") for e in asked)
    assert read_names(tmp_path / "names.txt") == ["Dog", "Cat", "Rain"]


def test_conversations_are_true_of_their_captions(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Dog\nCat\nPig\nRain\n")
    things = ("dogs bark before rain falls", "a cat meows", "pigeons coo")
    said = "".join(f"{thing} for the time {number}\n" for number in range(100) for thing in things)
    made = read(tmp_path, "c.txt", said, task="conversation", names="names.txt")
    assert made == read(tmp_path, "c.txt", said, task="conversation", names="names.txt")
    assert not any("pigeons" in e.text for e in made)  # there is no pig in them
    answers = set()
    for example in made:
        turns = [*example.history[example.since :], Turn(example.instruction, example.answer)]
        for turn in turns:
            answers.add(turn.answer if " " not in turn.answer else "")
            thing = next((name for name in ("dog", "cat", "pig", "rain") if name in turn.question), "")
            if turn.answer == "yes":
                assert thing in example.text
            elif turn.answer == "no":
                assert thing and thing not in example.text
            elif turn.answer != NOT_HEARD:
                assert turn.answer in example.text
    assert {"", "yes", "no", "dog", "cat"} <= answers <= {"", "yes", "no", "dog", "cat", "rain"}
    assert any(example.since for example in made) and any(len(example.history) > example.since for example in made)
    assert any(
        e.instruction.startswith(("What comes first", "What happens first", "How does it begin"))
        and e.answer == "dogs bark"
        for e in made
    )


def test_bad_rows_are_told_and_skipped(tmp_path: Path) -> None:
    lines = [
        b'{"caption": "fine"}',
        b"{half",
        b'{"caption": "  "}',
        b'{"other": 1}',
        b'{"caption": 3}',
        b"[1]",
        b'{"caption": "caf\xe9"}',
    ]
    lines += [json.dumps({"caption": "x" * 1_000_000}).encode(), b'{"caption": "fine"}', b'{"caption": "also fine"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    source = read_source(SourceSettings(file="a.jsonl"), tmp_path)
    assert [e.text for e in source.examples] == ["fine", "also fine"] and source.duplicates == 1
    assert [(bad.line, bad.why) for bad in source.bad] == [
        (2, "is no JSON"),
        (3, "column 'caption' is blank"),
        (4, "has no column 'caption'"),
        (5, "column 'caption' holds int, not text"),
        (6, "is list, not a group"),
        (7, "column 'caption' is not UTF-8"),
        (8, f"column 'caption' has 1000000 characters; at most {LONGEST} are read"),
    ]
    with pytest.raises(UsageError, match=r"a\.jsonl:2: the row is no JSON\."):
        read_source(SourceSettings(file="a.jsonl"), tmp_path, strict=True)


@pytest.mark.parametrize(
    ("name", "data", "settings", "said"),
    [
        ("a.csv", "", {}, "holds no text that can be used"),
        (
            "a.jsonl",
            '{"caption": " "}\n',
            {},
            r"no text that can be used \(the first: line 1 column 'caption' is blank\)",
        ),
        ("a.csv", "said\nx\n", {}, "say which column is the text of this caption source; it has said"),
        ("a.csv", "said\nx\n", {"text": "sad"}, r"has no column 'sad' \(text\); it has said"),
        ("a.wav", "x", {}, "mats reads .jsonl, .json, .csv, .tsv and .txt"),
        ("a.json", "{", {}, "is no JSON"),
        ("a.json", "{}", {}, "should hold a list"),
        ("a.txt", "x", {"task": "poem"}, "choose one of caption"),
        ("a.txt", "x", {"ratio": 0.0}, "ratio 0 should be above 0"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, data: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(tmp_path, name, data, **settings)


def test_missing_file_and_what_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv cannot be read \(No such file"):
        read_source(SourceSettings(file="none.csv"), tmp_path)
    (tmp_path / "test.csv").write_text("caption\nA dog barks\n")
    kept = read(tmp_path, "train.csv", "caption\na dog BARKS.\nrain falls\n", leave_out=["test.csv"])
    assert [e.text for e in kept] == ["rain falls"]


def test_presence_needs_names(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"a\.txt: a presence source needs names, a file of the things that are asked after"
    ):
        read(tmp_path, "a.txt", "a dog barks\n", task="presence")


def test_which_texts_are_taken(tmp_path: Path) -> None:
    told = "a dog barks\nA man talks\na dog barks at the people of a small town\nrain\n"
    assert [e.text for e in read(tmp_path, "a.txt", told, words=5, without=["man", "people"])] == [
        "a dog barks",
        "rain",
    ]
    with pytest.raises(UsageError, match=r"begin 0\.5 and end 0\.5 should lie between 0 and 1, in this order"):
        read(tmp_path, "a.txt", told, begin=0.5, end=0.5)


def test_texts_of_ours_need_no_data_folder(tmp_path: Path) -> None:
    from mats_model.training.begin import memory_texts
    from mats_model.training.recipe import MemorySettings, TextRecipe

    ours = SourceSettings(file="plain.csv", name="ours", text="caption")
    examples = read_source(ours, tmp_path).examples
    assert len(examples) > 2000 and all(3 <= len(example.text.split()) <= 9 for example in examples)
    # a caption answers for itself, though a class name stands beside it
    assert all(example.answer == example.text for example in examples)
    # a file of that name in the data folder comes first
    (tmp_path / "plain.csv").write_text(
        "caption\na gate creaks open\nthe gate falls shut again and again and again today\n"
    )
    assert read_source(ours, tmp_path).examples[0].text == "a gate creaks open"
    other = SourceSettings(file="other.csv", name="other")
    (tmp_path / "other.csv").write_text(
        "caption\n" + "\n".join(f"bell number {word} rings" for word in "one two three four".split()) + "\n"
    )
    recipe = TextRecipe(sources=[other, ours], memory=MemorySettings(captions=4, max_words=5, whole=["ours"]))
    parts = [read_source(source, tmp_path).examples for source in (other, ours)]
    texts = memory_texts(recipe, parts)
    assert (
        texts[:2] == [example.text for example in parts[1]]
        and len(texts) == 4
        and all(text.startswith("bell") for text in texts[2:])
    )
