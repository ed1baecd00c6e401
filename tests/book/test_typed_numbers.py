"""No number that a run gave is typed into the text: the next run may give another one.

Outputs that may differ from machine to machine carry the tag ``nbval-ignore-output``. A number of the prose that stands
in such an output, and neither in code nor in an output that is compared, was read off and typed.
"""

import re

import nbformat
import pytest

from tests.course import ROOT

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
NUMBER = re.compile(r"(?<![\w.,-])\d[\d,]*\.?\d*")
NOT_PROSE = re.compile(r"\]\([^)]*\)|\{[\w:]+\}`[^`]*`|```.*?```", re.DOTALL)
# What was not read off, though an output says it too: sizes of data sets, logarithms, versions, examples.
KNOWN = {
    "01": {"422": "rows of the data set", "100": "hand labels"},
    "03": {"4096": "nano's vocabulary", "8.32": "its logarithm"},
    "08": {"10.83": "the logarithm of 50,304", "5.0": "a version", "4.41": "a version"},
    "11": {"500": "the Trainer's default"},
    "12": {"0.18": "an example in the quiz", "0.20": "and its other half"},
    "13": {"140": "questions, as many as in the tutorial that is named"},
    "14": {"0.693": "ln 2"},
    "16": {"141": "bytes of a card"},
}


def numbers(text):
    return {found.rstrip(".,") for found in NUMBER.findall(text)}


def shown(cell):
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return numbers("\n".join(map(str, texts)))


def typed(notebook):
    """Return the numbers of more than two digits, or with decimals, that prose shares with loose outputs only."""
    loose, firm = set(), set()
    for cell in notebook.cells:
        if cell.cell_type == "code" and "This run took" not in cell.source:  # which the strip tells beforehand
            (loose if "nbval-ignore-output" in cell.metadata.get("tags", []) else firm).update(shown(cell))
            firm |= numbers(cell.source)
    prose = [NOT_PROSE.sub("", cell.source) for cell in notebook.cells if cell.cell_type == "markdown"]
    said = set().union(*map(numbers, prose))
    return {number for number in (said & loose) - firm if "." in number or len(number) > 2}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_number_of_a_run_is_typed(path):
    assert typed(nbformat.read(path, as_version=4)) - set(KNOWN.get(path.stem[:2], {})) == set()


def test_a_typed_number_is_found():
    new = nbformat.v4
    trained = new.new_code_cell("print(loss)", outputs=[new.new_output("stream", text="loss 2.731, 40 steps\n")])
    trained.metadata["tags"] = ["nbval-ignore-output"]
    firm = new.new_code_cell("print(len(rows))", outputs=[new.new_output("stream", text="1,260\n")])
    prose = new.new_markdown_cell("The loss ends at 2.731, after 40 steps on 1,260 rows ([2.731](a.md#2.731)).")
    assert typed(new.new_notebook(cells=[trained, firm, prose])) == {"2.731"}
    prose.source = "The loss ends lower on 1,260 rows; see [the log](a.md#2.731)."
    assert typed(new.new_notebook(cells=[trained, firm, prose])) == set()
