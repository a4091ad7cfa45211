"""A diary in the formats of recordings: lines as they come, or a document when it ends."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mats_cli import console
from mats_cli.documents import document, refused, save
from mats_cli.formats import Result, Row, harmless
from mats_cli.pages.page import Sound, page
from mats_cli.tracks import marks

if TYPE_CHECKING:
    from mats_model.live.diarist import Entry, Look
    from mats_model.live.stream import Stream

FORMATS = ("text", "jsonl", "json", "csv", "srt", "vtt", "audacity", "raven", "reaper", "timeline", "html")
GROWING = ("text", "jsonl")


class Diary:
    """`kind`: one of FORMATS; `output`: where to, standard output if None; `about`: what made it; `lines`: where lines
    go that several diaries share."""

    def __init__(
        self,
        kind: str,
        output: Path | None,
        source: Stream,
        about: dict[str, str],
        lines: list[str] | None = None,
    ) -> None:
        from mats_model.audio.picture import Spectrogram

        self.kind, self.output, self.source, self.about = kind, output, source, about
        self.lines = lines
        self.rows: list[Row] = []
        self._open: list[Row] = []  # those of which the end is not known yet
        self._file: IO[str] | None = None
        self._picture = Spectrogram(source.ring.sample_rate) if kind == "html" else None
        self._seen = 0  # samples that are in the picture
        if output is None:
            console.check_output()
        if output is None or lines is not None:
            return
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            # lines are added to those of earlier days
            self._file = output.open("a", encoding="utf-8") if kind in GROWING else None
        except OSError as error:
            raise refused(f"-o {output}", error) from None

    def line(self, text: str) -> None:
        """Of a format that grows."""
        if self.lines is not None:
            self.lines.append(harmless(text))
            return
        if self._file is None:
            console.out(text + "\n")
            return
        self._file.write(harmless(text) + "\n")
        self._file.flush()

    def look(self, look: Look) -> None:
        """What was heard up to now, kept for a document."""
        if self.kind in GROWING:
            return
        for entry in look.entries:
            self._entry(entry)
        ring = self.source.ring
        now = min(ring.total, round(look.time * ring.sample_rate))
        if self._picture and now > self._seen:
            self._picture.feed(ring.between(self._seen, now).mean(-1))
            self._seen = now
        for row in self._open:
            row.end = max(row.end, look.time)

    def _entry(self, entry: Entry) -> None:
        from mats_model.live.diarist import Described
        from mats_model.live.diary import Ended, Passed

        if isinstance(entry, Ended):
            for row in self._open:
                row.end = max(row.start, entry.end)
            self._open = []
            return
        if isinstance(entry, Passed):
            row = Row(entry.time, entry.time, labels=[(entry.label, entry.score)])
        elif isinstance(entry, Described):
            row = Row(entry.start, entry.heard, entry.caption)
        else:
            row = Row(entry.start, entry.start, silent=True)
        for other in self._open:
            other.end = min(other.end, row.start) if other.silent else other.end
        self._open = [other for other in self._open if not other.silent]
        self.rows.append(row)
        self._open.append(row)

    def finish(self, began: datetime | None) -> None:
        """The document, of what was heard since `began`, if that is known. Errors: UsageError."""
        if self._file:
            self._file.close()
        if self.kind in GROWING:
            return
        name = self.source.name
        if self._picture:
            end = max([self._picture.seconds, *(row.end for row in self.rows)])
            sound = Sound(name, marks(self.rows), 0.0, end, self._picture.png(), began=began)
            text = page(f"mats listen: {name}", [sound], self.about)
        else:
            text = document([Result(name, self.rows, about=self.about)], self.kind, False, True)
        if self.output is None:
            console.out(text)
        else:
            save(self.output, text)


def write_lines(output: Path, lines: list[str]) -> None:
    """Of several diaries, in place of what was there. Errors: UsageError."""
    save(output, "".join(line + "\n" for line in lines))
