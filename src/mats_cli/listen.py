"""mats listen: a diary of what is heard, a line each time the sound changes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import console, job, loading
from mats_cli import options as shared
from mats_cli.diary import FORMATS, GROWING, Diary, write_lines
from mats_cli.documents import chosen_format
from mats_cli.formats import clock, plain_json, stamp, visible
from mats_cli.starter import Starter
from mats_model import __version__
from mats_model.errors import InputError, UsageError

if TYPE_CHECKING:
    from mats_model.audio.folders import Found
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


Files = Annotated[
    Optional[list[str]],
    typer.Argument(
        metavar="[INPUTS...]",
        help="Sound files, folders, or - for standard input; the microphone if none is given.",
        show_default=False,
    ),
]


def listen(
    inputs: Files = None,
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
    """Write a diary of the microphone or of recordings, a line for each change.

    Each line has the time, a few tags and a sentence; --json gives one object a line. Quiet is said once. The
    microphone is heard until Ctrl-C, with memory that does not grow; recordings have times of the clock where their
    header (BWF) or name says when they began. Subtitles, tracks, a timeline and a page are written when it ends.

    \b
    Examples:
      mats listen
      mats listen 20230105_063000.WAV
      mats listen --json >> diary.jsonl
      mats listen --for 3600 -o morning.html
      mats listen --on "glass breaking:0.5" --run "notify-send mats {label}"
      mats listen --on "baby crying" --clips cries/
      ffmpeg -i stream -f s16le -ar 32000 -ac 1 - | mats listen --mic - --raw s16le,32000,1
    """
    from mats_model.live.diarist import Diarist
    from mats_model.live.diary import DiarySettings

    mic, device = loading.microphone_and_device(mic, device)
    kind = chosen_format("jsonl" if json and format is None else format, False, False, FORMATS, False, output, timeline)
    labels = dict(_label(each) for each in on or [])
    starter = Starter.of(run, bool(labels))
    if inputs and not (mic is sample_rate is raw is None):
        raise UsageError("--mic, --rate and --raw are for the microphone: leave them out where a sound is named.")
    if clips:
        _make(clips)
    found = job.found(inputs) if inputs else None
    if found and len(found.items) > 1 and kind not in GROWING:
        raise UsageError(f"--format {kind} holds one diary: give one sound, or take text or jsonl.")
    mats = loading.load_model(model, offline, device=device)
    loading.apply_santa(mats, memory, santa, no_santa)
    loading.one_thread()
    diarist = Diarist(mats, labels, count=tags, settings=DiarySettings(gate=gate))
    asked = _Asked(kind=kind, quiet=quiet, starter=starter, clips=clips, stop=stop, output=output)
    if found:
        raise typer.Exit(_recordings(diarist, found, asked))
    _microphone(diarist, mic, raw, sample_rate, asked)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is to be written, of whatever is heard."""

    kind: str
    quiet: bool
    starter: Starter | None
    clips: Path | None
    stop: float | None
    output: str | None
    used: set[Path] = field(default_factory=set)  # names of clips

    def diary(self, diarist: Diarist, source: Stream, lines: list[str] | None = None) -> Diary:
        """Of one stream; into `lines`, where several share a file."""
        about = {"model": diarist.mats.id, "mats": __version__}
        return Diary(self.kind, Path(self.output) if self.output else None, source, about, lines)


def _microphone(diarist: Diarist, mic: str | None, raw: str | None, sample_rate: int | None, asked: _Asked) -> None:
    from mats_cli.microphone import open_input

    source = open_input(mic, raw, sample_rate, RING, patient=True)
    writer = _Writer(source=source, kind=asked.kind, quiet=asked.quiet, starter=asked.starter)
    writer.diary = asked.diary(diarist, source)
    try:
        if not asked.quiet:
            console.note(f"listening to {source.name} at {source.ring.sample_rate} Hz; Ctrl-C stops.")
            for line in source.notes:
                console.note(line)
        _follow(diarist, writer, asked)
    except KeyboardInterrupt:
        raise console.Stopped from None
    finally:
        source.close()
        writer.diary.finish(datetime.fromtimestamp(writer.began) if source.live else None)


def _recordings(diarist: Diarist, found: Found, asked: _Asked) -> int:
    """A diary of each; returns the exit code."""
    from mats_model.audio.began import began
    from mats_model.live.stream import Recording

    lines: list[str] | None = [] if asked.output and asked.kind in GROWING else None
    failed = parts = 0
    for item in found.items:
        try:
            sound = job.opened(item, asked.quiet)
            source = Recording(sound, seconds=RING)
            writer = _Writer(source=source, kind=asked.kind, quiet=asked.quiet, starter=asked.starter)
            writer.path, writer.named, writer.origin = item.name, found.many, began(sound)
            writer.diary = asked.diary(diarist, source, lines)
            if writer.origin and not asked.quiet:
                zone = "UTC" if writer.origin.tzinfo else "by its recorder's clock; no time zone is written"
                console.note(f"{item.name} began at {writer.origin:%Y-%m-%d %H:%M:%S} ({zone}).")
            _follow(diarist, writer, asked)
            writer.diary.finish(writer.origin)
        except InputError as error:
            failed += 1
            console.failure(error)
            continue
        except KeyboardInterrupt:
            raise console.Stopped from None
        for line in sound.notes:
            console.note(line)
        parts += bool(sound.missing)
    if lines is not None and asked.output:
        write_lines(Path(asked.output), lines)
    return 4 if failed == len(found.items) else 3 if failed or parts else 0


def _make(folder: Path) -> None:
    """Before anything is heard. Errors: UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--clips {folder} cannot be made ({error.strerror}).") from None


def _follow(diarist: Diarist, writer: _Writer, asked: _Asked) -> None:
    """To the end of the stream. Errors: DeviceError, InputError."""
    from mats_model.live.clips import Clips

    if asked.clips:
        watched = bool(diarist.thresholds)
        writer.clips = Clips(asked.clips, writer.source, watched, writer.stamp, asked.used)
    last = 0.0
    for look in diarist.follow(writer.source, asked.stop):
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
    began: float = field(default_factory=time.time)  # by the wall, for a microphone
    origin: datetime | None = None  # when a recording began, if that is known
    path: str = ""  # of a recording
    named: bool = False  # lines begin with the path

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
        """By the clock where that is known, from the beginning otherwise."""
        time = self._time(seconds)
        return clock(seconds) if time is None else time.isoformat(timespec="milliseconds")

    def stamp(self, seconds: float) -> str:
        """The same, for the name of a file."""
        time = self._time(seconds)
        return stamp(seconds) if time is None else f"{time:%Y%m%d-%H%M%S}"

    def _time(self, seconds: float) -> datetime | None:
        if self.source.live:
            return datetime.fromtimestamp(self.began + seconds).astimezone()
        return self.origin + timedelta(seconds=seconds) if self.origin else None

    def _write(self, seconds: float, told: dict[str, Any], cells: list[str]) -> None:
        when = self.when(seconds)
        if self.kind == "jsonl":
            path = {"path": self.path} if self.path else {}
            self.diary.line(plain_json({**path, "time": when, "start": round(seconds, 3), **told}))
        elif self.kind == "text":
            self.diary.line("\t".join([*([visible(self.path)] if self.named else []), when, *cells]))
