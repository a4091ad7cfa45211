"""mats listen: a diary of what is heard, a line each time the sound changes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import console, loading
from mats_cli import options as shared
from mats_cli.diary import FORMATS, Diary
from mats_cli.documents import chosen_format
from mats_cli.formats import clock, plain_json, stamp
from mats_cli.starter import Starter
from mats_model import __version__
from mats_model.errors import UsageError

if TYPE_CHECKING:
    from mats_model.live.clips import Clip, Clips
    from mats_model.live.diarist import Diarist, Entry, Look
    from mats_model.live.stream import Stream

RING = 60.0  # seconds of sound that are kept

On = Annotated[
    Optional[list[str]],
    typer.Option(
        "--on",
        metavar="LABEL[:SCORE]",
        help="Watch for a label: any words, and its least probability; may be given again.",
    ),
]
Command = Annotated[
    Optional[str],
    typer.Option(
        "--run",
        metavar="CMD",
        help="With --on: start this, without a shell; {label}, {score}, {time} are filled in.",
        show_default=False,
    ),
]
ClipFolder = Annotated[
    Optional[Path],
    typer.Option(
        "--clips", metavar="DIR", help="Keep each sound, or with --on each match, as a WAV file with 2 s before it."
    ),
]
For = Annotated[
    Optional[float], typer.Option("--for", metavar="SECONDS", min=0.0, help="Stop after so long.", show_default=False)
]
LineJson = Annotated[bool, typer.Option("--json", help="Short for --format jsonl.")]
Out = Annotated[
    Optional[str],
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write to a file, in the format of its ending, instead of stdout."
    ),
]
TagCount = Annotated[
    int, typer.Option("--tags", metavar="N", min=0, max=20, help="How many tags to show with each sound.")
]


def listen(
    on: On = None,
    run: Command = None,
    clips: ClipFolder = None,
    tags: TagCount = 3,
    gate: shared.Gate = -55.0,
    stop: For = None,
    mic: shared.Mic = None,
    sample_rate: shared.Rate = None,
    raw: shared.Raw = None,
    format: shared.Format = None,
    json: LineJson = False,
    timeline: shared.Timeline = False,
    output: Out = None,
    model: shared.Model = "nano",
    device: shared.Compute = "auto",
    memory: shared.Memory = None,
    santa: shared.SantaWay = "",
    no_santa: shared.NoSanta = False,
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
) -> None:
    """Write a diary of what the microphone hears, a line for each change.

    Each line has the time, a few tags and a sentence; --json gives one object a line. Quiet is said once. It runs until
    Ctrl-C, with memory that does not grow. Subtitles, tracks, a timeline and a page are written when it ends.

    \b
    Examples:
      mats listen
      mats listen --json >> diary.jsonl
      mats listen --for 3600 -o morning.html
      mats listen --on "glass breaking:0.5" --run "notify-send mats {label}"
      mats listen --on "baby crying" --clips cries/
      ffmpeg -i stream -f s16le -ar 32000 -ac 1 - | mats listen --mic - --raw s16le,32000,1
    """
    from mats_cli.microphone import open_input
    from mats_model.live.diarist import Diarist
    from mats_model.live.diary import DiarySettings

    mic, device = loading.microphone_and_device(mic, device)
    kind = chosen_format("jsonl" if json and format is None else format, False, False, FORMATS, False, output, timeline)
    labels = dict(_label(each) for each in on or [])
    starter = Starter.of(run, bool(labels))
    if clips:
        _make(clips)
    mats = loading.load_model(model, offline, device=device)
    loading.apply_santa(mats, memory, santa, no_santa)
    loading.one_thread()
    source = open_input(mic, raw, sample_rate, RING, patient=True)
    writer = _Writer(source=source, kind=kind, quiet=quiet, starter=starter)
    writer.diary = Diary(kind, Path(output) if output else None, source, {"model": mats.id, "mats": __version__})
    try:
        if not quiet:
            console.note(f"listening to {source.name} at {source.ring.sample_rate} Hz; Ctrl-C stops.")
            for line in source.notes:
                console.note(line)
        diarist = Diarist(mats, labels, count=tags, settings=DiarySettings(gate=gate))
        _follow(diarist, writer, clips, stop)
    except KeyboardInterrupt:
        raise console.Stopped from None
    finally:
        source.close()
        writer.diary.finish(writer.began)


def _make(folder: Path) -> None:
    """Before anything is heard. Errors: UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--clips {folder} cannot be made ({error.strerror}).") from None


def _follow(diarist: Diarist, writer: _Writer, folder: Path | None, stop: float | None) -> None:
    """To the end of the stream. Errors: DeviceError, InputError."""
    from mats_model.live.clips import Clips

    if folder:
        writer.clips = Clips(folder, writer.source, watched=bool(diarist.thresholds), stamp=writer.stamp)
    last = 0.0
    for look in diarist.follow(writer.source, stop):
        writer.look(look)
        last = look.time
    writer.kept(writer.clips.close(last) if writer.clips else ())


def _label(text: str) -> tuple[str, float]:
    """ "glass breaking:0.5" -> its two parts. Errors: UsageError."""
    name, colon, score = text.rpartition(":")
    if not colon:
        return text.strip(), 0.5
    try:
        least = float(score)
    except ValueError:
        least = -1.0
    if not name.strip() or not 0.0 < least <= 1.0:
        raise UsageError(
            f"--on {text!r}: give a label and a probability above 0 and up to 1, as in 'glass breaking:0.5'."
        )
    return name.strip(), least


@dataclass(kw_only=True)
class _Writer:
    """Writes what a diarist tells: a line an entry, clips and commands beside it."""

    source: Stream
    kind: str
    quiet: bool
    diary: Diary = field(init=False)
    clips: Clips | None = None
    starter: Starter | None = None
    began: float = field(default_factory=time.time)

    def look(self, look: Look) -> None:
        """All that there is to say of a moment."""
        if look.waiting and not self.quiet and (line := self.source.stalled()):
            console.note(line)
        if look.missed:
            console.note(f"{look.missed:.0f} s were not heard: the machine is too slow for what it is asked to do.")
        self.diary.look(look)
        for entry in look.entries:
            self.entry(entry)
            self.kept(self.clips.entry(entry) if self.clips else ())
        if look.time == 3.0 and (warning := self.source.warning()):
            console.note(warning)
        self.kept(self.clips.look(look) if self.clips else ())

    def entry(self, entry: Entry) -> None:
        """A line, and the command for a label."""
        from mats_model.live.diarist import Described
        from mats_model.live.diary import Passed, Quiet

        if isinstance(entry, Quiet):
            self._write(entry.start, {"event": "quiet"}, ["(quiet)"])
        elif isinstance(entry, Passed):
            told = {"event": "label", "label": entry.label, "score": round(entry.score, 4)}
            self._write(entry.time, told, [f"{entry.label}: {entry.score:.2f}"])
            problem = self.starter.start(entry.label, entry.score, self.when(entry.time)) if self.starter else None
            if problem:
                console.note(problem)
        elif isinstance(entry, Described):
            tags = [{"label": label.name, "score": round(label.score, 4)} for label in entry.tags]
            told = {"event": "sound", "level": round(entry.level, 1), "tags": tags, "caption": entry.caption}
            self._write(entry.start, told, [", ".join(label.name for label in entry.tags), entry.caption])

    def kept(self, clips: Iterable[Clip]) -> None:
        """A line for each clip that was written."""
        for clip in clips:
            if clip.problem:
                console.note(clip.problem)
            else:
                self._write(clip.start, {"event": "clip", "path": str(clip.path)}, [str(clip.path)])

    def when(self, seconds: float) -> str:
        """By the wall for a microphone, from the beginning for a pipe."""
        if not self.source.live:
            return clock(seconds)
        return self._time(seconds).isoformat(timespec="milliseconds")

    def stamp(self, seconds: float) -> str:
        """The same, for the name of a file."""
        return f"{self._time(seconds):%Y%m%d-%H%M%S}" if self.source.live else stamp(seconds)

    def _time(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(self.began + seconds).astimezone()

    def _write(self, seconds: float, told: dict[str, Any], cells: list[str]) -> None:
        when = self.when(seconds)
        if self.kind == "jsonl":
            self.diary.line(plain_json({"time": when, "start": round(seconds, 3), **told}))
        elif self.kind == "text":
            self.diary.line("\t".join([when, *cells]))
