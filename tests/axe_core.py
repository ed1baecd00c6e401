"""axe-core looks at a page for what some readers can't read or reach."""

import importlib.util
import os
from pathlib import Path

import pytest

_PACKAGE = "axe_playwright_python"
# Two texts have the same colours if they, and all that they stand in, are alike; every other row of a table differs.
# Whatever is looked at in a page of ten thousand words of code, it is the contrast that takes the time.
_LOOK = """async (coloursAlone) => {
  const kinds = new Map([[document.documentElement, ""]]);
  const kind = (one) => {
    if (!kinds.has(one)) {
      const striped = one.tagName === "TR" && one.rowIndex % 2;
      kinds.set(one, [one.tagName, one.className, one.getAttribute("style"), striped, kind(one.parentElement)].join());
    }
    return kinds.get(one);
  };
  const firsts = new Map();
  for (const one of document.body.querySelectorAll("*")) {
    if ([...one.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim())) {
      if (!firsts.has(kind(one)) && one.checkVisibility({visibilityProperty: true})) firsts.set(kind(one), one);
    }
  }
  const how = {resultTypes: ["violations"], preload: false};
  const others = {...how, rules: {"color-contrast": {enabled: false}}};
  const all = coloursAlone ? [] : (await axe.run(others)).violations;
  const texts = {include: [...firsts.values()]};
  const colours = await axe.run(texts, {...how, runOnly: {type: "rule", values: ["color-contrast"]}});
  return [...all, ...colours.violations];
}"""


def script():
    """Return axe-core's program. Its package isn't imported: that reads the file in the system's encoding."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None:
        reason = "axe-core isn't installed: make setup, or pip install axe-playwright-python"
        pytest.fail(reason) if os.environ.get("FTLIB_NEEDS_BROWSER") else pytest.skip(reason)
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def violations(page, *, colours_alone=False):
    """Return what axe-core finds wrong on a page, by its own rules: a list of dictionaries, none if all is well.

    Of texts that have the same colours it looks at the contrast of the first. With ``colours_alone`` at nothing else.
    """
    page.evaluate(script())
    return page.evaluate(_LOOK, colours_alone)
