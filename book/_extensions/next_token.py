"""Which token a model expects next, as bars under a token of a text, and on a click under any other.

::

    ```{next-token} nano
    :token: 3
    If the key is not in the dictionary
    ```

The bars of the token that the option names, by its number from 1, were recorded by ``book/next_tokens.py`` and stand on
the page as text, with JavaScript or without. If the book's configuration names the model in ``talk_models``,
``next_token.js`` lets a reader load it, and ask it at every token of this text and of their own.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ftlib.export.page_section import NOTE

RECORDED = Path("book") / "next_tokens.json"
_SIGNS = {" ": "\u00b7", "\n": "\u21b5", "\t": "\u21e5"}
_UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Zs")


def visible(token: str) -> str:
    r"""Return a token as text that can be seen, as ``lm/widgets.js`` does: spaces, line breaks, what leaves no mark.

    >>> visible(" a\n\u200b")
    '·a↵U+200B'
    """
    return "".join(
        _SIGNS.get(sign, f"U+{ord(sign):04X}" if unicodedata.category(sign) in _UNSEEN else sign) for sign in token
    )


def next_section(told: Mapping[str, Any], *, is_live: bool) -> str:
    """Return the section that is read without JavaScript, and taken over with it.

    Args:
        told: An entry of what ``book/next_tokens.py`` recorded.
        is_live: Whether a reader may load the model.
    """
    name, at = escape(told["model"]), told["token"] - 1
    facts = {"text": told["text"], "tokens": told["tokens"], "position": at}
    live = f' data-about="{_attribute(told["about"])}" data-recorded="{_attribute(facts)}"' if is_live else ""
    tokens = "".join(
        f'<li class="talk-token{" is-chosen" if i == at else ""}">{escape(visible(token))}</li>'
        for i, token in enumerate(told["tokens"])
    )
    title = f'<p class="talk-title">What {name} expects next</p><p class="talk-note">{NOTE}</p>'
    strip = f'<ol class="talk-strip" aria-label="Tokens of the text">{tokens}</ol>'
    after = f'<p class="talk-after">After token {at + 1}, <code>{escape(visible(told["tokens"][at]))}</code></p>'
    bars = "".join(_bar(one["text"], one["share"]) for one in told["likeliest"])
    inside = f'{title}{strip}{after}<ol class="talk-bars">{bars}</ol>'
    return f'<section class="talk" aria-label="What {name} expects next"{live}>{inside}</section>'


def _attribute(value: object) -> str:
    return escape(json.dumps(value))


def _bar(token: str, share: float) -> str:
    percent = f"{100 * share:.1f}"
    bar = f'<span class="talk-bar" aria-hidden="true"><span style="width: {percent}%"></span></span>'
    return f"<li><code>{escape(visible(token))}</code>{bar}<span>{percent} %</span></li>"


class NextTokenDirective(SphinxDirective):
    """A text, and what a model expects after one of its tokens."""

    has_content = True
    required_arguments = 1
    option_spec = {"token": directives.positive_int}  # noqa: RUF012 (docutils has it so)

    def run(self) -> list[nodes.Node]:
        """Find what was recorded, and show it."""
        name, text = self.arguments[0], "\n".join(self.content).strip()
        asked = (name, text, self.options.get("token", 1))
        path = Path(self.env.srcdir) / RECORDED
        self.env.note_dependency(str(path))
        recorded = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        same = [one for one in recorded if (one["model"], one["text"], one["token"]) == asked]
        if not same:
            raise self.error(f"next-token: nothing of {name} was recorded for {text!r}: build the book with make book")
        section = next_section(same[0], is_live=name in self.env.config.talk_models)
        return [nodes.raw("", section, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive known; the option is that of the talks."""
    app.setup_extension("talk")
    app.add_directive("next-token", NextTokenDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
