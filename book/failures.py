"""What a reader is told about a chapter that failed: on its page, and at the end of the command."""

from __future__ import annotations

import copy
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nbformat

from book.chapters import Chapter, UnreadableError

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LAST_LINES = 12


@dataclass(frozen=True)
class Failure:
    """How a chapter ended: ``cell`` counts code cells from 1, as Jupyter does, and is None outside of any."""

    cell: int | None
    details: str
    headline: str = ""

    @property
    def summary(self) -> str:
        """One line for a terminal: the headline, or else the last of the details."""
        place = "" if self.cell is None else f"code cell {self.cell}: "
        return place + (self.headline or self.details.strip().splitlines()[-1])


def plain(text: str, root: Path) -> str:
    """Take colours and the machine's folders out of a message, and keep its last lines."""
    text = ANSI.sub("", text)
    folders = {str(root): "", sys.prefix: ".venv", sys.base_prefix: "python"}
    folders |= {tempfile.gettempdir(): "(temporary folder)", str(Path.home()): "~"}
    resolved = {str(Path(folder).resolve()): name for folder, name in folders.items()}
    for folder, name in sorted({**resolved, **folders}.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(f"{folder}/", f"{name}/" if name else "")
    return "\n".join(text.strip().splitlines()[-LAST_LINES:])


def warned(notebook: nbformat.NotebookNode, root: Path) -> Failure | None:
    """Find the first cell that wrote to stderr."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        texts = [output.text for output in cell.outputs if output.get("name") == "stderr"]
        if texts and "remove-stderr" not in cell.metadata.get("tags", []):
            headline = "it wrote to stderr, and a warning in a chapter is a mistake in a chapter"
            return Failure(number, f"{plain(''.join(texts), root)}\n({headline})", headline)
    return None


def unreadable(error: UnreadableError, root: Path) -> Failure:
    """Say that a chapter's file is no notebook."""
    return Failure(None, plain(str(error), root))


def blank(chapter: Chapter) -> nbformat.NotebookNode:
    """Return a notebook that is only a title, for a chapter that can't be read."""
    title = nbformat.v4.new_markdown_cell(f"# {chapter.name}")
    notebook: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=[title])
    return notebook


def failed_page(notebook: nbformat.NotebookNode, failure: Failure) -> nbformat.NotebookNode:
    """Return a copy of a notebook with a box under its title; of errors and warnings, only the box speaks."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.output_type != "error" and one.get("name") != "stderr"]
    title, _, rest = notebook.cells[0].source.partition("\n") if notebook.cells else ("", "", "")
    if title.startswith("# ") and notebook.cells[0].cell_type == "markdown":
        notebook.cells[0].source = f"{title}\n\n{box(failure)}\n{rest}"
    else:
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(box(failure)))
    return notebook


def box(failure: Failure) -> str:
    """Write the box: where it failed, and the last lines of the error."""
    where = "" if failure.cell is None else f" in code cell {failure.cell}"
    fence = "`" * (3 + max(map(len, re.findall(r"`{3,}", failure.details)), default=0))
    outputs = "What the cells before it printed is below." if failure.cell else "None of its cells has an output."
    return (
        f"::::::{{error}}\nWhen this book was built, the chapter failed{where}. {outputs}\n\n"
        f"{fence}text\n{failure.details}\n{fence}\n::::::\n"
    )
