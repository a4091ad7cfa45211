"""Every format, read back: by the programs' own libraries where there is one, and with no row lost on the way."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Run, encoded, noise

from mats_cli import job
from mats_cli.documents import chosen_format, document, file_name
from mats_cli.formats import FORMATS, Result, Row, clock
from mats_cli.inputs import expand
from mats_cli.timeline import timeline
from mats_model.audio import AudioSource, blocks
from mats_model.ears import Stretch
from mats_model.errors import UsageError
from mats_model.many import Listened

CAPTIONS = Result("a.wav", [Row(0, 1.5, "A dog barks & <growls>."), Row(1.5, 3661.25, silent=True)])
LABELS = Result(
    "b.wav", [Row(0.25, 2, labels=[("dog, small", 0.75), ("rain", 0.25)]), Row(61, 62, labels=[("雨", 1.0)])]
)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0:00"),
        (5, "0:05"),
        (90, "1:30"),
        (9.96, "0:10"),
        (3723.5, "1:02:03.5"),
        (0.04, "0:00"),
        (360_000, "100:00:00"),
    ],
)
def test_times_are_written_one_way(seconds: float, said: str) -> None:
    assert clock(seconds) == said


# ---- tracks, read back


def cues(text: str, kind: str) -> list[tuple[float, float, str]]:
    """As FFmpeg reads them."""
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(text.encode()), format={"srt": "srt", "vtt": "webvtt"}[kind]) as file:
        return [
            (
                float(packet.pts * packet.time_base),
                float((packet.pts + packet.duration) * packet.time_base),
                bytes(packet).decode(),
            )
            for packet in file.demux(file.streams[0])
            if packet.pts is not None and packet.size
        ]


def test_subtitles() -> None:
    assert cues(document([CAPTIONS], "srt", False, True), "srt") == [
        (0, 1.5, "A dog barks & <growls>."), (1.5, 3661.25, "(silence)"),
    ]  # fmt: skip
    assert cues(document([CAPTIONS], "vtt", False, True), "vtt") == [
        (0, 1.5, "A dog barks &amp; &lt;growls&gt;."), (1.5, 3661.25, "(silence)"),
    ]  # fmt: skip
    assert cues(document([LABELS], "srt", False, True), "srt") == [(0.25, 2, "dog, small, rain"), (61, 62, "雨")]


def test_tracks_say_what_was_heard() -> None:
    lines = document([LABELS], "audacity", False, True).splitlines()
    assert lines[0] == "0.250000\t2.000000\tdog, small" and len(lines) == 3
    raven = list(csv.DictReader(io.StringIO(document([LABELS], "raven", False, True)), delimiter="\t"))
    assert [(row["Selection"], float(row["Begin Time (s)"]), row["Annotation"], row["Score"]) for row in raven] == [
        ("1", 0.25, "dog, small", "0.7500"), ("2", 0.25, "rain", "0.2500"), ("3", 61.0, "雨", "1.0000"),
    ]  # fmt: skip
    reaper = list(csv.reader(io.StringIO(document([CAPTIONS], "reaper", False, True))))
    assert reaper == [
        ["#", "Name", "Start", "End", "Length"],
        ["R1", "A dog barks & <growls>.", "0:00.000", "0:01.500", "0:01.500"],
        ["R2", "(silence)", "0:01.500", "1:01:01.250", "1:00:59.750"],
    ]


@pytest.mark.parametrize("kind", ["audacity", "raven"])
def test_tracks_read_by_crowsetta(kind: str, tmp_path: Path) -> None:
    crowsetta = pytest.importorskip("crowsetta")
    path = tmp_path / "".join(file_name("b.wav", kind))
    path.write_text(document([LABELS], kind, False, True))
    more = {"annot_col": "Annotation"} if kind == "raven" else {}
    read = crowsetta.Transcriber(format={"audacity": "aud-seq", "raven": "raven"}[kind]).from_file(path, **more)
    annotation = read.to_annot()
    if kind == "raven":
        found = [(box.onset, box.offset, box.label) for box in annotation.bboxes]
    else:
        found = [(each.onset_s, each.offset_s, each.label) for each in annotation.seq.segments]
    assert found == [(0.25, 2.0, "dog, small"), (0.25, 2.0, "rain"), (61.0, 62.0, "雨")]


# ---- the timeline


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("blocks", [True, False])
def test_timeline_has_a_row_a_label(width: int, blocks: bool) -> None:
    rows = [Row(start, start + 10, labels=[(name, 0.9)]) for start, name in ((0, "dog"), (10, "rain"), (20, "dog"))]
    rows += [Row(30, 30.1, labels=[("a door that creaks in a house by the sea", 0.9)]), Row(590, 600, silent=True)]
    lines = timeline(Result("tape.wav", rows), width, blocks).splitlines()
    full, part, rest = ("█", "▒", "·") if blocks else ("#", "+", ".")
    assert lines[0] == "tape.wav  10:00" and len(lines) == 6 and max(map(len, lines)) <= width
    assert all(blocks or line.isascii() for line in lines)
    dog, rain, door, silence, scale = lines[1:]
    begin = len(dog.split(" ")[0].ljust(width // 3)) + 1
    assert dog.startswith("dog ") and dog[begin] in (full, part) and dog[begin + 1 :].count(full) + dog.count(part) >= 1
    assert rain.startswith("rain ") and rest in rain
    # short, but seen
    assert part in door and silence.startswith("(silence)") and silence.endswith((full, part))
    assert scale.split()[0] == "0:00" and len(scale.split()) >= 2


def test_timeline_of_wide_letters_is_no_wider() -> None:
    lines = timeline(Result("雨" * 30, [Row(0, 1, labels=[("雨の音" * 9, 0.5)])]), 40).splitlines()
    assert all(sum(2 if letter in "雨の音" else 1 for letter in line) <= 40 for line in lines)


# ---- which format


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("x.srt", "srt"), ("x.vtt", "vtt"), ("x.json", "json"), ("x.jsonl", "jsonl"), ("x.CSV", "csv"),
        ("x.html", "html"), ("x.htm", "html"), ("x.txt", "text"), ("x", "text"), ("x.srt/", "text"), (None, "text"),
    ],
)  # fmt: skip
def test_the_ending_says_the_format(output: str | None, kind: str) -> None:
    assert chosen_format(None, False, False, output=output) == kind
    if kind not in ("text", "vtt") and output and not output.endswith("/"):
        with pytest.raises(UsageError, match="asks for"):
            chosen_format("vtt", False, False, output=output)


def test_a_format_may_have_the_ending_of_another() -> None:
    assert chosen_format("audacity", False, False, output="labels.txt") == "audacity"
    assert chosen_format("reaper", False, False, output="regions.csv") == "reaper"
    assert chosen_format(None, False, True, bom=True, output="x.csv") == "excel"


def test_subtitles_lie_beside_the_sound(mats: Run, tmp_path: Path) -> None:
    for name in ("mixed1.wav", "mixed2.wav", "mixed2.flac"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encoded(noise(1), kind=Path(name).suffix[1:].upper(), subtype="PCM_16"))
    assert mats("classify", "in", "--labels", "dog,rain", "--format", "srt", "-o", "in/").returncode == 0
    assert sorted(path.name for path in (tmp_path / "in").glob("*.srt")) == ["mixed1.srt", "mixed2-2.srt", "mixed2.srt"]
    assert mats("classify", "in/mixed1.wav", "--labels", "dog,rain", "-o", "one.vtt").returncode == 0
    assert (tmp_path / "one.vtt").read_text().startswith("WEBVTT\n")
    assert mats("classify", "in", "--labels", "dog,rain", "-o", "all.srt").returncode == 2


def test_a_table_says_its_model_where_asked(mats: Run, dog: Path) -> None:
    plain = list(csv.reader(io.StringIO(mats("caption", dog, "--csv").stdout.decode())))
    traced = list(csv.reader(io.StringIO(mats("caption", dog, "--csv", "--trace").stdout.decode())))
    assert [row[:-2] for row in traced] == plain and traced[0][-2:] == ["model", "mats"]
    values = json.loads(mats("caption", dog, "--json").stdout)[0]
    assert traced[1][-2:] == [values["model"], values["mats"]] and values["model"]
    assert mats("caption", dog, "--trace").returncode == 2


# ---- nothing is lost


class Loud:
    """Hears how loud a stretch is, and nothing else: a model small enough for a thousand sounds."""

    id = "loud"
    clap = SimpleNamespace(listeners=2)

    def listen(self, sound: AudioSource, every: float | None) -> Iterator[Stretch]:
        wave = np.concatenate(list(blocks(sound, 8000)))
        peak: Any = np.array([np.abs(wave).max()])
        yield Stretch(0.0, len(wave) / 8000, peak if peak > 1e-4 else None)


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds, silences, words, empty files and names that are hard to write; 1000 in all."""
    folder = tmp_path_factory.mktemp("thousand")
    loud, quiet = (encoded(noise(0.06, 8000, level=level), 8000, subtype="PCM_16") for level in (0.1, 0.0))
    for number in range(1000):
        name = (f"{number:04d}.wav", f'{number:04d} "a", b.wav', f"{number:04d}=雨\t.wav", f"{number:04d}\n.wav")[
            number % 4
        ]
        (folder / name).write_bytes((loud, quiet, loud, b"words", loud, b"", loud)[number % 7])
    return folder


def answers(heard: Iterator[Listened]) -> Iterator[tuple[Any, Result]]:
    for one in heard:
        rows = [
            Row(s.start, s.end, silent=True)
            if s.embedding is None
            else Row(s.start, s.end, labels=[(f"n{one.item.name[-12:]}", 0.5)])
            for s in one.heard
        ]
        yield one.item, Result(one.item.name, rows, one.error)


def rows_of(kind: str, text: str) -> int:
    """How many answers a reader of the format finds."""
    if kind == "json":
        return len(json.loads(text))
    if kind == "jsonl":
        return len([json.loads(line) for line in text.splitlines()])
    if kind == "csv":
        return len(list(csv.DictReader(io.StringIO(text))))
    if kind == "html":
        told = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
        return len(told["sounds"])
    if kind == "timeline":
        return len([line for line in text.splitlines() if line.startswith(("n", "(silence)"))])
    return len(text.splitlines())


@pytest.mark.parametrize("kind", FORMATS)
def test_no_row_is_lost(kind: str, thousand: Path, tmp_path: Path) -> None:
    heard = sum(1 for number in range(1000) if number % 7 not in (3, 5))
    failed = 1000 - heard
    found = expand([str(thousand)])
    assert len(found.items) == 1000
    one_each = kind in ("srt", "vtt", "audacity", "raven", "reaper")
    out = tmp_path / ("out" + os.sep if one_each else "out")
    options = job.Options(None, kind, f"{out}{os.sep}" if one_each else str(out), True, True)
    assert job.run(Loud(), found, options, {"verb": "test"}, answers) == 3  # type: ignore[arg-type]
    if one_each:
        made = [path.read_text() for path in Path(out).rglob("*") if path.is_file()]
        head = {"raven": 1, "reaper": 1}.get(kind, 0)
        assert len(made) == heard
        if kind in ("srt", "vtt"):
            assert all(text.count(" --> ") == 1 for text in made)
        else:
            assert all(len(text.splitlines()) == head + 1 for text in made)
    else:
        whole = {"json": 1000, "jsonl": 1000, "csv": 1000, "html": 1000}.get(kind, heard)
        assert rows_of(kind, Path(out).read_text()) == whole and failed > 200
