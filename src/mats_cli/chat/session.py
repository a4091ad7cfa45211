"""One chat: what it hears, what it is asked, and its slash commands. It reads no keyboard; `chat` gives it lines."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli import console, signals
from mats_cli import options as shared
from mats_cli.chat.status import Watcher
from mats_cli.formats import plain_json
from mats_cli.microphone import Input
from mats_model.errors import DeviceError, InputError, UsageError
from mats_model.places import expanded

if TYPE_CHECKING:
    from mats_model.audio import AudioSource
    from mats_model.live.ring import Tags
    from mats_model.live.talk import Conversation
    from mats_model.mats import Mats

RING = 60.0
_LEAST = 0.5  # seconds that must have been heard before anything is said

HELP = """\
/listen [S]      hear S seconds of the microphone (10), then talk about those
/mic             talk about the last seconds of the microphone, as they come
/window S        how many seconds that are
/file PATH       talk about a file
/play            play what is talked about
/save FILE.wav   keep what is talked about
/why             tags with their scores, and the captions nearest to it
/model NAME      another model: nano, mini or a folder
/set [KEY=VALUE] window, gate, strict, or settings of Santa (lambda, tau, k, way)
/clear           forget what was said; /history shows it
/help            this; /bye leaves (so do Ctrl-D, and Ctrl-C where a question is awaited)"""
COMMANDS = (
    "/listen",
    "/mic",
    "/window",
    "/file",
    "/play",
    "/save",
    "/why",
    "/model",
    "/set",
    "/clear",
    "/history",
    "/help",
    "/bye",
)


class Leave(Exception):
    """/bye."""


@dataclass
class Settings:
    """Of one chat."""

    window: float = 10.0
    gate: float = -55.0
    strict: bool = False
    json: bool = False
    quiet: bool = False
    model: str = "nano"
    offline: bool = False
    santa: str = ""
    memory: Path | None = None
    no_santa: bool = False
    search: str = ""
    llm: str | None = None
    quantize: str | None = None
    compute: str = "auto"


class Session:
    """`handle` a line: a question or a command. Answers go to stdout, all else to stderr."""

    def __init__(self, settings: Settings, open_input: Callable[[], Input]) -> None:
        self.settings, self._open = settings, open_input
        self.source: Input | None = None
        self.live = False
        self._heard = (0, 0)  # positions of the microphone that are talked about
        self._told = 0  # overruns that were said
        self.missing = False  # part of a file could not be heard
        self.mats, self.tags, self.conversation = self._load(settings.model)
        self.watcher: Watcher | None = None

    # ---- what it hears

    def _load(self, name: str) -> tuple[Mats, Tags, Conversation]:
        from mats_model.live.ring import Tags
        from mats_model.live.talk import Conversation

        wanted = self.settings
        mats = shared.load_model(name, wanted.offline, wanted.llm, wanted.quantize, wanted.compute)
        shared.apply_santa(mats, wanted.memory, wanted.santa, wanted.no_santa)
        shared.apply_search(mats, wanted.search)
        tags = Tags(mats, shared.tag_names(mats) or ["sound"])
        return mats, tags, Conversation(mats, tags, self.settings.strict)

    def microphone(self) -> Input:
        """Opened when it is first needed. Errors: DeviceError, UsageError."""
        if self.source is None or self.source.ended():
            if self.source is not None and not self.source.live:
                return self.source  # a pipe that has ended still has its last seconds
            if self.source is not None:
                self.source.close()
            self.source = self._open()
            for line in (
                []
                if self.settings.quiet
                else [f"listening to {self.source.name} at {self.source.ring.sample_rate} Hz.", *self.source.notes]
            ):
                console.note(line)
            if self.watcher:
                self.watcher.source = self.source
        return self.source

    def follow(self) -> None:
        """Talk about the last seconds of the microphone, as they come."""
        self.microphone()
        self.live, self._heard = True, (0, 0)

    def listen(self, seconds: float) -> None:
        """Hear so many seconds from now on, and talk about those. Errors: DeviceError, InputError."""
        source = self.microphone()
        if not 0.1 <= seconds <= RING:
            raise UsageError(f"/listen {seconds:g}: between 0.1 and {RING:g} seconds can be heard at once.")
        first = source.ring.total if source.live else 0
        end = first + round(seconds * source.ring.sample_rate)
        if source.live and not self.settings.quiet:
            console.note(f"hearing {seconds:g} s")
        while not source.ring.wait(end, 0.25):
            if source.ended():
                break
            if (line := source.stalled()) and not self.settings.quiet:
                console.note(line)
        self.live = False
        self._take(first, min(end, source.ring.total), same=False)

    def open_file(self, path: str) -> None:
        """Talk about a file. Errors: InputError."""
        from mats_model.audio import source

        self.attend(source(expanded(path), path))
        self.live = False

    def _take(self, first: int, end: int, same: bool) -> None:
        from mats_model.audio import AudioSource

        assert self.source is not None
        ring = self.source.ring
        if end - first < _LEAST * ring.sample_rate:
            heard = (
                f"{self.source.name} was heard for {(end - first) / ring.sample_rate:.1f} s only: "
                "wait a moment, and ask again."
            )
            raise InputError(self.source.problem() or heard)
        self._heard = first, end
        self.attend(AudioSource(self.source.name, samples=ring.between(first, end), sample_rate=ring.sample_rate), same)

    def attend(self, item: AudioSource, same: bool = False) -> None:
        """Talk about this from now on. Errors: InputError."""
        from mats_model.live.talk import take

        live = item.samples is not None
        hearing = take(self.mats, item, self.settings.gate if live else None)
        # what was not heard is said even so
        for line in item.missing if self.settings.quiet else item.notes:
            console.note(line)
        self.missing = self.missing or bool(item.missing)
        self.conversation.listen_to(hearing, same)

    def catch_up(self) -> None:
        """The live window moves on; once half of it is new, it is another sound."""
        source = self.source
        assert source is not None
        if source.live and source.ended():
            raise DeviceError(source.problem() or f"{source.name} has ended.")
        ring = source.ring
        end = ring.total
        if end == self._heard[1]:
            return
        first = max(0, end - round(self.settings.window * ring.sample_rate))
        old = max(0, self._heard[1] - first)
        self._take(first, end, same=self._heard[1] > 0 and old * 2 >= end - first)
        if ring.overruns > self._told:
            console.note(
                f"{ring.overruns - self._told} blocks of sound were lost before they came here: the machine is busy."
            )
            self._told = ring.overruns

    # ---- what it is asked

    def handle(self, line: str) -> None:
        """Errors: Leave; MatsError, after which the chat may go on."""
        line = line.strip()
        if line.startswith("/"):
            self._command(line)
        elif line:
            self.ask(line)

    def ask(self, question: str) -> None:
        """Ctrl-C stops the answer, not the chat. Errors: UsageError for what is no text."""
        shared.check_text(question, "the question")
        if self.live:
            self.catch_up()
        pieces = self.conversation.ask(question)
        if self.settings.json:
            for _ in pieces:
                pass
            console.out(plain_json(self._json()) + "\n")
            return
        try:
            for piece in pieces:
                console.out(piece)
        except KeyboardInterrupt:
            if self.watcher is None or not signals.answered():  # nobody is there to ask anything else
                raise
            pieces.close()
            console.out(" (stopped)")
        console.out("\n")
        withheld = self.conversation.last.withheld if self.conversation.last else []
        if withheld and not self.settings.quiet:
            console.note(f"withheld, since nothing that was heard supports it: {'; '.join(withheld)}")

    def _json(self) -> dict[str, Any]:
        answer, hearing = self.conversation.last, self.conversation.hearing
        assert answer and hearing
        told: dict[str, Any] = {
            "question": answer.question,
            "answer": answer.text,
            "kind": answer.kind,
            "sound": hearing.name,
        }
        told |= {"seconds": round(hearing.seconds, 3), "level": round(hearing.level, 1), "model": self.mats.config.name}
        if answer.labels:
            told["labels"] = [{"label": label.name, "score": round(label.score, 4)} for label in answer.labels]
        if answer.stretches:
            told["times"] = [
                {"start": round(s.start, 3), "end": round(s.end, 3), "score": round(s.score, 4)}
                for s in answer.stretches
            ]
        if answer.withheld:
            told["withheld"] = answer.withheld
        return told

    def _command(self, line: str) -> None:
        try:
            name, *words = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"{line.split()[0]}: the line cannot be read ({error}).") from None
        name = {"/quit": "/bye", "/exit": "/bye", "/?": "/help"}.get(name, name)
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, 1)
            raise UsageError(
                f"there is no command {name}"
                + (f"; did you mean {near[0]}?" if near else ": /help shows those there are.")
            )
        # a path with spaces need not be quoted
        rest = line[len(line.split()[0]) :].strip() if len(words) > 1 else words[0] if words else ""
        getattr(self, f"_{name[1:]}")(rest)

    def _listen(self, rest: str) -> None:
        self.listen(_number(rest or "10", "/listen"))

    def _mic(self, rest: str) -> None:
        self.follow()

    def _window(self, rest: str) -> None:
        seconds = _number(rest, "/window")
        if not 1.0 <= seconds <= RING:
            raise UsageError(f"/window {seconds:g}: give between 1 and {RING:g} seconds.")
        self.settings.window, self._heard = seconds, (0, 0)

    def _file(self, rest: str) -> None:
        if not rest:
            raise UsageError("/file: say which.")
        self.open_file(rest)

    def _sound(self) -> AudioSource:
        if self.live:
            self.catch_up()
        if self.conversation.hearing is None:
            raise UsageError("nothing was heard yet: /listen to the microphone, or /file PATH.")
        return self.conversation.hearing.source

    def _play(self, rest: str) -> None:
        import itertools

        import numpy as np

        from mats_cli.microphone import play
        from mats_model.audio import blocks

        item = self._sound()
        if item.samples is not None:
            play(item.samples, item.sample_rate)
        else:  # the first minutes of a long file
            play(np.concatenate(list(itertools.islice(blocks(item, 48_000), 500))), 48_000)

    def _save(self, rest: str) -> None:
        from mats_model.audio import write_wav

        item = self._sound()
        path = expanded(rest)
        if not rest or path.suffix.lower() != ".wav":
            raise UsageError("/save: give the name of a file that ends in .wav.")
        if item.samples is None:
            raise UsageError(f"/save: {item.name} is a file already.")
        if os.path.exists(path):  # which a name too long does not upset
            raise UsageError(f"/save: {path} is there already: give another name.")
        try:
            write_wav(path, item.samples, item.sample_rate)
        except OSError as error:
            raise UsageError(f"{path} cannot be written ({error.strerror}): choose another place.") from None
        console.note(f"{len(item.samples) / item.sample_rate:.1f} s saved to {path}")

    def _why(self, rest: str) -> None:
        self._sound()
        tags, near = self.conversation.why()
        answer = self.conversation.last
        if self.settings.json:
            told: dict[str, Any] = {"tags": [{"label": tag.name, "score": round(tag.score, 4)} for tag in tags]}
            told["near"] = [{"caption": text, "cosine": round(value, 4)} for text, value in near]
            console.out(plain_json(told) + "\n")
            return
        for title, rows in (
            ("tags", [(tag.name, tag.score) for tag in tags]),
            ("nearest captions of the memory", near),
        ):
            console.out(f"{title}\n" + "".join(f"  {score:5.2f}  {text}\n" for text, score in rows))
        if answer and answer.stretches:
            console.out(
                "times\n"
                + "".join(f"  {each.score:5.2f}  {each.start:.1f}-{each.end:.1f} s\n" for each in answer.stretches)
            )

    def _model(self, rest: str) -> None:
        if not rest:
            raise UsageError(f"/model: the model is {self.settings.model}; name another.")
        hearing, turns = self.conversation.hearing, self.conversation.turns
        self.mats, self.tags, self.conversation = self._load(rest)
        self.settings.model = rest
        self.conversation.turns, self.conversation.since = turns, len(turns)
        if self.watcher:
            self.watcher.ears = self.mats, self.tags
        if hearing:
            self.attend(hearing.source)

    def _set(self, rest: str) -> None:
        if not rest:
            known = self.settings
            santa = self.mats.santa.settings
            console.out(f"window={known.window:g} gate={known.gate:g} strict={'on' if known.strict else 'off'}\n")
            console.out(f"lambda={santa.blend:g} tau={santa.temperature:g} k={santa.neighbours} way={santa.way}\n")
            return
        key, _, value = rest.partition("=")
        key, value = key.strip(), value.strip()
        if key == "window":
            self._window(value)
        elif key == "gate":
            self.settings.gate = min(0.0, _number(value, "/set gate"))
            if self.watcher:
                self.watcher.gate = self.settings.gate
        elif key == "strict":
            if value not in ("on", "off"):
                raise UsageError("/set strict: on or off.")
            self.settings.strict = self.conversation.strict = value == "on"
        else:
            shared.apply_santa(self.mats, None, rest, False)
            self.settings.santa = ",".join(filter(None, (self.settings.santa, rest)))

    def _clear(self, rest: str) -> None:
        self.conversation.clear()

    def _history(self, rest: str) -> None:
        for number, turn in enumerate(self.conversation.turns):
            if number == self.conversation.since and number:
                console.out("-- another sound\n")
            console.out(f"> {turn.question}\n{turn.answer}\n")

    def _help(self, rest: str) -> None:
        console.out(HELP + "\n")

    def _bye(self, rest: str) -> None:
        raise Leave

    def close(self) -> None:
        """Let go of the microphone."""
        if self.watcher:
            self.watcher.stop()
        if self.source:
            self.source.close()


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"{where} {text}: give a number of seconds."
            if "gate" not in where
            else f"{where}={text}: give a number of dB."
        ) from None
