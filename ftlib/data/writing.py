"""Conversations out again, into a file: all of them, or nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import jsonlines

from ftlib.argument_checks import checked
from ftlib.data.formats import FORMATS
from ftlib.data.message_checks import conversation_rows
from ftlib.data.messages import Message, RowError, clean_message
from ftlib.errors import DataError
from ftlib.files import check_target, whole_file
from ftlib.nearest import one_of


@checked(conversations=conversation_rows)
def save_conversations(conversations: Iterable[Mapping[str, Any]], path: str | Path, *, format: str = "openai") -> int:
    """Write conversations to a file: all of them, or nothing.

    Args:
        conversations: Rows with ``messages``: a ``Dataset``, a streamed one, or a list.
        path: ``.jsonl`` (one row a line) or ``.json`` (a list), with ``.gz`` behind it to pack it.
        format: ``"openai"``, ``"sharegpt"``, ``"alpaca"``, ``"question-answer"`` or ``"prompt-completion"``.

    Returns:
        The number of rows written.

    Raises:
        DataError: A conversation holds something that the format can't carry, or the file can't be written.
    """
    writers = {one.name: one.write for one in FORMATS.values() if one.write}
    write = writers.get(format)
    if write is None:
        raise DataError(f"can't write the format {format!r}; {one_of(format, writers)}")
    path = check_target(path)
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in (".jsonl", ".json"):
        raise DataError(f"{path}: expected a name that ends with .jsonl or .json (or .gz behind it)")
    try:
        with whole_file(path) as unfinished, _writable(unfinished, packed=path.name.endswith(".gz")) as file:
            return _write_rows(file, _written(conversations, write), as_list=suffix == ".json")
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror}): check folder and permissions") from error


def _written(
    conversations: Iterable[Mapping[str, Any]], write: Callable[[list[Message]], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(conversations):
        try:
            yield write([clean_message(message) for message in row["messages"]])
        except RowError as error:
            raise DataError(f"conversation {number}: {error}") from error


def _writable(path: Path, *, packed: bool) -> TextIO:
    if packed:
        return gzip.open(path, "wt", encoding="utf-8", errors="backslashreplace")
    return path.open("w", encoding="utf-8", errors="backslashreplace")


def _write_rows(file: TextIO, rows: Iterator[dict[str, Any]], *, as_list: bool) -> int:
    count = 0
    if not as_list:
        with jsonlines.Writer(file, dumps=_dumps) as writer:
            for row in rows:
                writer.write(row)
                count += 1
        return count
    file.write("[")
    for count, row in enumerate(rows, start=1):
        file.write(("\n" if count == 1 else ",\n") + _dumps(row))
    file.write("\n]\n")
    return count


def _dumps(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False)
