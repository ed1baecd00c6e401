"""Instruction files in, conversations out.

Whatever a file looks like, everything behind this module sees one shape: a Hugging Face ``Dataset``
with one column, ``messages``, each a list of ``{"role", "content"}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import jsonlines

from datasets import Dataset
from ftlib.errors import DataError


class Message(TypedDict):
    """One turn: who speaks (``"system"``, ``"user"`` or ``"assistant"``) and what is said."""

    role: str
    content: str


def shipped_datasets() -> Path:
    """Return the folder of the course's own data: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "shipped" / "datasets"
    return installed if installed.is_dir() else package.parent / "datasets"


def dataset_path(path_or_name: str | Path, *, split: str | None = None) -> Path:
    """Find a data file: a path of yours, or the name of a shipped data set such as ``"faq"``.

    Args:
        path_or_name: A file, or a folder below the course's ``datasets/``.
        split: ``"train"`` or ``"test"`` of a shipped data set (default ``"train"``).

    Raises:
        DataError: There is no such file and no such data set.
    """
    path = Path(path_or_name).expanduser()
    if path.is_file() and split is None:
        return path
    folder = shipped_datasets() / str(path_or_name)
    if path.parent == Path() and folder.is_dir():
        chosen = folder / f"{split or 'train'}.jsonl"
        if chosen.is_file():
            return chosen
        splits = ", ".join(sorted(file.stem for file in folder.glob("*.jsonl")))
        raise DataError(f"data set {str(path_or_name)!r} has no split {split!r}: it has {splits}")
    if path.is_file():
        raise DataError(f"{path}: a single file has no split {split!r}: leave split out")
    names = ", ".join(sorted(entry.name for entry in shipped_datasets().iterdir() if entry.is_dir()))
    raise DataError(f"{path_or_name}: no such file, and no shipped data set of that name (shipped: {names})")


def read_rows(path_or_name: str | Path, *, split: str | None = None) -> list[dict[str, Any]]:
    """Read a JSON Lines file of question-answer rows, and check every line.

    Args:
        path_or_name: A file, or the name of a shipped data set.
        split: Split of a shipped data set.

    Returns:
        The rows as they stand in the file, further columns included.

    Raises:
        DataError: The file is missing, unreadable or empty, or a line is no JSON object with text
            under ``question`` and ``answer``. The message names file, line and field.

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    path = dataset_path(path_or_name, split=split)
    rows = []
    for number, row in _numbered_objects(path):
        for field in ("question", "answer"):
            _check_field(row, field, f"{path}, line {number}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: the file holds no rows; expected one JSON object a line")
    return rows


def to_conversations(rows: Iterable[dict[str, Any]]) -> Dataset:
    """Turn question-answer rows into conversations of two messages.

    >>> ds = to_conversations([{"question": "Why?", "answer": "Because."}])
    >>> ds[0]["messages"][1]
    {'role': 'assistant', 'content': 'Because.'}
    """
    return Dataset.from_list(
        [
            {
                "messages": [
                    Message(role="user", content=row["question"]),
                    Message(role="assistant", content=row["answer"]),
                ]
            }
            for row in rows
        ]
    )


def load_conversations(path_or_name: str | Path, *, split: str | None = None) -> Dataset:
    """Read an instruction file as conversations.

    Args:
        path_or_name: A JSON Lines file with ``question`` and ``answer`` on each line, or the name of a
            shipped data set (``"faq"``).
        split: ``"train"`` or ``"test"`` of a shipped data set.

    Returns:
        A ``Dataset`` with one column, ``messages``.

    Raises:
        DataError: As :func:`read_rows`.

    >>> load_conversations("faq", split="test")[0]["messages"][0]["role"]
    'user'

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    return to_conversations(read_rows(path_or_name, split=split))


def _numbered_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open("rb") as raw:
            for number, line in enumerate(raw, start=1):
                if line.strip():
                    yield number, _parse_object(line, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}): check the path and its permissions") from error


def _parse_object(line: bytes, place: str) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig")
        row = jsonlines.Reader([text]).read()
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 text (byte {error.start}): save the file as UTF-8") from error
    except jsonlines.InvalidLineError as error:
        shown = text.strip()[:60]
        raise DataError(
            f"{place}: not JSON: {shown!r}; expected one object such as "
            '{"question": "...", "answer": "..."} on each line'
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object, found {type(row).__name__}")
    return row


def _check_field(row: dict[str, Any], field: str, place: str) -> None:
    if field not in row:
        raise DataError(f"{place}: no field {field!r}; found {', '.join(map(repr, row)) or 'none'}: add or rename it")
    value = row[field]
    if not isinstance(value, str):
        raise DataError(f"{place}: {field!r} must be text, found {type(value).__name__}")
    if not value.strip():
        raise DataError(f"{place}: {field!r} is empty: write the text or delete the row")
