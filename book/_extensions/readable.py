"""Give all tables one form: those of Markdown, and those that pandas writes.

Columns of numbers are marked, so that the style sheet can put digits below digits; the corner above the names of rows
is no header when it is empty; and a table lies in a box that scrolls by itself where a screen is too narrow for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx

NUMBER = re.compile(
    r"""[-+\N{MINUS SIGN}~<>$\N{EURO SIGN}]*\ ?\d[\d.,_]*(e[-+]?\d+)?  # -0.5, $1,260, 2e-05
        (\ ?(%|x|[A-Za-z]{1,3}|(bytes|tokens|steps|rows)))?            # 80.4 %, 1.05 GiB
        (\ \(.*\d.*\))?                                                # 0.02 (0.02 to 0.03)""",
    re.VERBOSE,
)
_SHORT, _LONG = 16, 40  # characters: the one stays in a line, the other may break anywhere
_EMPTY_HEADER = re.compile(r"<th class=\"([^\"]*)\"><p></p></th>")
_BOX = "pst-scrollable-table-container"  # as the theme calls that of Markdown's tables; the keyboard reaches it


def holds_numbers(column: Sequence[str]) -> bool:
    """Tell whether a column is one of numbers: most of its cells, when empty ones don't count.

    >>> holds_numbers(["0.02 (0.01 to 0.03)", "1.05 GiB", ""]), holds_numbers(["1 in a row", "7"]), holds_numbers([""])
    (True, False, False)
    """
    told = [cell.strip() for cell in column if cell.strip()]
    return sum(bool(NUMBER.fullmatch(cell)) for cell in told) > len(told) / 2


def number_columns(rows: Sequence[Sequence[str]]) -> set[int]:
    """Return which columns of a table's body hold numbers.

    >>> number_columns([["base", "0.02"], ["tuned", "0.15"]])
    {1}
    """
    return {place for place, column in enumerate(zip_longest(*rows, fillvalue="")) if holds_numbers(column)}


def tidy(html: str) -> str:
    """Return pandas' HTML of a table in the form that all tables have.

    >>> print(tidy('<table border="1" class="dataframe"><tr><th>base</th><td>0.02</td></tr></table>')[44:-14])
    <table class="table"><tr><th class="short">base</th><td class="short number">0.02</td></tr>
    """
    page = BeautifulSoup(html, "html.parser")
    for style in page.find_all("style", scoped=True):
        style.decompose()
    for table in page.find_all("table"):
        _tidy_table(table)
        table.wrap(page.new_tag("div", attrs={"class": _BOX}))
    return str(page)


def _tidy_table(table: Tag) -> None:
    del table["border"]
    table["class"] = "table"  # not dataframe: the theme has looks of its own for that
    for cell in table.select("td, th"):
        length = len(cell.get_text(strip=True))
        _add(cell, ["short"] if 0 < length <= _SHORT else ["long"] if length > _LONG else [])
    heads, body = _rows(table.select("thead tr")), _rows(table.select("tr:not(thead tr)"))
    for header in [cell for row in heads for cell in row if not cell.get_text(strip=True)]:
        header.name = "td"
    if table.select("[colspan], [rowspan]"):
        return  # cells don't stand below one another by their number in the row
    for place in number_columns([[cell.get_text() for cell in row] for row in body]):
        for cell in [row[place] for row in heads + body if place < len(row)]:
            _add(cell, classes_of(cell.get_text()))


def _add(cell: Tag, classes: Sequence[str]) -> None:
    if classes:
        cell["class"] = " ".join([*filter(None, cell.get_attribute_list("class")), *classes])


def _rows(lines: Sequence[Tag]) -> list[list[Tag]]:
    for line in lines:
        del line["style"]
    return [line.find_all(["td", "th"], recursive=False) for line in lines]


def classes_of(cell: str) -> list[str]:
    """Return the classes of a cell in a column of numbers; what is no number may be broken into lines.

    >>> classes_of("0.02 (0.01 to 0.03)"), classes_of("not run: no key")
    (['number'], ['number', 'words'])
    """
    return ["number"] if NUMBER.fullmatch(cell.strip()) else ["number", "words"]


def mark_tables(app: Sphinx, page: nodes.document, name: str) -> None:
    """Tidy the tables of a page before it is written."""
    for raw in [one for one in page.findall(nodes.raw) if "<table" in one.astext()]:
        raw.replace_self(nodes.raw("", tidy(raw.astext()), format="html"))
    for table in page.findall(nodes.table):
        rows = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
        body = [row for row in rows if isinstance(row[0].parent.parent, nodes.tbody)]
        for place in number_columns([[cell.astext() for cell in row] for row in body]):
            for row in rows:
                row[place]["classes"] += classes_of(row[place].astext())


def drop_empty_headers(app: Sphinx, name: str, template: str, context: dict[str, Any], page: nodes.document) -> None:
    """Make a plain cell of each header that says nothing."""
    context["body"] = _EMPTY_HEADER.sub(r'<td class="\1"></td>', context.get("body", ""))


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at each page when outputs have been put into it."""
    app.connect("doctree-resolved", mark_tables, priority=900)
    app.connect("html-page-context", drop_empty_headers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
