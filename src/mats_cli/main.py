"""The verbs, --version, and the one place where errors become a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from mats_cli import console, signals
from mats_cli.formats import visible
from mats_cli.options import App
from mats_model import __version__
from mats_model.errors import MatsError, UsageError

# what a disk says when it takes no more
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
# what it says of a path that leads nowhere
_NOWHERE = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)

# in the order of the help; a module with an `app` is a group of verbs
_VERBS = {
    "caption": "mats_cli.caption",
    "classify": "mats_cli.classify",
    "chat": "mats_cli.chat.verb",
    "listen": "mats_cli.listen",
    "search": "mats_cli.search",
    "index": "mats_cli.index.verb",
    "train": "mats_cli.train",
    "evaluate": "mats_cli.evaluate",
    "models": "mats_cli.models",
}


def make_app(verbs: Iterable[str] = tuple(_VERBS)) -> App:
    """The program with these verbs. One is made in a third of the time that all take, and a sound is answered in less
    than that."""
    app = App(
        name="mats",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    for verb in verbs:
        module = import_module(_VERBS[verb])
        if hasattr(module, "app"):
            app.add_typer(module.app, name=verb)
        else:
            app.command()(getattr(module, verb))
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mats {__version__}")
        raise typer.Exit()


def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """mats hears a sound, a song or a recording and answers in words, on your own machine.

    \b
    Examples:
      mats caption song.wav
      mats classify folder/ --labels "dog,rain,car horn"
      mats index library ~/sounds
      mats search "kids laughing in the rain"

    \b
    Exit codes: 0 done, 1 our bug, 2 usage, 3 some inputs failed,
    4 all failed or none found, 5 model or index missing, 6 index and model
    differ, 7 device or memory, 8 a figure under --fail-under, 130 Ctrl-C,
    143 SIGTERM, 129 SIGHUP.
    MATS_DEBUG=1 shows where something happened that was not expected.
    """


def _meant(words: list[str], verbs: list[str]) -> list[str]:
    """`help` and `version` as words; what is no verb, but a sound or an address, is told what to type. Errors:
    UsageError."""
    first = words[0] if words else ""
    if first == "help":
        return [*words[1:], "--help"]
    if first == "version":
        return ["--version", *words[1:]]
    if first.startswith("-") or first in verbs:
        return words
    rest = shlex.join(words)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", first):
        raise UsageError(f"{first} is an address, and mats opens none: curl -L {shlex.quote(first)} | mats caption -")
    if os.path.exists(first) or os.sep in first or re.search(r"\.\w{2,5}$", first):
        raise UsageError(f"{visible(first)} is no command. Did you mean: mats caption {visible(rest)}")
    return words


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run, and leave with an exit code of the table above."""
    console.streams()
    signals.install()
    console.tell_warnings()
    if "_MATS_COMPLETE" in os.environ:
        from typer.completion import completion_init

        completion_init()
    # libraries that count their users are told not to
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
    code: Any = 0
    try:
        verbs: list[str] = []
        if "_MATS_COMPLETE" not in os.environ:
            arguments = _meant(sys.argv[1:] if arguments is None else arguments, list(_VERBS))
            verbs = [verb for verb in arguments[:1] if verb in _VERBS]
        code = make_app(verbs or _VERBS)(arguments, prog_name="mats", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:
            raise KeyboardInterrupt
    except MatsError as error:
        console.failure(error)
        code = error.exit_code
    except KeyboardInterrupt:
        console.note("stopped.")
        code = signals.code()
    except console.Stopped:
        code = signals.code()
    except (console.ClosedPipe, BrokenPipeError):
        # the reader has what it wanted; nothing may be flushed into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError:
        console.note("memory ran out: close other programs, or give fewer inputs at once.")
        code = 7
    except Exception as error:
        code = _unexpected(error)
    # worker threads may still decode: an answer that nobody waits for is not waited for
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def _unexpected(error: Exception) -> int:
    """Says what the machine or a library did not let happen; the exit code of that. Errors: `error`, for who wants to
    see where."""
    if (show := getattr(error, "show", None)) is not None:  # of the command line's own reader
        show(file=sys.stderr)
        return int(getattr(error, "exit_code", 2))
    if type(error).__name__ == "OutOfMemoryError":
        console.note(
            "the memory of the device ran out: use --quantize auto, a smaller language model, fewer beams, or "
            "--device cpu."
        )
        return 7
    if os.environ.get("MATS_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.errno in _REFUSED:
        console.note(
            f"{error.filename or 'a file'} cannot be written ({error.strerror}): make room, or choose another place."
        )
        return 2
    if isinstance(error, OSError) and error.errno in _NOWHERE and error.filename:
        console.note(f"{error.filename} cannot be used ({error.strerror}): give another path.")
        return 2
    console.note(f"this is a bug of mats: {type(error).__name__}: {error} (MATS_DEBUG=1 shows where).")
    return 1
