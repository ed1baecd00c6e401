"""The text of the pages that were staged: of Markdown files, and of the Markdown cells of chapters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from book.chapters import chapters_of, read_notebook


def markdown_of(stage: Path) -> Iterator[str]:
    """Give the Markdown of each staged page.

    Args:
        stage: The folder with the sources of the pages. Of its notebooks only those are read that are chapters.
    """
    for path in sorted((stage / "book").rglob("*.md")):
        if path.is_file():
            yield path.read_text(encoding="utf-8")
    for chapter in chapters_of(stage) if (stage / "_toc.yml").is_file() else []:
        cells = read_notebook(chapter.path)["cells"]
        yield "\n\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
