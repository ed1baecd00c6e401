"""Draw formulas while the book is built, so that a page needs neither a script nor a font to show them.

ziamath sets LaTeX in the font STIX Two Math, as SVG. What it can't read is a warning of the build, with its place. The
text of a formula stays with its picture, for those who have a page read to them.
"""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importlib.resources.path, which Python 3.13 has taken back
    from ziamath.config import config
    from ziamath.zmath import Latex

_UNITS = 100  # of a drawing, to one em
_SCALE = 1.06  # its letters are smaller than those of the text around it
_log = logging.getLogger(__name__)


def drawn(latex: str, *, inline: bool) -> str:
    """Return a formula as SVG that takes the size and the colour of its text.

    Raises:
        Exception: Of many kinds; ziamath can't read it.

    >>> drawn("x = 2", inline=True)[:57]
    '<svg role="img" aria-label="x = 2" style="width: 2.66em; '
    """
    config.svg2 = False  # no symbols with ids: two formulas may stand on one page
    formula = Latex(latex, size=_UNITS, color="currentColor", inline=inline)
    drawing = formula.svgxml()
    lengths = {name: float(drawing.attrib.pop(name)) for name in ("width", "height")}
    lengths["vertical-align"] = formula.getyofst()
    style = "; ".join(f"{name}: {length / _UNITS * _SCALE:.2f}em" for name, length in lengths.items())
    attributes = {"role": "img", "aria-label": latex, "style": style}
    drawing.attrib = {**attributes, **drawing.attrib}
    return ET.tostring(drawing, encoding="unicode")


def _draw(page: HTML5Translator, node: nodes.math | nodes.math_block, *, inline: bool) -> str:
    latex = node.astext().strip()
    if r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        return drawn(latex, inline=inline)
    except Exception as error:
        _log.warning("ziamath can't draw the formula %r: %r", latex, error, location=node)
        return str(page.encode(latex))


def write_inline(page: HTML5Translator, node: nodes.math) -> None:
    """Write a formula that stands in a line of text."""
    page.body.append(page.starttag(node, "span", "", CLASS="math"))
    page.body.append(_draw(page, node, inline=True) + "</span>")
    raise nodes.SkipNode


def write_display(page: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula that stands alone, and its number."""
    page.body.append(page.starttag(node, "div", CLASS="math"))
    page.body.append(_draw(page, node, inline=False))
    if node["number"]:
        page.body.append(f'<span class="eqno">({node["number"]})')
        page.add_permalink_ref(node, "Link to this equation")
        page.body.append("</span>")
    page.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Offer the renderer, which ``html_math_renderer`` chooses."""
    app.add_html_math_renderer("ziamath", (write_inline, None), (write_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
