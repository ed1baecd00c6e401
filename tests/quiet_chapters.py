"""A plugin for nbval: a cell that writes to stderr fails, also where its output is not compared.

The book is built from what nbval has confirmed, and a warning in a chapter is a mistake in a chapter. The chapters with
the large model come first: they take the longest, and would else be waited for at the end, beside an idle core. Behind
each exercise, which says "not yet", its solution is run and has to pass.
"""

from collections import defaultdict

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from tests.solutions import solved
from tests.waiting import HUNG_SECONDS

# nbval gives up on a cell's last outputs after five seconds, which a slow machine may take.
IPyNbFile.output_timeout = property(lambda _: HUNG_SECONDS, lambda *_: None)
LARGE = r"\"smollm2\""  # in the settings of a chapter that loads it


def pytest_collection_modifyitems(items):
    """Put chapters with the large model in front, and each solution behind its exercise."""
    large = {path: LARGE in path.read_text(encoding="utf-8") for path in {item.path for item in items}}
    items.sort(key=lambda item: not large[item.path])
    items[:] = [one for item in items for one in (item, *solution_of(item))]


def solution_of(item):
    """Return the cell that solves an exercise, in a list; an empty one for any other cell."""
    if not isinstance(item, IPyNbCell) or "not yet" not in item.cell.source:
        return []
    codes = [code for source, code in solved(item.parent.nb, item.path.stem[:2]) if source == item.cell.source]
    how = {"cell_num": item.cell_num, "options": defaultdict(bool, check=False)}
    return [
        IPyNbCell.from_parent(
            item.parent, name=f"Solution {item.cell_num}", cell=nbformat.v4.new_code_cell(code), **how
        )
        for code in codes
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Run a cell, and look at what it wrote."""
    result = yield
    outputs = (item.test_outputs or []) if isinstance(item, IPyNbCell) else []
    said = "".join(output.text for output in outputs if output.get("name") == "stderr")
    if said:
        pytest.fail(f"the cell wrote to stderr:\n{said}", pytrace=False)
    return result
