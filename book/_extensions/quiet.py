"""Make the pages of chapters quiet: a strip at the top, folded cells, boxes to predict in, and quizzes.

In a notebook all of it is plain Markdown and the tags that myst-nb knows, so a chapter reads as well in Jupyter or
Colab. CONTRIBUTING.md says how each of them is written. Here they become what ``quiet.css`` and ``quiz.js`` expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

LABELS = {
    "setup": ("Imports and settings", "Imports and settings"),
    "check": ("Checked at every build", "Checked at every build"),
    "figure": ("Code of this figure", "Code of this figure"),
    "code": ("More code", "More code"),
    "output": ("Show what happened", "Hide what happened"),
}
"""What is written on a fold of each kind: while it is closed, and while it is open."""

_OPTION = re.compile(r"([A-Z])\.")
_FEEDBACK = re.compile(r"([A-Z]) is (right|wrong)\.")
_OPENS, _CLOSES = "<details", "</details>"
_log = logging.getLogger(__name__)


class QuietFolds(SphinxPostTransform):
    """Tell of each folded part of a cell which kind it is, once myst-nb has folded it."""

    default_priority = 200  # that of myst-nb's own is 199
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Go through the cells of a page."""
        for cell in self.document.findall(nodes.container):
            for fold in cell.children:
                if isinstance(fold, HideCodeCellNode):
                    fold["kind"] = _kind_of(fold, cell)
        for fold in list(self.document.findall(HideCodeCellNode)):
            if fold["kind"] == "output":
                read = _reading(fold.parent)
                for part in read:
                    part.parent.remove(part)
                fold += read


def _reading(cell: nodes.container) -> list[nodes.paragraph]:
    """Find what reads a folded output, and would tell on the same screen what was to be predicted.

    It is the first paragraph behind the cell and its checks, with the caption of a figure before it.
    """
    behind = cell.parent.children[cell.parent.index(cell) + 1 :]
    found: list[nodes.paragraph] = []
    for node in behind:
        if isinstance(node, nodes.paragraph):
            found.append(node)
            if not _is_caption(node):
                return found
        elif not _is_check(node):
            break
    return found


def _is_caption(node: nodes.paragraph) -> bool:
    return all(isinstance(child, nodes.emphasis) for child in node.children if child.astext().strip())


def _is_check(node: nodes.Node) -> bool:
    folds = node.children if isinstance(node, nodes.container) else []
    return any(isinstance(fold, HideCodeCellNode) and fold["kind"] == "check" for fold in folds)


def _kind_of(fold: HideCodeCellNode, cell: nodes.container) -> str:
    if "above-input" not in fold["classes"]:
        return "output"
    if cell["hide_mode"] == "all":
        return "check"
    if isinstance(cell.parent.parent, nodes.document):  # in no section of the chapter: above the first of them
        return "setup"
    return "figure" if next(iter(cell.findall(nodes.image)), None) else "code"


def visit_fold(self: Any, fold: HideCodeCellNode) -> None:
    """Begin a fold. Its label is all that its summary says, so that a screen reader reads what everybody sees."""
    kind = fold.get("kind", "code")
    closed, opened = map(escape, LABELS[kind])
    label = closed if closed == opened else f'<span class="closed">{closed}</span><span class="opened">{opened}</span>'
    self.body.append(f'<details class="quiet-fold quiet-{kind}">\n<summary>{label}</summary>\n')


def depart_fold(self: Any, fold: HideCodeCellNode) -> None:
    """End a fold."""
    self.body.append("</details>\n")


def _split_lead(node: nodes.Node) -> tuple[str, list[nodes.Node]]:
    """Take the bold words off the beginning of a paragraph, or of the first paragraph of an item or a quotation."""
    first = node if isinstance(node, nodes.paragraph) or not node.children else node.children[0]
    if not isinstance(first, nodes.paragraph):
        return "", []
    inside = [child for child in first.children if child.astext()]  # Markdown begins with an empty text
    if not inside or not isinstance(inside[0], nodes.strong):
        return "", inside
    rest = [child.deepcopy() for child in inside[1:]]
    if rest and isinstance(rest[0], nodes.Text):
        rest[0] = nodes.Text(rest[0].astext().lstrip())
    return inside[0].astext(), rest


def lead_of(node: nodes.Node) -> str:
    """Return the bold words that a paragraph, or the first paragraph of an item or a quotation, begins with."""
    return _split_lead(node)[0]


def make_strip(document: nodes.document) -> None:
    """Make one compact list of terms out of goal, prerequisites, time and model, which stand above all sections."""
    for items in list(document.findall(nodes.bullet_list)):
        if not isinstance(items.parent.parent, nodes.document) or lead_of(items.children[0]) != "Goal.":
            continue
        strip = nodes.definition_list("", classes=["strip"])
        for item in items.children:
            lead, rest = _split_lead(item)
            told = nodes.definition("", nodes.paragraph("", "", *rest), *item.children[1:])
            strip += nodes.definition_list_item("", nodes.term("", lead.rstrip(".")), told)
        items.replace_self(strip)


def make_predictions(document: nodes.document) -> None:
    """Make a box of each quotation that begins with "Predict"."""
    for quotation in list(document.findall(nodes.block_quote)):
        lead, rest = _split_lead(quotation)
        if lead == "Predict:":
            if isinstance(rest[0], nodes.Text):  # the title stands on a line of its own
                rest[0] = nodes.Text(rest[0][:1].upper() + rest[0][1:])
            asked = nodes.paragraph("", "", *rest)
            title = nodes.title("", "Predict")
            box = nodes.admonition("", title, asked, *quotation.children[1:], classes=["predict"])
            quotation.replace_self(box)


def _is_html(node: nodes.Node, beginning: str) -> bool:
    return isinstance(node, nodes.raw) and node.astext().strip().startswith(beginning)


def make_quizzes(document: nodes.document, name: str) -> None:
    """Put each question of a section "Quiz" into a container of its own, with its options and answers marked."""
    for section in list(document.findall(nodes.section)):
        if section.children[0].astext() != "Quiz":
            continue
        children = list(section.children)
        begins = [i for i, child in enumerate(children) if re.match(r"\d+\. ", lead_of(child))]
        for begin, end in pairwise([*begins, len(children)]):
            part = children[begin:end]
            problem = _mark_question(part)
            if problem:
                _log.warning("%s: a question of the quiz %s: %s", name, problem, lead_of(part[0]), type="quiz")
                continue
            place = section.index(part[0])
            for one in part[:5]:
                section.remove(one)
            section.insert(place, nodes.container("", *part[:5], classes=["quiz"]))


def _mark_question(part: list[nodes.Node]) -> str:
    """Add the classes that quiz.js looks for; return what is wrong with a question, or nothing."""
    shape = len(part) >= 5 and isinstance(part[1], nodes.bullet_list) and _is_html(part[2], _OPENS)
    if not (shape and isinstance(part[3], nodes.bullet_list) and _is_html(part[4], _CLOSES)):
        return "needs a list of options, and a list of answers inside <details>"
    options = list(_letters(part[1], _OPTION))
    answers = list(_letters(part[3], _FEEDBACK))
    if [match[1] for match in options] != [match[1] for match in answers] or len(options) != len(part[1].children):
        return "needs an answer for each option, in the same order"
    if [match[2] for match in answers].count("right") != 1:
        return "needs one right option"
    part[0]["classes"].append("quiz-question")
    part[1]["classes"].append("quiz-options")
    part[3]["classes"].append("quiz-answers")
    for item, match in zip(part[3].children, answers, strict=True):
        item["classes"].append(f"quiz-{match[2]}")
    return ""


def _letters(items: nodes.bullet_list, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    return (match for item in items.children if (match := pattern.fullmatch(lead_of(item))))


def make_quiet(app: Sphinx, document: nodes.document) -> None:
    """Change a page that was read."""
    make_strip(document)
    make_predictions(document)
    make_quizzes(document, app.env.docname)


def setup(app: Sphinx) -> dict[str, Any]:
    """Let Sphinx ask here about each page that it has read, and about each fold that it writes."""
    app.setup_extension("myst_nb")
    app.connect("doctree-read", make_quiet)
    app.add_post_transform(QuietFolds)
    app.add_node(HideCodeCellNode, override=True, html=(visit_fold, depart_fold))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
