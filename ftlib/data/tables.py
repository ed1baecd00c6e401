"""Tables to raw rows: CSV and TSV, Parquet, and JSON that holds a whole table or its splits in one value."""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from ftlib.data.json_text import RawRow
from ftlib.data.lines import Report, placed_lines
from ftlib.errors import DataError
from ftlib.nearest import and_ask

SPLIT_NAMES = {"train", "val", "valid", "validation", "dev", "test"}
_WRAPPERS = {"data", "rows", "examples", "instances", "items", "records", "samples"}
_OF_A_TURN = ("from", "role", "value", "content")
_DELIMITERS = ",;\t|"
_EXCEL_SAYS = re.compile(r"sep=(.)\s*")


def csv_rows(path: Path, raw: BinaryIO, suffix: str, on_error: Report) -> Iterator[RawRow]:
    """Go through the rows of a table whose first line names its columns.

    Args:
        path: The file's name, for messages.
        raw: Its bytes.
        suffix: ``".csv"`` or ``".tsv"``. What stands between the values is found from the first line: the comma (or
            the tab) unless a semicolon, a tab or a bar gives more columns, or a first line ``sep=;`` says so.
        on_error: Is given the error of a row that can't be read; when it returns, reading goes on behind it.

    Raises:
        DataError: The file as a whole can't be read.
    """
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is less than some documents
    texts = (text for _, text in placed_lines(path, raw, on_error))
    before, first = next(((n, text) for n, text in enumerate(texts) if text.strip()), (0, ""))
    if said := _EXCEL_SAYS.fullmatch(first):
        before, first = before + 1, next(texts, "")
    delimiter = said[1] if said else _delimiter(first, "\t" if suffix == ".tsv" else ",")
    spaced = delimiter != " " and f"{delimiter} " in first  # "question, answer": the space is no part of the value
    reader = csv.DictReader(chain([first], texts), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    place = f"{path}, line {before + 1}"
    try:
        reader.fieldnames = names = [name.strip() for name in reader.fieldnames or []]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise DataError(f"{place}: two columns are called {repeated[0]!r}: rename one")
        place = f"{path}, line {before + reader.line_num + 1}"
        for row in reader:
            if None in row or None in row.values():
                found = len(names) + len(row[None]) if None in row else sum(v is not None for v in row.values())
                columns = f"{len(names)} columns ({', '.join(names)})"
                on_error(DataError(f"{place}: {found} values for {columns}: check quotes and separators"))
            else:
                yield RawRow(place, row)
            place = f"{path}, line {before + reader.line_num + 1}"
    except csv.Error as error:
        if "\r" in first.strip():
            raise DataError(f"{place}: its lines end in a carriage return alone: save it with line feeds") from error
        raise DataError(f"{place}: not a table of values ({error}): check quotes and separators") from error


def _delimiter(header: str, usual: str) -> str:
    def columns(delimiter: str) -> int:
        with contextlib.suppress(csv.Error):  # said where the rows are read
            return len(next(csv.reader([header], delimiter=delimiter), []))
        return 0

    known: list[str] = [usual, *_DELIMITERS]
    return max(known, key=columns)  # of several, the first


def parquet_rows(path: Path, raw: BinaryIO) -> Iterator[RawRow]:
    """Go through the rows of a Parquet file.

    Raises:
        DataError: It is none, or it is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(raw).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield RawRow(f"{path}, row {number}", without_missing(row))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file, or damaged ({error}): fetch it again") from error


def without_missing(row: dict[str, Any]) -> dict[str, Any]:
    """Take out of a table's row what is there only because another row has it.

    A column of objects has one set of keys for all rows: a key that a row doesn't have is null in it.

    >>> without_missing({"answer": None, "call": {"city": "Graz", "day": None}})
    {'answer': None, 'call': {'city': 'Graz'}}
    """
    return {name: _without_nulls(value) if isinstance(value, dict | list) else value for name, value in row.items()}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def expanded(values: Iterable[RawRow], split: str | None, path: Path) -> Iterator[RawRow]:
    """Unfold values that hold many rows: splits, and tables stored by column."""
    for place, value in values:
        if isinstance(value, dict) and _is_split_table(value):
            yield from _of_split(place, value, split)
        elif isinstance(value, dict) and (columns := _columns(value)):
            yield from _by_column(place, columns)
        elif isinstance(value, dict) and (name := _wrapper(value)):
            yield from (RawRow(f"{place}, {name}[{number}]", row) for number, row in enumerate(value[name]))
        elif split is not None:
            raise DataError(f"{path}: the file has no splits: leave split={split!r} out")
        else:
            yield RawRow(place, value)


def _is_split_table(value: dict[str, Any]) -> bool:
    return bool(value) and set(value) <= SPLIT_NAMES and all(isinstance(rows, list) for rows in value.values())


def _wrapper(value: dict[str, Any]) -> str | None:
    """Return the one field that holds all rows, beside what is said about the file as a whole."""
    lists = [name for name, inner in value.items() if isinstance(inner, list)]
    rows = value[lists[0]] if len(lists) == 1 and lists[0].lower() in _WRAPPERS else []
    are_rows = rows and all(isinstance(row, dict) and not any(name in row for name in _OF_A_TURN) for row in rows)
    return lists[0] if are_rows else None


def _of_split(place: str, value: dict[str, Any], split: str | None) -> Iterator[RawRow]:
    names = ", ".join(value)
    if split is None and len(value) > 1:
        raise DataError(f"{place}: the file holds the splits {names}: choose one with split=")
    chosen = split or next(iter(value))
    if chosen not in value:
        raise DataError(f"{place}: no split {chosen!r}: the file has {names}{and_ask(chosen, map(str, value))}")
    for number, row in enumerate(value[chosen]):
        yield RawRow(f"{place}, {chosen}[{number}]", row)


def _columns(value: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """Return a table stored by column as {column: {index: cell}}, or ``None`` if the object is one row."""
    cells = list(value.values())
    if len(cells) >= 2 and all(
        isinstance(cell, dict) and cell and not any(name in cell for name in _OF_A_TURN) for cell in cells
    ):
        by_index: dict[str, dict[str, Any]] = value
    elif len(cells) >= 2 and all(isinstance(cell, list) and cell for cell in cells):
        by_index = {name: {str(i): cell for i, cell in enumerate(column)} for name, column in value.items()}
    else:
        return None
    plain = all(not isinstance(cell, dict | list) for column in by_index.values() for cell in column.values())
    return by_index if plain else None


def _by_column(place: str, columns: dict[str, dict[str, Any]]) -> Iterator[RawRow]:
    indices = {name: set(column) for name, column in columns.items()}
    first, *others = columns
    for other in others:
        odd = indices[first] ^ indices[other]
        if odd:
            raise DataError(
                f"{place}: columns {first!r} and {other!r} differ in row {min(odd)!r}: every column needs it"
            )
    for index in columns[first]:
        yield RawRow(f"{place}, row {index!r}", {name: column[index] for name, column in columns.items()})
