"""Any data file to raw rows: JSON, JSON Lines, CSV, TSV or Parquet, each plain or gzipped.

A raw row is one row as the file has it, with the place where it stands. What the row means is the
business of :mod:`ftlib.data.formats`.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ftlib.data.json_text import RawRow, json_rows
from ftlib.data.lines import Report
from ftlib.data.tables import csv_rows, expanded, parquet_rows
from ftlib.errors import DataError

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_GZIP = b"\x1f\x8b"


def read_raw_rows(
    path: Path, *, split: str | None = None, on_error: Report, on_bytes: Callable[[int], None] | None = None
) -> Iterator[RawRow]:
    """Go through the rows of a file as they stand in it, one at a time.

    Args:
        path: The file; its suffix decides how it is read (``.gz`` behind it is unpacked on the way).
        split: Which split of a ``{"train": [...], "test": [...]}`` file.
        on_error: Is given the error of a line that can't be read; when it returns, reading goes on behind it.
        on_bytes: Is told from time to time how many bytes of the file have been read.

    Raises:
        DataError: The file as a whole can't be read.
    """
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file {suffix!r}; expected one of {', '.join(SUFFIXES)} (or with .gz)")
    if split is not None and not suffix.startswith((".json", ".ndjson")):
        raise DataError(f"{path}: the file has no splits: leave split={split!r} out")
    try:
        with _open(path, on_bytes) as raw:
            if suffix == ".parquet":
                yield from parquet_rows(path, raw)
            elif suffix in (".csv", ".tsv"):
                yield from csv_rows(path, raw, suffix, on_error)
            else:
                yield from expanded(json_rows(path, raw, suffix, on_error), split, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is damaged or cut off ({error}): fetch the file again") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}: can't be read ({reason}): check the path and its permissions") from error


def _open(path: Path, on_bytes: Callable[[int], None] | None) -> BinaryIO:
    file = io.BufferedReader(_Watched(path, on_bytes), buffer_size=2**20) if on_bytes else path.open("rb")
    is_packed = path.name.lower().endswith(".gz") or file.peek(2).startswith(_GZIP)
    return _Unpacked(file) if is_packed else file  # type: ignore[return-value]


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
