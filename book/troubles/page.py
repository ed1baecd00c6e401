"""The entries as a page of the book.

``python -m book.troubles.page book/troubleshooting.md`` brings the page up to date.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from book.generators.sections import renewed
from book.troubles import TROUBLES
from book.troubles.trouble import Trouble
from ftlib.files import write_whole


def render() -> str:
    """All groups, with their entries, as Markdown."""
    return "\n\n".join("\n\n".join([f"## {group}", *map(_entry, troubles)]) for group, troubles in TROUBLES.items())


def current(page: str | Path) -> str:
    """Return the text of a page with today's entries in the section ``troubles``.

    Raises:
        DataError: See :func:`book.generators.sections.renewed`.
    """
    return renewed(page, {"troubles": render()})


def _entry(trouble: Trouble) -> str:
    paragraphs = [line for part in trouble.message.splitlines() for line in textwrap.wrap(part.strip(), 80)]
    return "\n\n".join(
        [
            f"### {trouble.title}",
            _block("text", "\n".join(paragraphs)),
            f"**Cause.** {_joined(trouble.cause)}",
            f"**Fix.** {_joined(trouble.cure)}",
            _block(trouble.language, trouble.shown_fix),
        ]
    )


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _joined(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        write_whole(path, current(path))
