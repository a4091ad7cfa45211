"""mats chat: ask about a file, or about what the microphone hears."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Optional, TextIO

import typer

from mats_cli import console, loading, signals
from mats_cli import options as shared
from mats_cli.formats import plain_json
from mats_model.errors import DeviceError, MatsError, UsageError

if TYPE_CHECKING:
    from mats_cli.chat.session import Session

Sound = Annotated[
    Optional[str],
    typer.Argument(metavar="FILE", help="A sound file, or - for standard input; the microphone if not given."),
]
Listen = Annotated[
    Optional[float],
    typer.Option("--listen", metavar="SECONDS", help="Hear so long first, then talk about that.", show_default=False),
]
Ask = Annotated[
    Optional[list[str]], typer.Option("--ask", metavar="QUESTION", help="Ask this and leave; may be given again.")
]
Window = Annotated[
    float,
    typer.Option(
        "--window", metavar="SECONDS", min=1.0, max=60.0, help="How much of what the microphone heard last counts."
    ),
]
Devices = Annotated[bool, typer.Option("--devices", help="List the microphones, and leave.")]
Strict = Annotated[bool, typer.Option("--strict", help="Withhold what nothing that was heard supports.")]


def chat(
    sound: Sound = None,
    listen: Listen = None,
    ask: Ask = None,
    window: Window = 10.0,
    strict: Strict = False,
    devices: Devices = False,
    mic: shared.Mic = None,
    sample_rate: shared.Rate = None,
    raw: shared.Raw = None,
    gate: shared.Gate = -55.0,
    json: shared.Json = False,
    model: shared.Model = "nano",
    memory: shared.Memory = None,
    santa: shared.SantaWay = "",
    no_santa: shared.NoSanta = False,
    search: shared.Search = "",
    llm: shared.Llm = None,
    quantize: shared.Quantize = None,
    device: shared.Compute = "auto",
    compute: shared.FormerCompute = "",
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
    mic, device = loading.microphone_and_device(mic, device, compute)
    _check(sound, microphone=bool(mic or raw or sample_rate or listen is not None))
    from mats_cli.chat.session import RING, Session, Settings
    from mats_cli.microphone import open_input

    questions, terminal = _who_asks(ask, "-" in (sound, mic))
    settings = Settings(
        window=window,
        gate=gate,
        strict=strict,
        json=json,
        quiet=quiet,
        model=model,
        offline=offline,
        santa=santa,
        memory=memory,
        no_santa=no_santa,
        search=search,
        llm=llm,
        quantize=quantize,
        compute=device,
    )
    session = Session(settings, lambda: open_input(mic, raw, sample_rate, RING))
    _run(session, sound, listen, questions, terminal)


def _check(sound: str | None, microphone: bool) -> None:
    """`microphone`: something was asked of one. Errors: UsageError."""
    if sound is not None and microphone:
        raise UsageError(f"{sound} is a file: --listen, --rate, --mic and --raw are for a microphone.")
    if sound == "-" and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("`-` reads a sound from standard input, which is the keyboard: pipe a file in.")


def _run(
    session: Session, sound: str | None, listen: float | None, questions: Iterable[str] | None, terminal: TextIO | None
) -> None:
    """The whole chat. Errors: MatsError; typer.Exit where a part of what was heard is missing."""
    try:
        _begin(session, sound, listen, typed=questions is None)
        if questions is None:
            _typed(session, terminal)
        else:
            _read(session, questions)
    except KeyboardInterrupt:
        raise console.Stopped from None
    finally:
        session.close()
    if session.missing:
        raise typer.Exit(3)


def _list_devices(json: bool) -> None:
    from dataclasses import asdict

    from mats_cli.microphone import NO_DEVICE, devices

    found = devices()
    if not found:
        raise DeviceError(NO_DEVICE)
    for each in found:
        if json:
            console.out(plain_json(asdict(each)) + "\n")
        else:
            console.out(
                f"{each.number}\t{each.name}\t{each.channels} channels\t{each.sample_rate} "
                f"Hz{chr(9) + 'default' if each.chosen else ''}\n"
            )


def _who_asks(ask: list[str] | None, piped: bool) -> tuple[Iterable[str] | None, TextIO | None]:
    """Questions that are known or will be read; or None, and the terminal where they are typed if it is not standard
    input.

    `piped`: standard input holds the sound. Errors: UsageError.
    """
    if ask:
        return ask, None
    if piped:
        try:
            return None, open("/dev/tty", encoding="utf-8")
        except OSError:
            raise UsageError(
                "standard input holds the sound and there is no terminal to type questions: use --ask QUESTION."
            ) from None
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("standard input is closed, so nobody can ask: use --ask QUESTION.")
    return (None if sys.stdin.isatty() else sys.stdin), None


def _begin(session: Session, sound: str | None, listen: float | None, typed: bool) -> None:
    """The first thing that is talked about. Errors: MatsError."""
    session.typed = typed
    if sound == "-":
        from mats_cli.inputs import read_stdin
        from mats_model.audio import AudioSource

        session.attend(AudioSource("standard input", data=read_stdin(quiet=session.settings.quiet)))
    elif sound is not None:
        session.open_file(sound)
    elif listen is not None or not typed:
        # nobody is there to wait for: what is asked is asked of the first seconds
        session.listen(session.settings.window if listen is None else listen)
    else:
        session.follow()


def _read(session: Session, questions: Iterable[str]) -> None:
    """Questions of a file, a pipe or the command line. Errors: DeviceError, OutputError; others are said, and the next
    question is asked."""
    from mats_cli.chat.commands import Leave, handle

    for line in questions:
        try:
            handle(session, line)
        except Leave:
            return
        except (DeviceError, console.OutputError):
            raise
        except MatsError as error:
            console.failure(error)


def _typed(session: Session, terminal: TextIO | None) -> None:
    """Questions as they are typed, above a status line."""
    from mats_cli.chat.commands import Leave, handle
    from mats_cli.chat.screen import keyboard
    from mats_cli.chat.status import Watcher

    session.watcher = watcher = Watcher(session.source, session.mats, session.tags, session.settings.gate)
    watcher.start()
    if not session.settings.quiet:
        console.note("ask a question; /help shows the commands, /bye leaves.")
    for line in keyboard(watcher.line, terminal):
        try:
            handle(session, line)
        except Leave:
            return
        except KeyboardInterrupt:
            if not signals.answered():
                raise
            console.note("stopped.")
        except console.OutputError:
            raise
        except MatsError as error:
            console.failure(error)
