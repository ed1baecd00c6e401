"""Write what the search looks through: every section, term and public name of the book, with its place.

Sphinx's own index knows pages only. A reader who pastes an error message is sent to the section that explains it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

FILE = "sections.js"
_CODE = (nodes.literal_block, nodes.doctest_block)
_PLACES = (nodes.section, addnodes.desc, addnodes.glossary)
_SILENT = (nodes.raw, nodes.comment, nodes.image, nodes.title, addnodes.desc_signature, addnodes.toctree)
_MESSAGES = ("book/troubleshooting", "book/upgrade")  # their sections are called by what a reader meets in a terminal
_NAMES_OF = "book/api/"  # and these by what they are called in code
# Answers to be thought of first, and what has been said before.
_SPOILERS = ("Exercises", "Quiz", "What you take along")
KEYWORDS = "book/keywords.yml"
_COMMON = 2  # sections
_NAMES = re.compile(r"[^\W\d]\w+")


def entries(page: nodes.document, name: str) -> Iterator[dict[str, str]]:
    """Yield title, kind, place, prose and words of code of each part of a page that has a place of its own."""
    title = next((one.astext() for one in page.findall(nodes.title)), name)
    for section in page.findall(nodes.section):
        head = section.next_node(nodes.title)
        if head is not None and head.astext() in _SPOILERS:
            continue
        is_page = head is None or head.astext() == title
        kind = "message" if name in _MESSAGES and not is_page else "name" if name.startswith(_NAMES_OF) else ""
        yield _entry(section, title if head is None else head.astext(), "" if is_page else section["ids"][0], kind)
    for described in page.findall(addnodes.desc):
        signature = described.next_node(addnodes.desc_signature)
        if signature is not None and signature["ids"]:
            entry = _entry(described, signature.get("fullname", ""), signature["ids"][0], "name")
            # What it does; how, says its page. A field or method is found by its name.
            told = "" if signature.get("class") else entry["text"].partition(". ")[0]
            yield entry | {"text": told, "code": ""}
    for term in page.findall(nodes.term):
        if term["ids"] and any(isinstance(one, addnodes.glossary) for one in _above(term)):
            yield _entry(term.parent, term.astext(), term["ids"][0], "term")


def _entry(node: nodes.Node, title: str, anchor: str, kind: str) -> dict[str, str]:
    prose, code = " ".join(" ".join(_prose(node)).split()), " ".join(_code(node))
    words = " ".join(dict.fromkeys(_NAMES.findall(code)))  # once each
    return {"title": title, "anchor": anchor, "kind": kind, "text": prose, "code": words}


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
    """Keep the entries of a page until all are there; ``make book`` builds from nothing, so that each comes by here."""
    kept: dict[str, list[dict[str, str]]] = app.env.__dict__.setdefault("book_sections", {})
    found = {entry["anchor"]: entry for entry in entries(page, name)}
    # A heading over other sections, without a word of its own, answers no question. That of a page is its name.
    kept[name] = [
        one for one in found.values() if one["text"] or one["code"] or one["kind"] == "name" or not one["anchor"]
    ]


def without_common_words(kept: list[dict[str, str]]) -> None:
    """Take the words of code out that stand in many sections: nobody finds anything by ``import``."""
    number = Counter(word for entry in kept for word in entry["code"].split())
    for entry in kept:
        entry["code"] = " ".join(word for word in entry["code"].split() if number[word] <= _COMMON)


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the entries as a script, which a page may load from a disk as well as from a server."""
    if error or app.builder.format != "html":
        return
    kept: dict[str, list[dict[str, str]]] = app.env.__dict__.get("book_sections", {})
    without_common_words([entry for page in kept.values() for entry in page])
    written = Path(app.srcdir, KEYWORDS)  # a book without the file has no further words
    keywords = yaml.safe_load(written.read_text(encoding="utf-8")) if written.exists() else {}
    pages = {}
    for name, found in sorted(kept.items()):
        for entry in found:
            entry["also"] = "; ".join(keywords.get(f"{name}.html#{entry['anchor']}".rstrip("#"), []))
        said = {"kind"} if name.startswith(_NAMES_OF) else set()  # by the name of the page
        pages[name] = [{key: value for key, value in one.items() if value and key not in said} for one in found]
    text = json.dumps(pages, ensure_ascii=False, separators=(",", ":"))
    Path(app.outdir, "_static", FILE).write_text(f"const PAGES = {text};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at each page when it is complete."""
    app.connect("doctree-resolved", collect, priority=800)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
