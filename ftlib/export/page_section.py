"""The part of a page in which a model is asked: HTML that is read as it stands, and that ``lm/talk.js`` takes over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

ANSWER_COLUMNS = ("base", "tuned")
"""What the two answers to a question are called where a page has two."""
NOTE = "Recorded when this page was made"


def questions_in(lines: Iterable[str]) -> list[str]:
    r"""Return the questions that a page's source lists: one a line, and a line that ends with a backslash goes on.

    >>> questions_in(["Why?", "", "Where is my parcel?\\", "Ana"])
    ['Why?', 'Where is my parcel?\nAna']
    """
    text = "\n".join(line.strip() for line in lines)
    whole = text.replace("\\\n", "\0").splitlines()
    return [line.replace("\0", "\n") for line in whole if line]


def talk_section(
    name: str, about: Mapping[str, Any] | None, tokens: int, recorded: Iterable[tuple[str, Sequence[str]]]
) -> str:
    """Return the section in which a reader asks a model.

    Args:
        name: Of the model, as readers are told it.
        about: What :func:`ftlib.export.page_model.publish` returned; None where the model may not be loaded.
        tokens: The most that an answer has.
        recorded: Each question with its recorded answers: one, or those of base and tuned.

    Returns:
        HTML; whatever the model or anybody wrote is text in it.

    >>> "<b>" in talk_section("nano", None, 9, [("<b>Why?</b>", ["So."])])
    False
    """
    live = "" if about is None else f' data-about="{escape(json.dumps(about))}" data-tokens="{tokens}"'
    rows = "".join(_row(question, answers) for question, answers in recorded)
    note = f'<p class="talk-note">{NOTE}</p>' if rows else ""
    title = f'<p class="talk-title">Ask {escape(name)}</p>{note}'
    return f'<section class="talk" aria-label="Ask {escape(name)}"{live}>{title}<dl>{rows}</dl></section>'


def _row(question: str, answers: Sequence[str]) -> str:
    if len(answers) == 1:
        return f"<div><dt>{escape(question)}</dt>{_said(answers[0])}</div>"
    columns = (f'<p class="talk-column">{column}</p>' for column in ANSWER_COLUMNS)
    said = "".join(_said(answer, column) for answer, column in zip(answers, columns, strict=True))
    return f'<div class="talk-pair"><dt>{escape(question)}</dt>{said}</div>'


def _said(answer: str, column: str = "") -> str:
    return f'<dd>{column}<pre class="talk-text">{escape(answer)}</pre></dd>'
