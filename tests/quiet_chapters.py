"""A plugin for nbval: a cell that writes to stderr fails, also where its output is not compared.

The book is built from what nbval has confirmed, and a warning in a chapter is a mistake in a chapter.
"""

import pytest
from nbval.plugin import IPyNbCell


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Run a cell, and look at what it wrote."""
    result = yield
    outputs = (item.test_outputs or []) if isinstance(item, IPyNbCell) else []
    said = "".join(output.text for output in outputs if output.get("name") == "stderr")
    if said:
        pytest.fail(f"the cell wrote to stderr:\n{said}", pytrace=False)
    return result
