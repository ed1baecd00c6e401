"""A talk with a model on a page: recorded answers, which ``lm/talk.js`` makes one that the reader can join.

::

    ```{talk} smollm2
    :tokens: 40
    What is the capital of France?
    ```

Each line is a question. Its answer was recorded by ``book/talks.py`` and stands on the page as text, with JavaScript
or without. The option ``talk_models`` of the configuration names the models that a reader may load into a page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ftlib.export.page_section import talk_section

RECORDED = Path("book") / "talks.json"


class TalkDirective(SphinxDirective):
    """Questions to a model, with what it said when the book was built."""

    has_content = True
    required_arguments = 1
    option_spec = {"tokens": directives.positive_int}  # noqa: RUF012 (docutils has it so)

    def run(self) -> list[nodes.Node]:
        """Make the section that is read without JavaScript, and taken over with it."""
        name = self.arguments[0]
        questions = [line.strip() for line in self.content if line.strip()]
        path = Path(self.env.srcdir) / RECORDED
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"models": {}, "answers": []}
        self.env.note_dependency(str(path))
        tokens = self.options.get("tokens", 60)
        answers = {
            pair["question"]: pair["answer"]
            for talk in told["answers"]
            if (talk["model"], talk["tokens"]) == (name, tokens)
            for pair in talk["pairs"]
        }
        if missing := [question for question in questions if question not in answers]:
            raise self.error(f"talk: no answer of {name} was recorded to {missing[0]!r}: build the book with make book")
        about = told["models"][name] if name in self.env.config.talk_models else None
        recorded = [(question, [answers[question]]) for question in questions]
        return [nodes.raw("", talk_section(name, about, tokens, recorded), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive and its option known."""
    app.add_config_value("talk_models", [], "env", [list])
    app.add_directive("talk", TalkDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
