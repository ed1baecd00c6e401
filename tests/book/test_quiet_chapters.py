"""What nbval runs must be silent on stderr: the book shows what it has confirmed."""

import os
import subprocess
import sys

import nbformat
import pytest

from tests.course import ROOT


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
