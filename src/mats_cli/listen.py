"""mats listen: a diary of what is heard, a line each time the sound changes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from mats_cli import console
from mats_cli import options as shared
from mats_cli.formats import clock, plain_json
from mats_model.errors import DeviceError, InputError, UsageError

if TYPE_CHECKING:
    from mats_cli.microphone import Input
    from mats_model.live.diary import Event
    from mats_model.live.ring import Tags
    from mats_model.mats import Mats

PREROLL, POSTROLL, LONGEST = 2.0, 0.5, 30.0  # seconds of a clip before its event, after it, and in all
RING = 60.0

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
Clips = Annotated[
    Optional[Path],
    typer.Option(
        "--clips", metavar="DIR", help="Keep each sound, or with --on each match, as a WAV file with 2 s before it."
    ),
]
For = Annotated[
    Optional[float], typer.Option("--for", metavar="SECONDS", min=0.0, help="Stop after so long.", show_default=False)
]
TagCount = Annotated[
    int, typer.Option("--tags", metavar="N", min=0, max=20, help="How many tags to show with each sound.")
]


def listen(
    on: On = None,
    run: Command = None,
    clips: Clips = None,
    tags: TagCount = 3,
    gate: shared.Gate = -55.0,
    stop: For = None,
    device: shared.Device = None,
    sample_rate: shared.Rate = None,
    mic: shared.Mic = None,
    raw: shared.Raw = None,
    json: shared.Json = False,
    model: shared.Model = "nano",
    memory: shared.Memory = None,
    santa: shared.SantaWay = "",
    no_santa: shared.NoSanta = False,
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
) -> None:
    """Write a diary of what the microphone hears: a line each time the sound changes, none on the clock.

    Each line has the time, a few tags and a sentence; --json gives one object a line. Quiet is said once. It runs until
    Ctrl-C, with memory that does not grow.

    \b
    Examples:
      mats listen
      mats listen --json >> diary.jsonl
      mats listen --on "glass breaking:0.5" --run "notify-send mats {label}"
      mats listen --on "baby crying" --clips cries/
      ffmpeg -i stream -f s16le -ar 32000 -ac 1 - | mats listen --mic - --raw s16le,32000,1
    """
    from mats_cli.microphone import open_input

    labels = dict(_label(each) for each in on or [])
    starter = _Starter.of(run, labels)
    keeper = _Keeper(clips, watched=bool(labels)) if clips else None
    mats = shared.load_model(model, offline)
    shared.apply_santa(mats, memory, santa, no_santa)
    shared.one_thread()
    names = shared.tag_names(mats)
    source = open_input(mic, raw, device, sample_rate, RING, patient=True)
    try:
        for line in (
            []
            if quiet
            else [f"listening to {source.name} at {source.ring.sample_rate} Hz; Ctrl-C stops.", *source.notes]
        ):
            console.note(line)
        _Diarist(mats, source, names, tags, labels, gate, json, starter, keeper, quiet).work(stop)
    except KeyboardInterrupt:
        raise console.Stopped from None
    finally:
        source.close()


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


@dataclass
class _Starter:
    """Commands, each label's one at a time."""

    words: list[str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, command: str | None, labels: dict[str, float]) -> _Starter | None:
        if command is None:
            return None
        if not labels:
            raise UsageError("--run goes with --on: say what it should wait for.")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--run {command!r} cannot be split into words ({error}).") from None
        if not words or not shutil.which(words[0]):
            raise UsageError(
                f"--run: there is no command {words[0] if words else ''!r}; it is started without a shell."
            )
        return cls(words)

    def start(self, label: str, score: float, when: str) -> str | None:
        """What is wrong, if anything."""
        earlier = self.running.get(label)
        if earlier is not None and earlier.poll() is None:
            return f"the command for {label} still runs; it is not started again."
        filled = {"{label}": label, "{score}": f"{score:.3f}", "{time}": when}
        words = list(self.words)
        for mark, value in filled.items():
            words = [word.replace(mark, value) for word in words]
        told = {"MATS_LABEL": label, "MATS_SCORE": f"{score:.3f}", "MATS_TIME": when}
        try:
            # what it says is not part of the diary
            self.running[label] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=sys.stderr, env={**os.environ, **told}
            )
        except OSError as error:
            return f"{words[0]} cannot be started ({error.strerror})."
        return None


@dataclass
class _Keeper:
    """Clips: from two seconds before the event to its end."""

    folder: Path
    watched: bool  # clips of labels only
    open: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--clips {self.folder} cannot be made ({error.strerror}).") from None

    def due(self, now: float, ended: bool) -> list[tuple[float, str]]:
        """Those to be written."""
        ready = [each for each in self.open if ended or now - each[0] >= LONGEST - PREROLL]
        self.open = [each for each in self.open if each not in ready]
        return ready


class _Diarist:
    def __init__(
        self,
        mats: Mats,
        source: Input,
        names: list[str],
        count: int,
        labels: dict[str, float],
        gate: float,
        json: bool,
        starter: _Starter | None,
        keeper: _Keeper | None,
        quiet: bool,
    ) -> None:
        from mats_model.live.diary import Diary, DiarySettings
        from mats_model.live.ring import Tags

        self.mats, self.source, self.json, self.starter, self.keeper, self.quiet = (
            mats,
            source,
            json,
            starter,
            keeper,
            quiet,
        )
        self.tags: Tags | None = Tags(mats, names) if count and names else None
        self.count, self.gate = count, gate
        self.labels = list(labels)
        self.label_vectors = mats.label_embeddings(self.labels) if labels else None
        self.diary = Diary(DiarySettings(gate=gate), labels)
        self.began = datetime.now().astimezone()
        self.start_clock = time.time()

    def work(self, stop: float | None) -> None:
        """Until the stream ends, or `stop` seconds of it were heard. Errors: DeviceError, InputError."""
        from mats_model.live.diary import TICK

        ring, tick = self.source.ring, 0
        while True:
            tick += 1
            end = round(tick * TICK * ring.sample_rate)
            while not ring.wait(end, 0.5):
                if self._over(ring.total >= end):
                    self._last(ring.total / ring.sample_rate)
                    return
                if (line := self.source.stalled()) and not self.quiet:
                    console.note(line)
            if ring.total - end > ring.size * 0.5:  # only a microphone does not wait
                behind = (ring.total - end) / ring.sample_rate
                console.note(f"{behind:.0f} s were not heard: the machine is too slow for what it is asked to do.")
                tick = int(ring.total / ring.sample_rate / TICK)
                continue
            for event in self._look(tick * TICK, end):
                self._tell(event)
            if tick * TICK == 3.0 and (warning := self.source.warning()):
                console.note(warning)
            if self.keeper:
                self._keep(tick * TICK, False)
            self.source.heard_until(max(0, end - round((LONGEST / 2) * ring.sample_rate)))
            if stop is not None and tick * TICK >= stop:
                self._last(tick * TICK)
                return

    def _over(self, more: bool) -> bool:
        if not self.source.ended() or more:
            return False
        if problem := self.source.problem():
            raise DeviceError(problem) if self.source.live else InputError(problem)
        return True

    def _look(self, now: float, end: int) -> Iterator[Event]:
        from mats_model.live.diary import TICK
        from mats_model.live.ring import NOW, hear_now, level

        ring = self.source.ring
        samples = ring.between(end - round(NOW * ring.sample_rate), end)
        heard = hear_now(self.mats, samples, ring.sample_rate, self.gate + self.diary.settings.close)
        loud = level(samples[-round(TICK * ring.sample_rate) :], ring.sample_rate)
        scores: dict[str, float] = {}
        if self.label_vectors is not None:
            scores = dict.fromkeys(self.labels, 0.0)
            if heard.embedding is not None:
                scores = dict(
                    zip(
                        self.labels,
                        self.mats.score(heard.embedding, self.label_vectors, multi=True).tolist(),
                        strict=True,
                    )
                )
        yield from self.diary.feed(now, heard, loud, scores)

    def _last(self, now: float) -> None:
        for event in self.diary.finish(now):
            self._tell(event)
        if self.keeper:
            self._keep(now, True)

    def _when(self, seconds: float) -> str:
        """By the wall for a microphone, from the beginning for a pipe."""
        if not self.source.live:
            return clock(seconds)
        return datetime.fromtimestamp(self.start_clock + seconds).astimezone().isoformat(timespec="milliseconds")

    def _tell(self, event: Event) -> None:
        from mats_model.audio import AudioSource
        from mats_model.live.diary import Begun, Ended, Passed, Quiet
        from mats_model.live.ring import level

        if isinstance(event, Ended):
            if self.keeper:
                self._keep(event.end, True)
        elif isinstance(event, Quiet):
            self._write(event.start, {"event": "quiet"}, ["(quiet)"])
        elif isinstance(event, Passed):
            self._write(
                event.time,
                {"event": "label", "label": event.label, "score": round(event.score, 4)},
                [f"{event.label}: {event.score:.2f}"],
            )
            if self.keeper and self.keeper.watched:
                self.keeper.open.append((event.time, event.label))
            problem = self.starter.start(event.label, event.score, self._when(event.time)) if self.starter else None
            if problem:
                console.note(problem)
        elif isinstance(event, Begun):
            samples = self.source.ring.between(
                round(event.start * self.source.ring.sample_rate), round(event.heard * self.source.ring.sample_rate)
            )
            embedding = next(
                self.mats.listen(
                    AudioSource(self.source.name, samples=samples, sample_rate=self.source.ring.sample_rate)
                )
            ).embedding
            if embedding is None:
                return
            best = self.tags.best(embedding, self.count) if self.tags else []
            caption = self.mats.answer(embedding[None])[0]
            told: dict[str, Any] = {"event": "sound", "level": round(level(samples, self.source.ring.sample_rate), 1)}
            told |= {
                "tags": [{"label": label.name, "score": round(label.score, 4)} for label in best],
                "caption": caption,
            }
            self._write(event.start, told, [", ".join(label.name for label in best), caption])
            if self.keeper and not self.keeper.watched:
                self.keeper.open.append((event.start, best[0].name if best else "sound"))

    def _write(self, seconds: float, told: dict[str, Any], cells: list[str]) -> None:
        when = self._when(seconds)
        if self.json:
            console.out(plain_json({"time": when, "start": round(seconds, 3), **told}) + "\n")
        else:
            console.out("\t".join([when, *cells]) + "\n")

    def _keep(self, now: float, ended: bool) -> None:
        from mats_model.audio import write_wav

        assert self.keeper is not None
        ring = self.source.ring
        for start, name in self.keeper.due(now, ended):
            samples = ring.between(
                round((start - PREROLL) * ring.sample_rate), round((now + POSTROLL * ended) * ring.sample_rate)
            )
            slug = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")[:60]
            path = self.keeper.folder / f"{self._when(max(0.0, start)).replace(':', '-')} {slug}.wav"
            try:
                write_wav(path, samples, ring.sample_rate)
            except OSError as error:
                console.note(f"{path} cannot be written ({error.strerror}): this clip is lost, the diary goes on.")
                continue
            self._write(start, {"event": "clip", "path": str(path)}, [str(path)])
