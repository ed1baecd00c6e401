"""What nbval runs must be silent on stderr: the book shows what it has confirmed."""

import ast
import os
import subprocess
import sys

import nbformat
import pytest

from tests import quiet_chapters
from tests.course import ROOT
from tests.solutions import as_code, solved


@pytest.mark.parametrize("code", ["import warnings\nwarnings.warn('careful')", "print('all is well')"])
def test_a_warning_in_a_cell_fails_it_though_its_output_is_not_compared(tmp_path, code):
    cell = nbformat.v4.new_code_cell(code, metadata={"tags": ["nbval-ignore-output"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "chapter.ipynb")
    command = ["-m", "pytest", "-p", "tests.quiet_chapters", "-p", "no:cacheprovider", "--nbval", "chapter.ipynb"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == ("warn" in code), done.stdout
    assert ("UserWarning: careful" in done.stdout) == ("warn" in code)


class Item:
    """A cell of a chapter, as pytest has collected it."""

    def __init__(self, path, number):
        self.path, self.number = path, number


def test_chapters_with_the_large_model_come_first(tmp_path):
    items = []
    for name, code in (("1_small", "1"), ("2_large", 'model = "smollm2"'), ("3_small", "3")):
        cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("2")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
        items += [Item(tmp_path / f"{name}.ipynb", number) for number in (0, 1)]
    quiet_chapters.pytest_collection_modifyitems(items)
    found = [(item.path.stem, item.number) for item in items]
    assert found == [(name, number) for name in ("2_large", "1_small", "3_small") for number in (0, 1)]


@pytest.mark.parametrize("path", sorted((ROOT / "chapters").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_exercise_has_a_solution_that_can_be_run(path):
    notebook = nbformat.read(path, as_version=4)
    exercises = [cell.source for cell in notebook.cells if cell.cell_type == "code" and '"not yet"' in cell.source]
    found = list(solved(notebook, path.stem[:2]))
    assert [source for source, _ in found] == exercises
    assert len(exercises) >= 2
    for _, code in found:
        ast.parse(code)


@pytest.mark.parametrize(
    ("exercise", "solution", "code"),
    [
        ("def f(x): ...  # your code", "With `import os`: `return 2 * x`.", "import os\ndef f(x):\n    return 2 * x"),
        ("number = None  # your number", "0.88: half of 1.76.", "number = 0.88"),
        ("number = None  # your number", "`math.log(2)`, a little.", "number = math.log(2)"),
        ("mine = {}  # your arguments", "`mine = {1: 2}`. So.", "mine = {1: 2}"),
        ("def f(x): ...  # your code", "```python\ndef f(x):\n    return x", "def f(x):\n    return x"),
    ],
)
def test_what_a_solution_says_is_read_as_code(exercise, solution, code):
    assert as_code(exercise, solution) == code


@pytest.mark.parametrize(("said", "passes"), [("`return 2 * x`", True), ("`return 3 * x`", False)])
def test_a_solution_is_run_behind_its_exercise(tmp_path, said, passes):
    exercise = 'def twice(x): ...  # your code\n\n\nprint("solved" if twice(4) == 8 else "not yet")'
    output = nbformat.v4.new_output("stream", name="stdout", text="not yet\n")
    cells = [
        nbformat.v4.new_code_cell(exercise, outputs=[output], execution_count=1),
        nbformat.v4.new_markdown_cell(f"<details>\n<summary>Solution</summary>\n\n{said}\n\n</details>"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "chapter.ipynb")
    command = ["-m", "pytest", "-p", "tests.quiet_chapters", "-p", "no:cacheprovider", "--nbval", "chapter.ipynb"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert ("2 passed" if passes else "1 failed, 1 passed") in done.stdout
