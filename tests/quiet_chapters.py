"""A plugin for nbval: a cell that writes to stderr fails, also where its output is not compared.

The book is built from what nbval has confirmed, and a warning in a chapter is a mistake in a chapter. The chapters with
the large model come first: they take the longest, and would else be waited for at the end, beside an idle core.
"""

import pytest
from nbval.plugin import IPyNbCell

LARGE = r"\"smollm2\""  # in the settings of a chapter that loads it


def pytest_collection_modifyitems(items):
    """Put chapters with the large model in front; the order within a chapter stays."""
    large = {path: LARGE in path.read_text(encoding="utf-8") for path in {item.path for item in items}}
    items.sort(key=lambda item: not large[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Run a cell, and look at what it wrote."""
    result = yield
    outputs = (item.test_outputs or []) if isinstance(item, IPyNbCell) else []
    said = "".join(output.text for output in outputs if output.get("name") == "stderr")
    if said:
        pytest.fail(f"the cell wrote to stderr:\n{said}", pytrace=False)
    return result
