"""mats chat: ask about a file, or about what the microphone hears."""

from __future__ import annotations

import contextlib
import json as jsonlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Optional

import typer

from mats_cli import console
from mats_cli import options as shared
from mats_model.errors import DeviceError, MatsError, UsageError

Sound = Annotated[Optional[str], typer.Argument(metavar="FILE", help="A sound file, or - for standard input; the microphone if not given.")]
Listen = Annotated[Optional[float], typer.Option("--listen", metavar="SECONDS", help="Hear so long first, then talk about that.", show_default=False)]
Ask = Annotated[Optional[list[str]], typer.Option("--ask", metavar="QUESTION", help="Ask this and leave; may be given again.")]
Window = Annotated[float, typer.Option("--window", metavar="SECONDS", min=1.0, max=60.0, help="How much of what the microphone heard last counts.")]
Devices = Annotated[bool, typer.Option("--devices", help="List the microphones, and leave.")]
Strict = Annotated[bool, typer.Option("--strict", help="Withhold what nothing that was heard supports.")]


def chat(
    sound: Sound = None,
    listen: Listen = None,
    ask: Ask = None,
    window: Window = 10.0,
    strict: Strict = False,
    devices: Devices = False,
    device: shared.Device = None,
    rate: shared.Rate = None,
    mic: shared.Mic = None,
    raw: shared.Raw = None,
    gate: shared.Gate = -55.0,
    json: shared.Json = False,
    model: shared.Model = "nano",
    memory: shared.Memory = None,
    santa: shared.SantaWay = "",
    no_santa: shared.NoSanta = False,
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
) -> None:
    """Talk about a sound: a file, or what the microphone hears while you type.

    Type a question and Enter; /help shows the commands. Questions may also come from a pipe, one a line; answers go to
    stdout, with --json one object each.

    \b
    Examples:
      mats chat
      mats chat song.wav
      mats chat --listen 10 --ask "What do you hear?"
      echo "Is anyone speaking?" | mats chat a.wav --json
      arecord -f S16_LE -r 16000 | mats chat --mic - --raw s16le,16000,1
    """
    if devices:
        _list_devices(json)
        return
    if sound is not None and (mic or raw or device or rate or listen is not None):
        raise UsageError(f"{sound} is a file: --listen, --device, --rate, --mic and --raw are for a microphone.")
    if sound == "-" and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("`-` reads a sound from standard input, which is the keyboard: pipe a file in.")
    piped = sound == "-" or mic is not None  # standard input holds the sound
    from mats_cli.microphone import open_input
    from mats_cli.session import RING, Session, Settings

    lines, typed = _lines(ask, piped)
    shared.one_thread()
    settings = Settings(window, gate, strict, json, quiet, model, offline, santa, memory, no_santa)
    session = Session(settings, lambda: open_input(mic, raw, device, rate, RING))
    try:
        _begin(session, sound, listen, typed)
        _talk(session, lines, typed)
    except KeyboardInterrupt:
        raise console.Stopped from None
    finally:
        session.close()


def _list_devices(json: bool) -> None:
    from dataclasses import asdict

    from mats_cli.microphone import NO_DEVICE, devices

    found = devices()
    if not found:
        raise DeviceError(NO_DEVICE)
    for each in found:
        if json:
            console.out(jsonlib.dumps(asdict(each), ensure_ascii=False) + "\n")
        else:
            console.out(f"{each.number}\t{each.name}\t{each.channels} channels\t{each.rate} Hz{chr(9) + 'default' if each.chosen else ''}\n")


def _lines(ask: list[str] | None, piped: bool) -> tuple[list[str] | Any, bool]:
    """Questions that are known, or a stream of lines, or a terminal; and whether somebody types them. Errors: UsageError."""
    if ask:
        return ask, False
    if not piped and sys.stdin is not None and not sys.stdin.closed:
        return (None, True) if sys.stdin.isatty() else (sys.stdin, False)
    if not piped:
        raise UsageError("standard input is closed, so nobody can ask: use --ask QUESTION.")
    try:
        return open("/dev/tty", encoding="utf-8"), True
    except OSError:
        raise UsageError("standard input holds the sound and there is no terminal to type questions: use --ask QUESTION.") from None


def _begin(session: Any, sound: str | None, listen: float | None, typed: bool) -> None:
    """The first thing that is talked about. Errors: MatsError."""
    if sound == "-":
        from mats_cli.inputs import read_stdin
        from mats_model.audio import Source

        session._hear(Source("standard input", data=read_stdin()))
    elif sound is not None:
        session.open_file(sound)
    elif listen is not None or not typed:
        # nobody is there to wait for: what is asked is asked of the first seconds
        session.listen(session.settings.window if listen is None else listen)
    else:
        session.follow()


def _talk(session: Any, lines: Any, typed: bool) -> None:
    from mats_cli.session import Leave
    from mats_cli.status import Watcher

    if typed:
        from mats_cli.screen import keyboard

        session.watcher = watcher = Watcher(session.source, session.mats, session.tags, session.settings.gate)
        watcher.start()
        if not session.settings.quiet:
            console.note("ask a question; /help shows the commands, /bye leaves.")
        lines = keyboard(watcher.line, lines)
    with contextlib.suppress(Leave):
        for line in _each(lines):
            try:
                session.handle(line)
            except KeyboardInterrupt:
                if not typed:
                    raise
                console.note("stopped.")
            except MatsError as error:
                if not typed and isinstance(error, DeviceError):
                    raise
                console.note(str(error))


def _each(lines: Any) -> Iterator[str]:
    for line in lines:
        if line.strip():
            yield line
