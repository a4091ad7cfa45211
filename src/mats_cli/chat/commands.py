"""The slash commands of a chat: `handle` takes a line, a question or a command."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable
from typing import Any

from mats_cli import console, loading
from mats_cli.chat.session import RING, Session
from mats_cli.formats import plain_json
from mats_model.errors import UsageError
from mats_model.places import expanded

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


class Leave(Exception):
    """/bye."""


def handle(session: Session, line: str) -> None:
    """Errors: Leave; MatsError, after which the chat may go on."""
    line = line.strip()
    if line.startswith("/"):
        _command(session, line)
    elif line:
        session.ask(line)


def _command(session: Session, line: str) -> None:
    try:
        name, *words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{line.split()[0]}: the line cannot be read ({error}).") from None
    name = {"/quit": "/bye", "/exit": "/bye", "/?": "/help"}.get(name, name)
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        raise UsageError(
            f"there is no command {name}" + (f"; did you mean {near[0]}?" if near else ": /help shows those there are.")
        )
    # a path with spaces need not be quoted
    rest = line[len(line.split()[0]) :].strip() if len(words) > 1 else words[0] if words else ""
    COMMANDS[name](session, rest)


def _listen(session: Session, rest: str) -> None:
    session.listen(_number(rest or "10", "/listen"))


def _mic(session: Session, rest: str) -> None:
    session.follow()


def _window(session: Session, rest: str) -> None:
    seconds = _number(rest, "/window")
    if not 1.0 <= seconds <= RING:
        raise UsageError(f"/window {seconds:g}: give between 1 and {RING:g} seconds.")
    session.settings.window = seconds
    if session.excerpts:
        session.excerpts.window = seconds
        session.excerpts.restart()


def _file(session: Session, rest: str) -> None:
    if not rest:
        raise UsageError("/file: say which.")
    session.open_file(rest)


def _play(session: Session, rest: str) -> None:
    import itertools

    import numpy as np

    from mats_cli.microphone import play
    from mats_model.audio import blocks

    item = session.hearing().source
    if item.samples is not None:
        play(item.samples, item.sample_rate)
    else:  # the first minutes of a long file
        play(np.concatenate(list(itertools.islice(blocks(item, 48_000), 500))), 48_000)


def _save(session: Session, rest: str) -> None:
    from mats_model.audio import write_wav

    item = session.hearing().source
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


def _why(session: Session, rest: str) -> None:
    session.hearing()
    tags, near = session.conversation.why()
    answer = session.conversation.last
    if session.settings.json:
        told: dict[str, Any] = {"tags": [{"label": tag.name, "score": round(tag.score, 4)} for tag in tags]}
        told["near"] = [{"caption": text, "cosine": round(value, 4)} for text, value in near]
        console.out(plain_json(told) + "\n")
        return
    for title, rows in (
        ("tags", [(tag.name, tag.score) for tag in tags]),
        ("nearest captions of the memory", near),
    ):
        console.out(f"{title}\n" + "".join(f"  {score:5.2f}  {text}\n" for text, score in rows))
    if answer and answer.times:
        console.out(
            "times\n" + "".join(f"  {each.score:5.2f}  {each.start:.1f}-{each.end:.1f} s\n" for each in answer.times)
        )


def _model(session: Session, rest: str) -> None:
    if not rest:
        raise UsageError(f"/model: the model is {session.settings.model}; name another.")
    hearing, turns = session.conversation.hearing, session.conversation.turns
    session.mats, session.tags, session.conversation = session.load(rest)
    session.settings.model = rest
    session.conversation.turns, session.conversation.since = turns, len(turns)
    if session.watcher:
        session.watcher.ears = session.mats, session.tags
    if hearing:
        session.attend(hearing.source)


def _set(session: Session, rest: str) -> None:
    if not rest:
        known = session.settings
        santa = session.mats.santa.settings
        console.out(f"window={known.window:g} gate={known.gate:g} strict={'on' if known.strict else 'off'}\n")
        console.out(f"lambda={santa.blend:g} tau={santa.temperature:g} k={santa.neighbours} way={santa.way}\n")
        return
    key, _, value = rest.partition("=")
    key, value = key.strip(), value.strip()
    if key == "window":
        _window(session, value)
    elif key == "gate":
        session.settings.gate = min(0.0, _number(value, "/set gate"))
        if session.watcher:
            session.watcher.gate = session.settings.gate
    elif key == "strict":
        if value not in ("on", "off"):
            raise UsageError("/set strict: on or off.")
        session.settings.strict = session.conversation.strict = value == "on"
    else:
        loading.apply_santa(session.mats, None, rest, False)
        session.settings.santa = ",".join(filter(None, (session.settings.santa, rest)))


def _clear(session: Session, rest: str) -> None:
    session.conversation.clear()


def _history(session: Session, rest: str) -> None:
    for number, turn in enumerate(session.conversation.turns):
        if number == session.conversation.since and number:
            console.out("-- another sound\n")
        console.out(f"> {turn.question}\n{turn.answer}\n")


def _help(session: Session, rest: str) -> None:
    console.out(HELP + "\n")


def _bye(session: Session, rest: str) -> None:
    raise Leave


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"{where} {text}: give a number of seconds."
            if "gate" not in where
            else f"{where}={text}: give a number of dB."
        ) from None


COMMANDS: dict[str, Callable[[Session, str], None]] = {
    "/listen": _listen,
    "/mic": _mic,
    "/window": _window,
    "/file": _file,
    "/play": _play,
    "/save": _save,
    "/why": _why,
    "/model": _model,
    "/set": _set,
    "/clear": _clear,
    "/history": _history,
    "/help": _help,
    "/bye": _bye,
}
