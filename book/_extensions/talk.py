"""A talk with a model on a page: recorded answers, which ``lm/talk.js`` makes one that the reader can join.

::

    ```{talk} smollm2
    :tokens: 40
    What is the capital of France?
    ```

Each line is a question; a line that ends with a backslash goes on in the next one. Its answer was recorded by
``book/talks.py`` and stands on the page as text, with JavaScript or without. With ``:adapter:`` and the name of a
configuration two columns show the model before and after that training, which the build does, for as many steps as
``:steps:`` says. The option ``talk_models`` of the book's configuration names the models that a reader may load into a
page; without its model an adapter isn't trained, and one column stands there. With ``:rows: support_mail test 2 8`` the
questions are those of rows 2 and 8 of the data's test split.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ftlib.export.page_section import questions_in, talk_section

RECORDED = Path("book") / "talks.json"


class TalkDirective(SphinxDirective):
    """Questions to a model, with what it said when the book was built."""

    has_content = True
    required_arguments = 1
    option_spec = {  # noqa: RUF012 (docutils has it so)
        "tokens": directives.positive_int,
        "adapter": directives.unchanged_required,
        "steps": directives.positive_int,
        "rows": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Make the section that is read without JavaScript, and taken over with it."""
        name, tokens = self.arguments[0], self.options.get("tokens", 60)
        is_live = name in self.env.config.talk_models
        shelf = "-".join(str(self.options[one]) for one in ("adapter", "steps") if is_live and one in self.options)
        path = Path(self.env.srcdir) / RECORDED
        self.env.note_dependency(str(path))
        talks = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        asked = (name, shelf or None, tokens, self.options.get("rows"))
        same = [talk for talk in talks if (talk["model"], talk["shelf"], talk["tokens"], talk["rows"]) == asked]
        answers = {pair["question"]: pair["answers"] for talk in same for pair in talk["pairs"]}
        questions = list(answers) if "rows" in self.options else questions_in(self.content)
        if missing := [question for question in questions if question not in answers]:
            raise self.error(f"talk: no answer of {name} was recorded to {missing[0]!r}: build the book with make book")
        if not same:
            raise self.error(f"talk: nothing of {name} was recorded for this talk: build the book with make book")
        about = same[0]["about"] if is_live else None
        recorded = [(question, answers[question]) for question in questions]
        return [nodes.raw("", talk_section(name, about, tokens, recorded), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive and its option known."""
    app.add_config_value("talk_models", [], "env", [list])
    app.add_directive("talk", TalkDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
