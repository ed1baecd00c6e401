"""Any data file to records: JSON, JSON Lines, CSV, TSV or Parquet, each plain or gzipped.

A record is one row as the file has it, with the place where it stands. What the row means is the
business of :mod:`ftlib.formats`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ftlib.errors import DataError
from ftlib.nearest import and_ask

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
SPLIT_NAMES = {"train", "val", "valid", "validation", "dev", "test"}


Report = Callable[[DataError], None]


class Record(NamedTuple):
    """One row, and where it stands: file, line and byte, for messages."""

    place: str
    value: Any


class RepeatedKeys(list[tuple[str, Any]]):
    """A JSON object in which a key stands more than once: its pairs, in order, none lost."""


def read_records(
    path: Path, *, split: str | None = None, on_error: Report, on_bytes: Callable[[int], None] | None = None
) -> Iterator[Record]:
    """Go through the records of a file, one at a time.

    Args:
        path: The file; its suffix decides how it is read (``.gz`` behind it is unpacked on the way).
        split: Which part of a ``{"train": [...], "test": [...]}`` file.
        on_error: Is given the error of a line that can't be read; when it returns, reading goes on behind it.
        on_bytes: Is told from time to time how many bytes of the file have been read.

    Raises:
        DataError: The file as a whole can't be read.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file {suffix!r}; expected one of {', '.join(SUFFIXES)} (or with .gz)")
    if split is not None and not suffix.startswith((".json", ".ndjson")):
        raise DataError(f"{path}: the file has no splits: leave split={split!r} out")
    try:
        with _open(path, on_bytes) as raw:
            if suffix == ".parquet":
                yield from _parquet(path, raw)
            elif suffix in (".csv", ".tsv"):
                yield from _csv(path, raw, "\t" if suffix == ".tsv" else ",", on_error)
            else:
                yield from _expanded(_json(path, raw, suffix, on_error), split, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is damaged or cut off ({error}): fetch the file again") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}: can't be read ({reason}): check the path and its permissions") from error


def _open(path: Path, on_bytes: Callable[[int], None] | None) -> BinaryIO:
    file = io.BufferedReader(_Watched(path, on_bytes), buffer_size=2**20) if on_bytes else path.open("rb")
    return _Unpacked(file) if path.name.endswith(".gz") else file  # type: ignore[return-value]


class _Watched(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self.on_bytes = on_bytes

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.on_bytes(self.tell())
        return count


class _Unpacked(gzip.GzipFile):
    """What a gzipped file holds; closing it closes the file too."""

    def __init__(self, packed: BinaryIO) -> None:
        super().__init__(fileobj=packed)
        self.packed = packed

    def close(self) -> None:
        super().close()
        self.packed.close()


def parse_json(text: str, place: str) -> Any:
    """Parse one JSON value; an object that repeats a key becomes :class:`RepeatedKeys`.

    >>> parse_json('{"Ann": "Hi", "Bob": "Hello", "Ann": "Tea?"}', "here")
    [('Ann', 'Hi'), ('Bob', 'Hello'), ('Ann', 'Tea?')]
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: {_why_not_json(text, error)}") from error
    except RecursionError as error:
        raise DataError(f"{place}: nested too deeply to be a row of data: expected one flat object") from error


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    whole = dict(pairs)
    return whole if len(whole) == len(pairs) else RepeatedKeys(pairs)


def _not_a_number(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is no JSON", name, 0)


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_not_a_number)


def _why_not_json(text: str, error: json.JSONDecodeError) -> str:
    start = text.lstrip()[:60].rstrip()
    if start.startswith("<"):
        return f"not JSON but a web page ({start!r}): the download gave an HTML page; fetch the data file itself"
    cut_off = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    if cut_off and start[:1] in ("{", "["):
        return f"not JSON: it ends in the middle ({text.rstrip()[-40:]!r}): the text is cut off; fetch the file again"
    return (
        f"not JSON: {start!r} ({error.msg} at character {error.pos}); "
        'expected one object such as {"question": "...", "answer": "..."}'
    )


_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def decode_text(data: bytes, place: str) -> str:
    """Decode UTF-8; a byte-order mark at the beginning is dropped.

    Raises:
        DataError: The bytes are UTF-16, hold NUL, or are no UTF-8.
    """
    if data.startswith(_UTF16):
        raise DataError(f"{place}: UTF-16 text: save the file as UTF-8 (iconv -f UTF-16 -t UTF-8 FILE)")
    if b"\0" in data:
        raise DataError(f"{place}: a NUL byte at byte {data.index(0)} of the line: this is no text; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 (byte {error.start} of the line): save the file as UTF-8") from error


def _lines(path: Path, raw: Iterable[bytes], on_error: Report) -> Iterator[tuple[str, str]]:
    offset = 0
    for number, line in enumerate(raw, start=1):
        place = f"{path}, line {number} (byte {offset})"
        offset += len(line)
        if number == 1 and line.startswith(_UTF16):
            decode_text(line, place)  # no line of the file can be read
        try:
            yield place, decode_text(line, place)
        except DataError as error:
            on_error(error)


def _json(path: Path, raw: BinaryIO, suffix: str, on_error: Report) -> Iterator[Record]:
    if suffix == ".json" and (text := _whole_document(path, raw.read())) is not None:
        yield from _elements(path, text)
        return
    if suffix == ".json":
        raw.seek(0)
    for place, line in _lines(path, raw, on_error):
        if not line.strip():
            continue
        try:
            value = parse_json(line, place)
        except DataError as error:
            on_error(error)
            continue
        yield from (Record(place, one) for one in (value if type(value) is list else [value]))


def _whole_document(path: Path, data: bytes) -> str | None:
    """Return the text of a file that is one JSON value; ``None`` for JSON Lines under the name ``.json``."""
    text = decode_text(data, str(path))
    if not text.lstrip().startswith("{"):
        return text
    try:
        _, end = _DECODER.raw_decode(text, len(text) - len(text.lstrip()))
    except (json.JSONDecodeError, RecursionError):
        return text
    return text if not text[end:].strip() else None


def _elements(path: Path, text: str) -> Iterator[Record]:
    """Yield the elements of a JSON list, or the one object, each with its own line."""
    here = _skip_space(text, 0)
    if here == len(text):
        return
    where = _Position(path, text)
    if text[here] != "[":
        yield Record(where.at(here), parse_json(text, where.at(here)))
        return
    here = _skip_space(text, here + 1)
    more = text[here : here + 1] != "]"
    while more:
        place = where.at(here)
        try:
            value, end = _DECODER.raw_decode(text, here)
        except (json.JSONDecodeError, RecursionError):
            parse_json(text[here:], place)  # says what is wrong
            raise
        yield Record(place, value)
        here = _skip_space(text, end)
        more = text[here : here + 1] == ","
        here = _skip_space(text, here + 1) if more else here
    if text[here : here + 1] != "]" or text[here + 1 :].strip():
        found = text[here : here + 40] or "the end of the file"
        raise DataError(f"{where.at(here)}: the list of rows ends wrongly: expected ',' or ']', found {found!r}")


class _Position:
    """Line and byte of places in a text, asked for in rising order."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.seen, self.line, self.byte = 0, 1, 0

    def at(self, index: int) -> str:
        part = self.text[self.seen : index]
        self.seen, self.line, self.byte = index, self.line + part.count("\n"), self.byte + len(part.encode())
        return f"{self.path}, line {self.line} (byte {self.byte})"


def _skip_space(text: str, start: int) -> int:
    return _SPACE.match(text, start).end()  # type: ignore[union-attr]


_SPACE = re.compile(r"[ \t\r\n]*")


def _csv(path: Path, raw: BinaryIO, delimiter: str, on_error: Report) -> Iterator[Record]:
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is less than some documents
    texts = (text for _, text in _lines(path, raw, on_error))
    reader = csv.DictReader(texts, delimiter=delimiter, strict=True)
    place = f"{path}, line 1"
    try:
        names = list(reader.fieldnames or [])
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise DataError(f"{place}: two columns are called {repeated[0]!r}: rename one")
        place = f"{path}, line {reader.line_num + 1}"
        for row in reader:
            if None in row or None in row.values():
                found = len(names) + len(row[None]) if None in row else sum(v is not None for v in row.values())
                columns = f"{len(names)} columns ({', '.join(names)})"
                on_error(DataError(f"{place}: {found} values for {columns}: check quotes and separators"))
            else:
                yield Record(place, row)
            place = f"{path}, line {reader.line_num + 1}"
    except csv.Error as error:
        raise DataError(f"{place}: not a table of values ({error}): check quotes and separators") from error


def _parquet(path: Path, raw: BinaryIO) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(raw).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield Record(f"{path}, row {number}", without_missing(row))
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


def _expanded(records: Iterable[Record], split: str | None, path: Path) -> Iterator[Record]:
    """Unfold records that hold many rows: splits, and tables stored by column."""
    for place, value in records:
        if isinstance(value, dict) and _is_split_table(value):
            yield from _of_split(place, value, split)
        elif isinstance(value, dict) and (columns := _columns(value)):
            yield from _by_column(place, columns)
        elif split is not None:
            raise DataError(f"{path}: the file has no splits: leave split={split!r} out")
        else:
            yield Record(place, value)


def _is_split_table(value: dict[str, Any]) -> bool:
    return bool(value) and set(value) <= SPLIT_NAMES and all(isinstance(rows, list) for rows in value.values())


def _of_split(place: str, value: dict[str, Any], split: str | None) -> Iterator[Record]:
    names = ", ".join(value)
    if split is None and len(value) > 1:
        raise DataError(f"{place}: the file holds the splits {names}: choose one with split=")
    chosen = split or next(iter(value))
    if chosen not in value:
        raise DataError(f"{place}: no split {chosen!r}: the file has {names}{and_ask(chosen, map(str, value))}")
    for number, row in enumerate(value[chosen]):
        yield Record(f"{place}, {chosen}[{number}]", row)


def _columns(value: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """Return a table stored by column as {column: {index: cell}}, or ``None`` if the object is one row."""
    cells = list(value.values())
    if len(cells) >= 2 and all(isinstance(cell, dict) and cell for cell in cells):
        by_index: dict[str, dict[str, Any]] = value
    elif len(cells) >= 2 and all(isinstance(cell, list) and cell for cell in cells):
        by_index = {name: {str(i): cell for i, cell in enumerate(column)} for name, column in value.items()}
    else:
        return None
    plain = all(not isinstance(cell, dict | list) for column in by_index.values() for cell in column.values())
    return by_index if plain else None


def _by_column(place: str, columns: dict[str, dict[str, Any]]) -> Iterator[Record]:
    indices = {name: set(column) for name, column in columns.items()}
    first, *others = columns
    for other in others:
        odd = indices[first] ^ indices[other]
        if odd:
            raise DataError(
                f"{place}: columns {first!r} and {other!r} differ in row {min(odd)!r}: every column needs it"
            )
    for index in columns[first]:
        yield Record(f"{place}, row {index!r}", {name: column[index] for name, column in columns.items()})
