"""Bytes of a text file to its lines, each with the place where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ftlib.errors import DataError

Report = Callable[[DataError], None]

_UTF32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_OTHER_KINDS = {
    b"PAR1": "a Parquet file: let its name end with .parquet",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first (zstd -d FILE)",
    b"BZh": "compressed with bzip2: unpack it first (bzip2 -d FILE)",
    b"\xfd7zXZ\0": "compressed with xz: unpack it first (xz -d FILE)",
    b"version https://git-lfs": "a pointer of Git LFS in place of the data: fetch the data with git lfs pull",
}


def decode_text(data: bytes, place: str) -> str:
    """Decode UTF-8; a byte-order mark at the beginning is dropped.

    Raises:
        DataError: The bytes are UTF-16, hold NUL, are no UTF-8, or are another kind of file.
    """
    if data.startswith((*_UTF32, *_UTF16)):
        kind = "UTF-32" if data.startswith(_UTF32) else "UTF-16"
        raise DataError(f"{place}: {kind} text: save the file as UTF-8 (iconv -f {kind} -t UTF-8 FILE)")
    for beginning, kind in _OTHER_KINDS.items():
        if data.startswith(beginning):
            raise DataError(f"{place}: {kind}")
    if b"\0" in data:
        raise DataError(f"{place}: a NUL byte at byte {data.index(0)} of the line: this is no text; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 (byte {error.start} of the line): save the file as UTF-8") from error


def placed_lines(path: Path, raw: Iterable[bytes], on_error: Report) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file, each behind its place.

    Args:
        path: The file's name, for messages.
        raw: Its bytes, line by line.
        on_error: Is given the error of a line that is no text; when it returns, reading goes on behind it.

    Raises:
        DataError: The file as a whole is no text.
    """
    offset = 0
    for number, line in enumerate(raw, start=1):
        place = f"{path}, line {number} (byte {offset})"
        offset += len(line)
        if number == 1 and line.startswith((*_UTF32, *_UTF16, *_OTHER_KINDS)):
            decode_text(line, place)  # no line of the file can be read
        try:
            yield place, decode_text(line, place)
        except DataError as error:
            on_error(error)
