"""axe-core looks at a page for what some readers can't read or reach."""

import importlib.util
import os
from pathlib import Path

import pytest

_PACKAGE = "axe_playwright_python"


def script():
    """Return axe-core's program. Its package isn't imported: that reads the file in the system's encoding."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None:
        reason = "axe-core isn't installed: make setup, or pip install axe-playwright-python"
        pytest.fail(reason) if os.environ.get("FTLIB_NEEDS_BROWSER") else pytest.skip(reason)
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def violations(page):
    """Return what axe-core finds wrong on a page, by its own rules: a list of dictionaries, none if all is well."""
    page.evaluate(script())
    return page.evaluate("axe.run({resultTypes: ['violations'], preload: false}).then((found) => found.violations)")
