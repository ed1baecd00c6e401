"""Let a page load what it uses, and nothing else.

Jupyter Book's extensions add their scripts to every page. Of those this book never uses thebe (code that a server would
run), and few pages have cells, tabs or code to copy. Figures are drawn for dense screens; a palette makes them a third
as heavy, and no eye sees it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from docutils import nodes
from PIL.Image import Dither, Quantize
from PIL.Image import open as read_image
from sphinx.application import Sphinx

_THEBE = ("thebe", "kernelName")
_USED_BY = {  # what a page must have for a file to be of use to it
    "sphinx-design": "sd-",
    "design-tabs": "sd-",
    "mystnb": "cell_",
    "togglebutton": "dropdown",
    "copybutton": "highlight",
    "clipboard": "highlight",
    "quiz.js": 'class="quiz',
    "talk.css": 'class="talk"',
    "lm/widgets.js": 'class="talk"',
    "lm/talk.js": "data-tokens=",
    "next_token.js": "data-recorded=",
}
_LAST = 900  # after the extensions that add what is taken away here


def drop_thebe(app: Sphinx, page: nodes.document, name: str) -> None:
    """Take thebe's settings out of the text of a page."""
    for raw in [one for one in page.findall(nodes.raw) if one.astext().lstrip().startswith("<script")]:
        if any(mark in raw.astext() for mark in _THEBE):
            raw.parent.remove(raw)


def keep_what_is_used(app: Sphinx, name: str, template: str, context: dict[str, Any], page: nodes.document) -> None:
    """Drop style sheets and scripts that a page has no use for, and those that it would load twice."""
    body = context.get("body", "")
    unused = [*_THEBE, *(file for file, mark in _USED_BY.items() if mark not in body)]
    for kind in ("css_files", "script_files"):
        told = {_told(one): one for one in context[kind]}
        context[kind][:] = [one for text, one in told.items() if not any(mark in text for mark in unused)]


def _told(asset: Any) -> str:
    """All that an asset is: its file, or the text of a script."""
    return f"{asset.filename} {asset.attributes.get('body', '')}"


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Write the figures with a palette of 256 colours, where that is smaller."""
    for path in () if error else sorted(Path(app.outdir, "_images").glob("*.png")):
        drawn, light = read_image(path).convert("RGB"), io.BytesIO()
        few_colours = drawn.quantize(256, method=Quantize.MEDIANCUT, dither=Dither.NONE)
        few_colours.save(light, "PNG", optimize=True)
        if light.tell() < path.stat().st_size:
            path.write_bytes(light.getvalue())


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at each page when all other extensions have, and at the figures when all are there."""
    app.connect("doctree-resolved", drop_thebe, priority=_LAST)
    app.connect("html-page-context", keep_what_is_used, priority=_LAST)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
