"""The keyboard and the line below it: history, completion and a status line. The one door to prompt_toolkit."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mats_cli.chat.commands import COMMANDS


def keyboard(status: Callable[[int], str], terminal: Any = None) -> Iterator[str]:
    """Lines as they are typed, until Ctrl-D. Ctrl-C at the prompt is a KeyboardInterrupt.

    `status` writes the line below for so many columns, "" where there is none; `terminal` is read instead of standard
    input.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.input import create_input
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.output import ColorDepth, create_output
    from prompt_toolkit.styles import Style

    from mats_model.places import state

    class Known(Completer):
        """Commands, and the paths and models that go with some of them."""

        def get_completions(self, document: Any, event: Any) -> Any:
            name, space, rest = document.text_before_cursor.partition(" ")
            if not space:
                yield from (Completion(each, -len(name)) for each in COMMANDS if name and each.startswith(name))
            elif name in ("/file", "/save", "/model"):
                if name == "/model":
                    yield from (Completion(each, -len(rest)) for each in ("nano", "mini") if each.startswith(rest))
                yield from PathCompleter(expanduser=True).get_completions(Document(rest, len(rest)), event)
            elif name == "/set":
                yield from (
                    Completion(each, -len(rest)) for each in ("window=", "gate=", "strict=") if each.startswith(rest)
                )

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    def toolbar() -> str:
        return status(shutil.get_terminal_size().columns - 1)

    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    session: PromptSession[str] = PromptSession(
        history=_history(state() / "chat_history", FileHistory) or InMemoryHistory(),
        completer=Known(),
        complete_while_typing=False,
        key_bindings=keys,
        style=Style.from_dict({"bottom-toolbar": "noreverse"}),
        color_depth=ColorDepth.DEPTH_1_BIT if plain else None,
        input=create_input(terminal) if terminal else None,
        # what is typed is no result: where those go to a file, it is shown on stderr
        output=create_output(stdout=sys.stdout if sys.stdout.isatty() else terminal or sys.stderr),
    )
    while True:
        try:
            shown = bool(status(80))
            yield session.prompt("> ", bottom_toolbar=toolbar if shown else "", refresh_interval=0.25 if shown else 0)
        except EOFError:
            return


def _history(path: Path, kind: Any) -> Any:
    """A file that only its owner may read, or nothing where none can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return None
    return kind(str(path))
