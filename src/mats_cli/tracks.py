"""What was heard in one recording as a track of another program: subtitles, Audacity labels, a Raven selection table,
Reaper regions."""

from __future__ import annotations

from typing import NamedTuple

from mats_cli.formats import NONE, SILENT, Row, cell, table, visible

# what follows the recording's own name without its ending, as players and programs look for it
ENDINGS = {
    "srt": ".srt",
    "vtt": ".vtt",
    "audacity": ".labels.txt",
    "raven": ".selections.txt",
    "reaper": ".regions.csv",
}
# Hz; Raven draws a box, and what is heard here has no pitch: the box is as high as what nano hears
_LOW, _HIGH = 0.0, 15_000.0


class Mark(NamedTuple):
    """Something heard from `start` to `end`, in seconds: a caption, a label, silence, or that no label fits."""

    start: float
    end: float
    text: str
    score: float | None = None
    silent: bool = False


def marks(rows: list[Row]) -> list[Mark]:
    """A mark for each caption, silence and label of the rows."""
    found: list[Mark] = []
    for row in rows:
        if row.silent:
            found.append(Mark(row.start, row.end, SILENT, silent=True))
        elif row.caption is not None:
            found.append(Mark(row.start, row.end, visible(row.caption)))
        elif row.none_fits:
            found.append(Mark(row.start, row.end, NONE))
        else:
            found += [Mark(row.start, row.end, visible(name), score) for name, score in row.labels]
    return found


def track(rows: list[Row], kind: str) -> str:
    """One recording in one of ENDINGS."""
    if kind in ("srt", "vtt"):
        return _cues(rows, kind == "vtt")
    found = marks(rows)
    if kind == "audacity":
        return "".join(f"{mark.start:.6f}\t{mark.end:.6f}\t{mark.text}\n" for mark in found)
    return _raven(found) if kind == "raven" else _reaper(found)


def timecode(seconds: float, separator: str = ".") -> str:
    """HH:MM:SS.mmm."""
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}{separator}{whole % 1000:03d}"


def _cues(rows: list[Row], vtt: bool) -> str:
    """A cue for each row, its labels side by side."""
    blocks = ["WEBVTT\n"] if vtt else []
    separator = "." if vtt else ","
    for number, row in enumerate((row for row in rows if marks([row])), 1):
        said = ", ".join(mark.text for mark in marks([row]))
        if vtt:  # where < begins a tag and & a character's name
            said = said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        times = f"{timecode(row.start, separator)} --> {timecode(row.end, separator)}"
        blocks.append(f"{'' if vtt else f'{number}{chr(10)}'}{times}\n{said}\n")
    return "\n".join(blocks)


def _raven(found: list[Mark]) -> str:
    head = "Selection View Channel Begin_Time_(s) End_Time_(s) Low_Freq_(Hz) High_Freq_(Hz) Annotation Score"
    lines = ["\t".join(name.replace("_", " ") for name in head.split())]
    for number, mark in enumerate(found, 1):
        score = "" if mark.score is None else f"{mark.score:.4f}"
        times = f"{mark.start:.6f}\t{mark.end:.6f}\t{_LOW:.1f}\t{_HIGH:.1f}"
        lines.append(f"{number}\tSpectrogram 1\t1\t{times}\t{mark.text}\t{score}")
    return "".join(line + "\n" for line in lines)


def _reaper(found: list[Mark]) -> str:
    """The table of the region and marker manager, times as minutes:seconds."""
    rows = [
        [f"R{number}", cell(mark.text), *(_minutes(each) for each in (mark.start, mark.end, mark.end - mark.start))]
        for number, mark in enumerate(found, 1)
    ]
    return table([["#", "Name", "Start", "End", "Length"], *rows])


def _minutes(seconds: float) -> str:
    whole = round(seconds * 1000)
    hours = f"{whole // 3_600_000}:{whole // 60_000 % 60:02d}" if whole >= 3_600_000 else f"{whole // 60_000}"
    return f"{hours}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"
