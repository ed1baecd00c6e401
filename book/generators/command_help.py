"""The listings of commands in the README and in the book, made from the real ``--help``.

``python -m book.generators.command_help FILE...`` renews what stands between the markers in these files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from book.generators.sections import begin_marker, renewed
from ftlib.cli import app
from ftlib.cli.group import COMMANDS
from ftlib.files import write_whole

WIDTH = 70
"""Columns that the help is laid out for: what a page of the book shows without scrolling."""


def help_of(name: str | None = None) -> str:
    """Return the help of a command, or of ``ftlib`` itself.

    Args:
        name: Of the command.

    >>> help_of("doctor").splitlines()[0]
    'Usage: ftlib doctor [OPTIONS]'
    """
    group: Any = typer.main.get_command(app)
    context = group.make_context("ftlib", [], resilient_parsing=True, terminal_width=WIDTH)
    if name is None:
        return str(context.get_help())
    command = group.get_command(context, name)
    return str(command.make_context(name, [], parent=context, resilient_parsing=True).get_help())


def overview() -> str:
    """Return ``ftlib --help`` as a block of Markdown."""
    return f"```text\n$ ftlib --help\n{help_of()}\n```"


def reference() -> str:
    """Return the help of every command as Markdown, a section each."""
    sections = (f"## ftlib {name}\n\n```text\n{help_of(name)}\n```" for name in COMMANDS)
    return "\n\n".join([overview(), *sections])


LISTINGS = {"overview": overview, "reference": reference}


def current(page: str | Path) -> str:
    """Return the text of a page with the listings of today in its sections ``overview`` and ``reference``.

    Args:
        page: The file; it holds one of the two, or both.

    Raises:
        DataError: It holds neither, or see :func:`book.generators.sections.renewed`.
    """
    text = Path(page).read_text(encoding="utf-8")
    held = [name for name in LISTINGS if begin_marker(name) in text] or [*LISTINGS]
    return renewed(page, {name: LISTINGS[name]() for name in held})


def main() -> None:
    """Renew the files that are named on the command line."""
    for path in map(Path, sys.argv[1:]):
        write_whole(path, current(path))


if __name__ == "__main__":
    main()
