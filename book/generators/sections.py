"""Sections of a page that programs make, each between two markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ftlib.errors import DataError


def begin_marker(section: str) -> str:
    """Return the line of Markdown in front of a section that a program makes.

    >>> begin_marker("rules")
    '<!-- rules: begin -->'
    """
    return f"<!-- {section}: begin -->"


def renewed(path: str | Path, sections: Mapping[str, str]) -> str:
    r"""Return the text of a page with new text in each section that a program makes; the file stays as it is.

    Args:
        path: The page. A section stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.
        sections: Name and new text of each.

    Raises:
        DataError: A marker is missing, stands twice, or they stand in the wrong order.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder) / "page.md"
    ...     _ = page.write_text("Above\n<!-- rules: begin -->old<!-- rules: end -->\nbelow", encoding="utf-8")
    ...     print(renewed(page, {"rules": "new"}))
    Above
    <!-- rules: begin -->
    <BLANKLINE>
    new
    <BLANKLINE>
    <!-- rules: end -->
    below
    """
    text = Path(path).read_text(encoding="utf-8")
    for name, new in sections.items():
        begin, end = begin_marker(name), f"<!-- {name}: end -->"
        for marker in (begin, end):
            if (times := text.count(marker)) != 1:
                raise DataError(f"{path}: the marker {marker} stands there {times} times: it has to be there once")
        before, _, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not closed:
            raise DataError(f"{path}: the marker {end} stands in front of {begin}: put it behind")
        text = f"{before}{begin}\n\n{new}\n\n{end}{after}"
    return text
