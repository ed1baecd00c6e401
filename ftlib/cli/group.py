"""How the commands are found and how their help is laid out."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ftlib.locales import printable
from ftlib.nearest import nearest

COMMANDS = {
    "data": "Look into an instruction file of any format; convert it.",
    "estimate": "Tell what a training run will need, before it starts.",
    "train": "Fine-tune a model as a configuration says.",
    "evaluate": "Ask several models the same questions, and measure.",
    "generate": "Let a model continue prompts or answer questions.",
    "chat": "Talk to a model, on a page or in the terminal.",
    "serve": "Serve a model on this machine, over OpenAI's protocol.",
    "export": "Write a model, its template and its ends for other programs.",
    "upgrade": "Mend calls that the installed libraries no longer accept.",
    "pretrain": "Repeat nano's recipe: harvest, pretrain, evaluate.",
    "doctor": "Check whether the course can run here, and what with.",
}
"""Each command, in the order of ``ftlib --help``, with the first line of its own help."""

_STATUSES = {0: "all is well", 1: "an error, on one line", 2: "wrong usage", 130: "stopped with Ctrl-C"}


class CourseCommand(TyperCommand):
    """A command whose help ends with examples and its exit statuses."""

    examples: Sequence[str] = ()
    statuses: Mapping[int, str] = {}

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write both sections."""
        with formatter.section("Examples"):
            for example in self.examples:
                for line in example.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        with formatter.section("Exit status"):
            statuses = {**_STATUSES, **self.statuses}
            formatter.write_dl([(str(status), meaning) for status, meaning in sorted(statuses.items())])


class CourseGroup(TyperGroup):
    """Commands that are imported when they are called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> CourseCommand | None:
        """Import a command; one that nobody knows is wrong usage."""
        if cmd_name in COMMANDS:
            command = load_command(cmd_name)
            command.params.extend(param for param in self.params if param.name == "debug")
            return command
        if not ctx.resilient_parsing:  # otherwise a shell asks what could follow
            near = nearest(cmd_name, COMMANDS)
            ctx.fail(f"no such command {cmd_name!r}" + (f", did you mean {near!r}?" if near else ""))
        return None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and show where an error came from if that was asked."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception:
            if ctx.meta.get("ftlib.debug"):
                sys.stderr.write(printable(traceback.format_exc()))
            raise


def load_command(name: str) -> CourseCommand:
    """Import the command of a name: the function of that name in the module of that name."""
    module = importlib.import_module(f"ftlib.cli.{name}")
    host = typer.Typer(add_completion=False, rich_markup_mode=None)
    host.command(name, cls=CourseCommand)(getattr(module, name))
    command: Any = typer.main.get_command(host)
    command.examples, command.statuses = module.EXAMPLES, module.STATUSES
    return command  # type: ignore[no-any-return]
