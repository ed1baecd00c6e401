"""Notebooks: cells with IPython's magics as one Python program, and edited cells back into their file."""

from __future__ import annotations

import json
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftlib.errors import DataError
from ftlib.upgrade.syntax import CELL_MARK, parse

_MAGIC = "__ftlib_magic_"
# Cell magics whose cell is Python all the same; what follows any other is left alone.
_PYTHON_CELLS = ("time", "timeit", "capture", "prun", "memit", "mprun", "wandb", "debug")
_ASSIGNED = re.compile(r"(\s*[\w.,\s\[\]'\"]+=\s*)([!%]\S.*)", re.DOTALL)
_HELP = re.compile(r"\s*(\?{1,2}\s*[\w.%*]+|[%\w.*]+(\[[^\]]*\])?\?{1,2})\s*;?\s*")


@dataclass(frozen=True)
class Cell:
    """A code cell.

    Attributes:
        number: 1 for the first cell of the notebook, of whatever kind.
        source: Its text.
        start: Where the JSON of its source begins in the file.
        end: Where it ends.
    """

    number: int
    source: str
    start: int
    end: int


def read_cells(text: str) -> list[Cell]:
    """The code cells of a notebook's text.

    Raises:
        DataError: It is no notebook of format 4, or not one of Python.

    >>> read_cells('{"cells": [{"cell_type": "code", "source": ["x = 1"]}]}')[0].source
    'x = 1'
    """
    try:
        read = json.loads(text)
    except ValueError as error:
        raise DataError(f"it is no notebook: {error}") from error
    found = read.get("cells") if isinstance(read, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DataError("it has no list of cells: open it in Jupyter and save it, which brings it to format 4")
    top = {name: (start, end) for name, start, end in _members(text, 0)}
    metadata = json.loads(text[slice(*top["metadata"])]) if "metadata" in top else {}
    told = metadata.get("language_info") if isinstance(metadata, dict) else None
    language = str(told.get("name", "python") if isinstance(told, dict) else "python").lower()
    if "python" not in language:
        raise DataError(f"its language is {language}, and only Python can be read")
    cells = []
    for number, (start, _) in enumerate(_elements(text, top["cells"][0]), start=1):
        parts = {name: (begin, end) for name, begin, end in _members(text, start)}
        kind = json.loads(text[slice(*parts["cell_type"])]) if "cell_type" in parts else None
        if "source" in parts and kind == "code":
            source = json.loads(text[slice(*parts["source"])])
            if not isinstance(source, str | list) or not all(isinstance(line, str) for line in source):
                raise DataError(f"it is no notebook: the source of cell {number} is no text")
            if any("\ud800" <= sign <= "\udfff" for line in source for sign in line):
                raise DataError(f"cell {number} holds half of a surrogate pair: write the whole character")
            cells.append(Cell(number, source if isinstance(source, str) else "".join(source), *parts["source"]))
    return cells


def write_cells(text: str, cells: Sequence[Cell], changed: Mapping[int, str]) -> str:
    """Put changed sources into a notebook's text; nothing else of it differs.

    Args:
        text: The notebook.
        cells: Its code cells.
        changed: Number of a cell -> its new source.
    """
    for cell in reversed(cells):
        if cell.number in changed:
            new = _as_json(text[cell.start : cell.end], changed[cell.number], text)
            text = text[: cell.start] + new + text[cell.end :]
    return text


def mask(source: str) -> tuple[str, list[str]]:
    r"""Hide IPython's own syntax from a parser, line by line.

    Returns:
        The source with a name in the place of each magic, and what was there; see :func:`unmask`.

    >>> mask("!ls\nx = 1")
    ('__ftlib_magic_0__\nx = 1', ['!ls'])
    """
    if _parses(source):
        return source, []
    hidden: list[str] = []
    lines = source.split("\n")
    continued = False
    for at, line in enumerate(lines):
        before, magic = _magic_in(line, continued=continued)
        if magic and (continued or not _is_open(lines[:at])):
            lines[at] = f"{before}{'# ' if continued else ''}{_MAGIC}{len(hidden)}__"
            hidden.append(magic)
            continued = magic.rstrip().endswith("\\")
        else:
            continued = False
    return "\n".join(lines), hidden


def unmask(source: str, hidden: Sequence[str]) -> str:
    r"""Bring back what :func:`mask` hid.

    >>> unmask(*mask("!ls\nx = 1"))
    '!ls\nx = 1'
    """
    pattern = rf"(?:# )?{_MAGIC}(\d+)__"
    return re.sub(pattern, lambda found: hidden[int(found[1])], source)


def shell_lines(source: str) -> list[tuple[int, str]]:
    r"""The lines of a cell that a shell reads, with their numbers.

    >>> shell_lines("x = 1\n!ls \\\n  -l"), shell_lines("%%bash\nls")
    ([(2, '!ls \\'), (3, '-l')], [(2, 'ls')])
    """
    if not is_python(source):
        shell = re.search(r"^\s*%%(bash|sh|shell|script|cmd|system|sx)\b", source, flags=re.MULTILINE)
        lines = [*enumerate(source.split("\n"), start=1)] if shell is not None else []
        return [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith(("%%", "#"))]
    masked, hidden = mask(source)
    found = [(at, re.search(rf"{_MAGIC}(\d+)__", line)) for at, line in enumerate(masked.split("\n"), start=1)]
    return [(at, hidden[int(number[1])]) for at, number in found if number is not None]


def join(cells: Sequence[tuple[int, str]]) -> str:
    """One program of several cells, so that what one imports is known in the next."""
    return "".join(f"{CELL_MARK}{number}__\n{source}\n" for number, source in cells)


def split(program: str) -> dict[int, str]:
    """The cells of a program that :func:`join` made.

    >>> split(join([(1, "x = 1"), (3, "y = 2")]))
    {1: 'x = 1', 3: 'y = 2'}
    """
    parts = re.split(rf"^{CELL_MARK}(\d+)__\n", program, flags=re.MULTILINE)
    return {int(number): source.removesuffix("\n") for number, source in zip(parts[1::2], parts[2::2], strict=True)}


def is_python(source: str) -> bool:
    r"""Is a cell Python, magics aside? A cell magic such as ``%%bash`` hands it to something else.

    Comments may stand above the cell magic (``#@title`` in Colab), and one cell magic above another.

    >>> is_python("#@title Install\n%%capture\nx = 1"), is_python("#@title Install\n%%bash\nls")
    (True, False)
    """
    for line in source.split("\n"):
        found = re.match(r"\s*%%(\w+)", line)
        if found is None and line.strip() and not line.lstrip().startswith("#"):
            return True
        if found is not None and found[1] not in _PYTHON_CELLS:
            return False
    return True


def _parses(source: str) -> bool:
    try:
        parse(source)
    except SyntaxError:
        return False
    return True


def _is_open(lines: Sequence[str]) -> bool:
    # Do these lines end within brackets or a string, so that the next one begins nothing of its own?
    try:
        for _ in tokenize.generate_tokens(iter([f"{line}\n" for line in lines]).__next__):
            pass
    except tokenize.TokenError as error:
        return any(words in str(error) for words in ("multi-line", "triple-quoted"))
    except SyntaxError:
        return False
    return False


def _magic_in(line: str, *, continued: bool) -> tuple[str, str]:
    # What stands in front of a magic, and the magic; nothing where the line has none.
    bare = line.lstrip()
    if bare.startswith(("!", "%")) or _HELP.fullmatch(line) or (continued and bare):
        return line[: len(line) - len(bare)], bare
    assigned = _ASSIGNED.fullmatch(line)
    return (assigned[1], assigned[2]) if assigned else ("", "")


def _members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    # Name, begin and end of each value of the JSON object that begins at start.
    at = _skip(text, _skip(text, start) + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        begin = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, begin)
        yield name, begin, end
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _elements(text: str, start: int) -> Iterator[tuple[int, int]]:
    at = _skip(text, start + 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        yield at, end
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


_DECODER = json.JSONDecoder()


def _skip(text: str, at: int) -> int:
    found = re.compile(r"\s*").match(text, at)
    return found.end() if found else at


def _as_json(old: str, source: str, notebook: str) -> str:
    # A string stays a string, a list of lines keeps its line breaks and indentation.
    ascii_only = notebook.isascii() and "\\u" in notebook
    if old.startswith('"'):
        return json.dumps(source, ensure_ascii=ascii_only)
    lines = [json.dumps(line, ensure_ascii=ascii_only) for line in source.splitlines(keepends=True)]
    items: list[Any] = [*_elements(old, 0)]
    opening, closing = old[1 : items[0][0]], old[items[-1][1] : -1]
    between = old[items[0][1] : items[1][0]] if len(items) > 1 else f",{opening or ' '}"
    return f"[{opening}{between.join(lines)}{closing}]"
