"""One entry of the troubleshooting page: what is seen, why, and what helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Literal


@dataclass(frozen=True)
class Trouble:
    """A message, its cause and its cure; both pieces of code are run by a test.

    Code finds ``model``, ``tokenizer``, ``conversations`` and ``rows`` (those conversations, tokenised), stands in an
    empty folder, and puts into ``stack`` what has to be closed in the end; ``serve(stack, refuse)`` starts what takes
    the place of OpenAI.

    Attributes:
        title: Heading: the words of the message that a reader would search for.
        message: The whole message with its class in front; ``...`` stands for what differs from case to case.
        cause: Why it is said.
        cure: What to do.
        provoke: Python that makes the libraries say it.
        fix: What the page shows behind the cure.
        language: How the fix is tried. ``"python"``: it is run behind ``provoke``, with the same names. ``"json"`` and
            ``"yaml"``: it becomes the content of the only one of ``files``, and ``provoke`` is run again.
            ``"bash"``: its commands are run.
        holds: An expression that is true once the fix has run.
        files: Name and content of files that are there from the start.
        needs: ``"cuda"`` where only a graphics card can say it.
    """

    title: str
    message: str
    cause: str
    cure: str
    provoke: str
    fix: str
    language: Literal["python", "json", "yaml", "bash"] = "python"
    holds: str = "True"
    files: Mapping[str, str] = field(default_factory=dict)
    needs: Literal["", "cuda"] = ""

    @property
    def shown_fix(self) -> str:
        """The fix as it stands on the page."""
        return dedent(self.fix).strip("\n")
