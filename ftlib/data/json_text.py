"""JSON to values: a list, one value a line, or values over several lines; each with the place where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ftlib.data.lines import Report, decode_text, placed_lines
from ftlib.errors import DataError


class RawRow(NamedTuple):
    """One row, and where it stands: file, line and byte, for messages."""

    place: str
    value: Any


class RepeatedKeys(list[tuple[str, Any]]):
    """A JSON object in which a key stands more than once: its pairs, in order, none lost."""


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
    except ValueError as error:  # a whole number of thousands of digits
        raise DataError(
            f"{place}: holds a number that can't be read ({error}): shorten it, or write it as text"
        ) from error


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    whole = dict(pairs)
    return whole if len(whole) == len(pairs) else RepeatedKeys(pairs)


class _NoNumberError(json.JSONDecodeError):
    """What Python and pandas write for a missing number, and JSON doesn't know."""


def _not_a_number(name: str) -> Any:
    raise _NoNumberError(name, name, 0)


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_not_a_number)


def _why_not_json(text: str, error: json.JSONDecodeError) -> str:
    start = text.lstrip()[:60].rstrip()
    if isinstance(error, _NoNumberError):
        return f"not JSON: {error.msg} is no JSON: write null in its place, or the number"
    if start.startswith("<"):
        return f"not JSON but a web page ({start!r}): the download gave an HTML page; fetch the data file itself"
    cut_off = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    if cut_off and start[:1] in ("{", "["):
        return (
            f"not JSON: it ends in the middle ({text.rstrip()[-40:]!r}): the text is cut off; fetch the file again, "
            "or, if this object goes on in the next line, write it in one"
        )
    return (
        f"not JSON: {start!r} ({error.msg} at character {error.pos}); "
        'expected one object such as {"question": "...", "answer": "..."}'
    )


def json_rows(path: Path, raw: BinaryIO, suffix: str, on_error: Report) -> Iterator[RawRow]:
    """Go through the values of a JSON file: what stands in a list counts one by one.

    A file that begins with a value over several lines is read whole, and so is every ``.json``; else it is read line
    by line, in memory that doesn't grow with the file.

    Args:
        path: The file's name, for messages.
        raw: Its bytes, at their beginning.
        suffix: ``".json"``, ``".jsonl"`` or ``".ndjson"``.
        on_error: Is given the error of a line that can't be read; when it returns, reading goes on behind it.

    Raises:
        DataError: The file as a whole can't be read.
    """
    if suffix == ".json" or _begins_over_lines(raw):
        raw.seek(0)
        text = decode_text(raw.read(), str(path))
        if not _is_one_value_a_line(text):
            yield from _values(path, text)
            return
    raw.seek(0)
    for place, line in placed_lines(path, raw, on_error):
        if not line.strip():
            continue
        try:
            value = parse_json(line.rstrip().removesuffix(","), place)
        except DataError as error:
            on_error(error)
            continue
        yield from (RawRow(place, one) for one in (value if type(value) is list else [value]))


_LONG = 2**20


def _begins_over_lines(raw: BinaryIO) -> bool:
    """Whether the first value of the file begins in one line and goes on in the next."""
    lines = (line.removeprefix(b"\xef\xbb\xbf").strip() for line in raw)
    first = next(filter(None, lines), b"")
    if not first.startswith((b"{", b"[")) or len(first) > _LONG or not raw.readline():
        return False
    if first in (b"[", b"{") or (first.startswith(b"[") and first.endswith((b",", b"{", b"["))):
        return True
    try:
        _DECODER.decode(first.removesuffix(b",").decode())
    except RecursionError:
        return False
    except ValueError:  # no JSON, or no UTF-8
        return first.startswith(b"{") and first.endswith((b",", b"{", b"[", b'"', b"}", b"]", b":"))
    return False


def _is_one_value_a_line(text: str) -> bool:
    """Whether reading line by line finds all there is: with an object that ends in the line in which it began."""
    start = _skip_space(text, 0)
    if text[start : start + 1] != "{":
        return False
    try:
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        following = text[start:].partition("\n")[2].lstrip()
        return following.startswith("{")  # each line says what is wrong with it
    rest = text[end:].lstrip(" \t\r,")
    return "\n" not in text[start:end] and rest.startswith("\n") and bool(rest.strip())


def _values(path: Path, text: str) -> Iterator[RawRow]:
    where, here = _Position(path, text), _skip_space(text, 0)
    if text[here : here + 1] == "[":
        yield from _elements(where, text, here)
        here = len(text)
    while here < len(text):
        place = where.at(here)
        value, end = _decoded(text, here, place)
        yield RawRow(place, value)
        here = _skip_space(text, end)
        here = _skip_space(text, here + 1) if text[here : here + 1] == "," else here


def _elements(where: _Position, text: str, here: int) -> Iterator[RawRow]:
    """Yield the elements of a JSON list, each with its own line."""
    here = _skip_space(text, here + 1)
    more = text[here : here + 1] != "]"
    while more:
        place = where.at(here)
        value, end = _decoded(text, here, place)
        yield RawRow(place, value)
        here = _skip_space(text, end)
        more = text[here : here + 1] == ","
        here = _skip_space(text, here + 1) if more else here
    if text[here : here + 1] != "]" or text[here + 1 :].strip():
        found = text[here : here + 40] or "the end of the file"
        raise DataError(f"{where.at(here)}: the list of rows ends wrongly: expected ',' or ']', found {found!r}")


def _decoded(text: str, here: int, place: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, here)
    except (ValueError, RecursionError):
        parse_json(text[here:], place)  # says what is wrong
        raise


class _Position:
    """Line and byte of positions in a text, asked for in rising order."""

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
