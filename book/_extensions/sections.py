"""Write what the search looks through: every section, term and public name of the book, with its place.

Sphinx's own index knows pages only. A reader who pastes an error message is sent to the section that explains it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

FILE = "sections.js"
_CODE = (nodes.literal_block, nodes.doctest_block)
_PLACES = (nodes.section, addnodes.desc, addnodes.glossary)
_SILENT = (nodes.raw, nodes.comment, nodes.image, nodes.title, addnodes.desc_signature, addnodes.toctree)
_MESSAGES = "book/troubleshooting"  # a page whose sections are called by the message that they explain
_NAMES = re.compile(r"[^\W\d]\w+")


def entries(page: nodes.document, name: str) -> Iterator[dict[str, str]]:
    """Yield title, place, prose and words of code of each part of a page that has a place of its own."""
    title = next((one.astext() for one in page.findall(nodes.title)), name)
    for section in page.findall(nodes.section):
        head = section.next_node(nodes.title)
        anchor = "" if head and head.astext() == title else section["ids"][0]
        kind = "message" if name == _MESSAGES and anchor else "section"
        yield _entry(section, name, anchor, head.astext() if head else title, title, kind)
    for described in page.findall(addnodes.desc):
        signature = described.next_node(addnodes.desc_signature)
        if signature is not None and signature["ids"]:
            yield _entry(described, name, signature["ids"][0], signature.get("fullname", ""), title, kind="name")
    for term in page.findall(nodes.term):
        if term["ids"] and any(isinstance(one, addnodes.glossary) for one in _above(term)):
            yield _entry(term.parent, name, term["ids"][0], term.astext(), title, kind="term")


def _entry(
    node: nodes.Node, page: str, anchor: str, title: str, page_title: str, kind: str = "section"
) -> dict[str, str]:
    prose, code = " ".join(_prose(node)), " ".join(_code(node))
    words = " ".join(dict.fromkeys(_NAMES.findall(code)))  # once each
    place = f"{page}.html#{anchor}" if anchor else f"{page}.html"
    return {
        "id": place,
        "title": title,
        "page": page_title,
        "kind": kind,
        "text": " ".join(prose.split()),
        "code": words,
    }


def _above(node: nodes.Node) -> Iterator[nodes.Node]:
    while (node := node.parent) is not None:
        yield node


def _own(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield what lies below a node, without that which is an entry of its own."""
    for child in node.children:
        if not isinstance(child, (*_PLACES, *_SILENT)):
            yield child
            if not isinstance(child, (nodes.TextElement, *_CODE)):
                yield from _own(child)


def _prose(node: nodes.Node) -> Iterator[str]:
    for one in _own(node):
        if isinstance(one, nodes.TextElement) and not isinstance(one, _CODE):
            yield one.astext()


def _code(node: nodes.Node) -> Iterator[str]:
    return (one.astext() for one in _own(node) if isinstance(one, _CODE))


def collect(app: Sphinx, page: nodes.document, name: str) -> None:
    """Keep the entries of a page until all are there."""
    kept: dict[str, list[dict[str, str]]] = app.env.__dict__.setdefault("book_sections", {})
    kept[name] = list({entry["id"]: entry for entry in entries(page, name)}.values())


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the entries as a script, which a page may load from a disk as well as from a server."""
    if error is None and app.builder.format == "html":
        kept = app.env.__dict__.get("book_sections", {})
        text = json.dumps(
            [one for name in sorted(kept) for one in kept[name]], ensure_ascii=False, separators=(",", ":")
        )
        Path(app.outdir, "_static", FILE).write_text(f"const SECTIONS = {text};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at each page when it is complete."""
    app.connect("doctree-resolved", collect, priority=800)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
