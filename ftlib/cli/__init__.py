"""The command line: it parses and calls, and holds no logic.

Each command is a function in a module of its own that is imported when it is called, so ``ftlib --help`` imports none.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Annotated

import typer

from ftlib.cli.group import CourseGroup
from ftlib.cli.usage import WrongUsage
from ftlib.errors import FtlibError
from ftlib.locales import let_any_text_be_printed, printable, why_unreadable

STOPPED = 130
"""Exit status after Ctrl-C."""


app = typer.Typer(
    cls=CourseGroup,
    rich_markup_mode=None,  # with rich, the help alone would take longer than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from ftlib import __version__

        typer.echo(f"ftlib {__version__}")
        raise typer.Exit


def _remember(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.meta["ftlib.debug"] = True


@app.callback(invoke_without_command=True)
def ftlib(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", callback=_remember, expose_value=False, help="Show the traceback of an error.")
    ] = False,
) -> None:
    """The command line of the fine-tuning course."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line.

    Any error is one line on stderr: status 1, or 2 for wrong usage. Ctrl-C gives status 130.
    """
    let_any_text_be_printed()
    with _plain_warnings():
        status, message = _outcome()
    if message:
        typer.echo(message, err=True)
    sys.exit(status)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show the library's own warnings as a line, without the place in the code."""
    usual = warnings.formatwarning

    def plain(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        own = category.__module__ == "ftlib.errors"
        told = f"ftlib: {_line(str(message))}\n" if own else usual(message, category, filename, lineno, line)
        return printable(told)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _outcome() -> tuple[int, str]:
    try:
        status = app(prog_name="ftlib", standalone_mode=False) or 0
    except FtlibError as error:
        return 1, _line(f"ftlib: {error}")
    except typer.Abort:  # how releases of typer that are built on click pass on Ctrl-C
        status = STOPPED
    except Exception as error:
        return _explained(error)
    return status, "ftlib: stopped; nothing was left half-written" if status == STOPPED else ""


def _explained(error: Exception) -> tuple[int, str]:
    """Return exit status and line for what the library did not raise itself."""
    from ftlib.cli.package_checks import install_command

    if isinstance(error, WrongUsage):
        path = error.ctx.command_path if error.ctx else "ftlib"
        return 2, _line(f"{path}: {error.format_message().rstrip('.')} (see {path} --help)")
    if isinstance(error, ModuleNotFoundError) and (command := install_command(error.name or "")):
        return 1, f"ftlib: this command needs the package {error.name!r}: install it with {command}"
    if isinstance(error, OSError) and error.filename:
        return 1, _line(f"ftlib: {error.filename}: {error.strerror}")
    if isinstance(error, UnicodeEncodeError) and (reason := why_unreadable(error.object)):
        return 1, f"ftlib: {error.object[-200:]!a}: {reason}"
    told = _line(f"{type(error).__name__}: {error}")
    return 1, f"ftlib: an error that ftlib did not expect, {told} (--debug shows where)"


def _line(text: str) -> str:
    return printable(" ".join(text.split()))
