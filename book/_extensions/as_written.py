"""Show on the API page what is written in the source.

Of defaults: Sphinx's ``autodoc_preserve_defaults`` shows those of functions as they are written. The ``__init__`` of a
dataclass, a named tuple or a model of pydantic is generated, so it has no source that Sphinx could read: the page would
show values, as they are on the machine that builds it. Here they come from the body of the class.

Of sentences: napoleon takes what stands in front of a colon in an attribute's docstring for its type. Types are
annotated here, and a colon is a colon.

Of chapters: "Taught in:" names a notebook's file, and here it becomes a link.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature

_CHAPTER = re.compile(r"Taught in: (chapters/\w+)\.ipynb")
_FIELD_MAKERS = {"field", "Field"}
_GENERATED = ("__dataclass_fields__", "model_fields", "_field_defaults")  # classes whose __init__ Python wrote


class Written:
    """A default that is shown as its source text."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self.text = text

    def __repr__(self) -> str:
        return self.text


def written_defaults(owner: type) -> dict[str, str]:
    """Return the source text of the defaults of a class's fields, inherited ones included.

    >>> from ftlib.training.config import FinetuneConfig
    >>> written_defaults(FinetuneConfig)["train"]
    'TrainSection()'
    """
    texts: dict[str, str] = {}
    for one in reversed(owner.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(one))
        except (OSError, TypeError):
            continue  # a built-in class
        (written,) = ast.parse(source).body
        for line in written.body if isinstance(written, ast.ClassDef) else []:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
                default = _default(line.value)
                texts[line.target.id] = ast.get_source_segment(source, default) or ast.unparse(default)
    return texts


def _default(value: ast.expr) -> ast.expr:
    """Return what is written for a default: of ``field(default_factory=list)`` it is ``list()``."""
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _FIELD_MAKERS):
        return value
    named = {keyword.arg: keyword.value for keyword in value.keywords}
    if "default_factory" in named:
        return ast.Call(named["default_factory"], args=[], keywords=[])
    return named["default"] if "default" in named else next(iter(value.args), value)


def keep_written_defaults(
    app: Sphinx, what: str, name: str, owner: Any, options: Any, shown: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Replace each default in the signature of a class whose fields have one."""
    if what != "class" or not any(hasattr(owner, mark) for mark in _GENERATED):
        return None
    texts = written_defaults(owner)
    known = getattr(owner, "__signature__", None) or signature(owner)  # as Sphinx does: the first keeps what is allowed
    parameters = [
        one.replace(default=Written(texts[one.name])) if one.default is not one.empty and one.name in texts else one
        for one in known.parameters.values()
    ]
    written = known.replace(parameters=parameters)
    return stringify_signature(written, show_return_annotation=False, unqualified_typehints=True), returns


def keep_first_sentence(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Put an empty comment in front of an attribute's docstring, where napoleon looks for a type."""
    if what in {"attribute", "data", "property"} and lines:
        lines[:0] = ["..", ""]


def link_chapters(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make the line that names the chapter in which something is taught a link to that chapter."""
    lines[:] = [_CHAPTER.sub(r"Taught in: :doc:`/\1`", line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Let Sphinx ask here about each signature, and about each docstring before napoleon does."""
    app.connect("autodoc-process-signature", keep_written_defaults)
    app.connect("autodoc-process-docstring", keep_first_sentence, priority=400)
    app.connect("autodoc-process-docstring", link_chapters, priority=400)
    return {"parallel_read_safe": True}
