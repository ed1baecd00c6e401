"""Mend what Sphinx writes and a screen reader stumbles over, as axe-core finds it (tests/book/test_site_browser.py)."""

from __future__ import annotations

from typing import Any

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

_AFTER_ALL_OTHERS = 950
# ARIA has given this role up: an entry of a list of references is an item like others.
_DEPRECATED_ROLE, _ROLE = ' role="doc-biblioentry"', ' role="listitem"'


def nest_lists(html: str) -> str:
    """Put each list that stands directly in a list into the item before it, as HTML asks for.

    >>> nest_lists("<ul><li>ftlib</li><ul><li>ftlib.data</li></ul></ul>")
    '<ul><li>ftlib<ul><li>ftlib.data</li></ul></li></ul>'
    """
    page = BeautifulSoup(html, "html.parser")
    for inner in page.select("ul > ul"):
        item = inner.find_previous_sibling("li")
        if item is not None:
            item.append(inner.extract())
    return str(page)


def mend(app: Sphinx, name: str, template: str, context: dict[str, Any], page: object) -> None:
    """Mend the text of one page."""
    body = context.get("body", "")
    if _DEPRECATED_ROLE in body:
        context["body"] = body.replace(_DEPRECATED_ROLE, _ROLE)
    if name == "_modules/index":
        context["body"] = nest_lists(body)


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at each page when it is whole."""
    app.connect("html-page-context", mend, priority=_AFTER_ALL_OTHERS)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
