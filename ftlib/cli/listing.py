"""The listings of commands in the README and in the book, made from the real ``--help``.

``python -m ftlib.cli.listing FILE...`` renews what stands between the markers in these files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from ftlib.cli import app
from ftlib.cli.group import COMMANDS
from ftlib.errors import DataError

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


def renew(text: str) -> str:
    """Put the listings of today between the markers of a page.

    Args:
        text: Of the page; a listing stands between ``<!-- listing: overview -->`` and ``<!-- end of listing -->``.

    Raises:
        DataError: The page has no marker, or one that is never closed.
    """
    renewed, found = text, False
    for name, make in LISTINGS.items():
        begin, end = f"<!-- listing: {name} -->", "<!-- end of listing -->"
        if begin in renewed:
            before, _, rest = renewed.partition(begin)
            _, closed, after = rest.partition(end)
            if not closed:
                raise DataError(f"the marker {begin} is never closed: write {end} behind the listing")
            renewed, found = f"{before}{begin}\n\n{make()}\n\n{end}{after}", True
    if not found:
        raise DataError(
            f"the page holds no listing: expected a marker such as <!-- listing: {next(iter(LISTINGS))} -->"
        )
    return renewed


def main() -> None:
    """Renew the files that are named on the command line."""
    for path in map(Path, sys.argv[1:]):
        path.write_text(renew(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
