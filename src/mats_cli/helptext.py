"""What --help shows: daily options first, the others under headings, and no word broken on a terminal of 40 columns."""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import Any

from typer.core import TyperCommand, TyperGroup

# options that are not of every day, by the heading that they stand under
HEADINGS = {
    "--bom": "Results in detail",
    "--trace": "Results in detail",
    "--embed": "Results in detail",
    "--template": "Results in detail",
    "--least": "Results in detail",
    "--rate": "Microphone",
    "--raw": "Microphone",
    "--gate": "Microphone",
    "--window": "Microphone",
    "--devices": "Microphone",
    "--mic": "Microphone",
    "--clap": "Model",
    "--model": "Model",
    "--device": "Model",
    "--llm": "Model",
    "--quantize": "Model",
    "--memory": "Model",
    "--santa": "Model",
    "--no-santa": "Model",
    "--search": "Model",
    "--offline": "Model",
}
# columns below which what an option does stands under its name
_NARROW = 60


class HelpfulCommand(TyperCommand):
    """A verb."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Under headings, the daily ones first."""
        write_options(self, ctx, formatter)

    def get_help(self, ctx: Any) -> str:
        """Fitted to the terminal, no word broken."""
        columns = _narrowed(ctx)
        return fitted(super().get_help(ctx), columns)


class HelpfulGroup(TyperGroup):
    """The program, or verbs that belong together."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Under headings, the daily ones first."""
        write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with the whole of its first sentence."""
        known = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(verb.help or "")) for name, verb in known if verb and not verb.hidden]
        _section(formatter, "Commands", rows)

    def get_help(self, ctx: Any) -> str:
        """Fitted to the terminal, no word broken."""
        columns = _narrowed(ctx)
        return fitted(super().get_help(ctx), columns)


def write_options(command: Any, ctx: Any, formatter: Any) -> None:
    """Arguments and options, under their headings."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        if parameter.param_type_name == "argument":
            # newer typers put the type behind the name
            sections["Arguments"].append((re.sub(r" <[^<>]*(\[[^<>]*\])?>", "", record[0]), record[1]))
        else:
            sections.setdefault(HEADINGS.get(parameter.opts[-1], "Options"), []).append(record)
    for heading, records in sections.items():
        _section(formatter, heading, records)


def _section(formatter: Any, heading: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=2 if formatter.width < _NARROW else 30)


def fitted(text: str, width: int) -> str:
    """Lines that are longer than the terminal, as examples are, go on in the next line instead of in the middle of a
    word."""
    lines = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        lines += (
            [line]
            if len(line) <= width
            else textwrap.wrap(
                line, width, initial_indent="", subsequent_indent=" " * (indent + 4),
                break_long_words=False, break_on_hyphens=False, replace_whitespace=False, drop_whitespace=True,
            )
        )  # fmt: skip
    return "\n".join(lines)


def _narrowed(ctx: Any) -> int:
    """The terminal's columns, told to click too, which lets no help be narrower than 50 by itself."""
    columns = shutil.get_terminal_size().columns
    if ctx.terminal_width is None:
        ctx.terminal_width = max(min(columns, ctx.max_content_width or 80) - 2, 30)
    return columns


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s|\n\s*\n", " ".join(text.split("\f")[0].strip().split("\n\n")[0].split()))[0]
