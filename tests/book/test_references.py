"""The glossary and the list of references hold what the book uses, and no more."""

import json
import re

from tests.course import ROOT

TERM = re.compile(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`")
CITED = re.compile(r"\{cite:\w+\}`([^`]+)`")


def prose():
    for path in (*ROOT.glob("chapters/*.ipynb"), *ROOT.glob("book/**/*.md")):
        text = path.read_text(encoding="utf-8")
        cells = json.loads(text)["cells"] if path.suffix == ".ipynb" else [{"cell_type": "markdown", "source": text}]
        yield path, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def test_every_term_of_the_glossary_is_linked_from_another_page():
    glossary = (ROOT / "book/glossary.md").read_text(encoding="utf-8")
    terms = {term.lower() for term in re.findall(r"(?m)^(\S.*)\n  \S", glossary)}
    linked = {term.lower() for path, text in prose() if path.name != "glossary.md" for term in TERM.findall(text)}
    assert len(terms) >= 80
    assert terms - linked == set()


def test_every_reference_is_cited_and_every_citation_is_there():
    bibliography = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"(?m)^@\w+\{(\S+),", bibliography)
    cited = {key for _, text in prose() for keys in CITED.findall(text) for key in keys.split(",")}
    assert len({*keys}) == len(keys)
    assert {*keys} == cited
