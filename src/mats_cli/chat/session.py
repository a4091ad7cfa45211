"""One chat: what it hears, and what it is asked. Answers go to stdout, all else to stderr."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mats_cli import console, loading, signals
from mats_cli import options as shared
from mats_cli.chat.status import Watcher
from mats_cli.formats import clock, plain_json
from mats_model.errors import UsageError
from mats_model.places import expanded

if TYPE_CHECKING:
    from mats_model.audio import AudioSource
    from mats_model.live.events import Tags
    from mats_model.live.excerpt import Excerpts
    from mats_model.live.hearing import Hearing
    from mats_model.live.stream import Stream
    from mats_model.live.talk import Conversation
    from mats_model.mats import Mats

RING = 60.0


@dataclass(kw_only=True)
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
    """A model, what it hears, and the conversation about that; the microphone is opened when it is first needed."""

    def __init__(self, settings: Settings, open_input: Callable[[], Stream]) -> None:
        self.settings, self._open = settings, open_input
        self.source: Stream | None = None
        self.typed = False  # somebody types the questions
        self.live = False  # talks about the last seconds of the source, as they come
        self.excerpts: Excerpts | None = None
        self._told = 0  # overruns that were said
        self.missing = False  # part of a file could not be heard
        self.mats, self.tags, self.conversation = self.load(settings.model)
        self.watcher: Watcher | None = None

    # ---- what it hears

    def load(self, name: str) -> tuple[Mats, Tags, Conversation]:
        """A model by name, with what the settings ask of it. Errors: MatsError."""
        from mats_model.live.events import Tags, tag_names
        from mats_model.live.talk import Conversation

        wanted = self.settings
        mats = loading.load_model(name, wanted.offline, wanted.llm, wanted.quantize, wanted.compute)
        loading.one_thread()
        loading.apply_santa(mats, wanted.memory, wanted.santa, wanted.no_santa)
        loading.apply_search(mats, wanted.search)
        tags = Tags(mats, tag_names(mats) or ["sound"])
        return mats, tags, Conversation(mats, tags, self.settings.strict)

    def microphone(self) -> Stream:
        """Opened when it is first needed. Errors: DeviceError, UsageError."""
        if self.source is None or self.source.ended():
            if self.source is not None and not self.source.live:
                return self.source  # a pipe that has ended still has its last seconds
            if self.source is not None:
                self.source.close()
            self.source, self._told = self._open(), 0
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
        from mats_model.live.excerpt import Excerpts

        self.live, self.excerpts = True, Excerpts(self.microphone(), self.settings.window)

    def listen(self, seconds: float) -> None:
        """Hear so many seconds from now on, and talk about those. Errors: DeviceError, InputError."""
        from mats_model.live.excerpt import Excerpts

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
        self.attend(Excerpts(source, self.settings.window).between(first, min(end, source.ring.total)))

    def open_file(self, path: str) -> None:
        """Talk about a file. Errors: InputError."""
        from mats_model.audio import source

        self.attend(source(expanded(path), path))
        self.live = False
        self.introduce()

    def introduce(self) -> None:
        """What a file is, where somebody types or it is long: a line before the first question."""
        hearing = self.conversation.hearing
        if hearing is None or self.settings.quiet or not (self.typed or hearing.stretches):
            return
        told = "silence." if hearing.embedding is None else self.conversation.tape.summary()
        console.note(f"{hearing.name}, {clock(round(hearing.seconds))}: {told}")

    def attend(self, item: AudioSource, same: bool = False) -> None:
        """Talk about this from now on. Errors: InputError."""
        from mats_model.live.hearing import take

        live = item.samples is not None
        hearing = take(self.mats, item, self.settings.gate if live else None)
        # what was not heard is said even so
        for line in item.missing if self.settings.quiet else item.notes:
            console.note(line)
        self.missing = self.missing or bool(item.missing)
        self.conversation.listen_to(hearing, same)

    def catch_up(self) -> None:
        """The live window moves on; once half of it is new, it is another sound."""
        assert self.excerpts is not None
        if latest := self.excerpts.latest():
            self.attend(*latest)
        ring = self.excerpts.stream.ring
        if ring.overruns > self._told:
            console.note(
                f"{ring.overruns - self._told} blocks of sound were lost before they came here: the machine is busy."
            )
            self._told = ring.overruns

    # ---- what it is asked

    def hearing(self) -> Hearing:
        """What is talked about, as it is now. Errors: UsageError before anything was heard; those of `catch_up`."""
        if self.live:
            self.catch_up()
        if self.conversation.hearing is None:
            raise UsageError("nothing was heard yet: /listen to the microphone, or /file PATH.")
        return self.conversation.hearing

    def ask(self, question: str) -> None:
        """Ctrl-C stops the answer, not the chat. Errors: UsageError for what is no text."""
        shared.check_text(question, "the question")
        self.hearing()
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
        if answer.times:
            told["times"] = [
                {"start": round(s.start, 3), "end": round(s.end, 3), "score": round(s.score, 4)} for s in answer.times
            ]
        if answer.withheld:
            told["withheld"] = answer.withheld
        return told

    def close(self) -> None:
        """Let go of the microphone."""
        if self.watcher:
            self.watcher.stop()
        if self.source:
            self.source.close()
