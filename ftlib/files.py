"""Files that are written: checked before any work begins, and whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ftlib.errors import DataError, FtlibError


def check_target(path: str | Path, *, sources: Iterable[Path] = ()) -> Path:
    """See that a file can be written, before the work begins whose result is to stand in it.

    Args:
        path: The file. Its folder must be there; the file may be there, and is left as it is.
        sources: Files that the work reads: none of them may be the target.

    Returns:
        The path.

    Raises:
        DataError: It can't be written, or is one of the sources.
    """
    target = Path(path).expanduser()
    try:
        if target.is_dir():
            raise DataError(f"{target}: is a folder: name a file in it")
        if not target.parent.is_dir():
            raise DataError(f"{target}: there is no folder {target.parent}: make it first, or name another file")
        if any(source.exists() and target.exists() and source.samefile(target) for source in sources):
            raise DataError(f"{target}: is read here, and would be overwritten: name another file")
        if not target.exists() or target.is_file():
            check_folder(target.resolve().parent)
        if target.exists() and not os.access(target, os.W_OK):
            raise DataError(f"{target}: may not be written to: check its permissions, or name another file")
    except OSError as error:
        raise DataError(f"{target}: can't be written ({error.strerror}): name another file") from error
    return target


def check_folder(path: str | Path) -> Path:
    """See that a folder can be written into, or can be made: nothing is left behind.

    Raises:
        DataError: It can't.
    """
    folder = there = Path(path).expanduser()
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
        if not there.is_dir():
            raise DataError(f"{folder}: {there} is a file, and no folder can be made in it: name another one")
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise DataError(f"{folder}: can't be written ({error.strerror}): check permissions, or name another") from error
    return folder


def read_note(path: Path, *keys: str, error: type[FtlibError], way_out: str) -> dict[str, Any]:
    """Read a small JSON file that ftlib or peft wrote beside a model, and which may have been damaged since.

    Args:
        path: The file.
        keys: Of its object; they must be there.
        error: What to raise.
        way_out: What to do if it can't be read, which ends the message.

    Returns:
        The object.

    Raises:
        FtlibError: It can't be read, is no JSON object, or lacks a key.

    >>> import tempfile
    >>> from ftlib.errors import ModelError
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     note = Path(folder) / "state.json"
    ...     _ = note.write_text('{"step": 4}')
    ...     read_note(note, "step", error=ModelError, way_out="train again")
    {'step': 4}
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as reason:
        raise error(f"{path}: can't be read ({reason.strerror}): {way_out}") from reason
    except ValueError as reason:
        raise error(f"{path}: holds no JSON ({reason}): {way_out}") from reason
    missing = [key for key in keys if not isinstance(found, dict) or key not in found]
    if missing or not isinstance(found, dict):
        raise error(f"{path}: expected a JSON object{' with ' + ', '.join(missing) if missing else ''}: {way_out}")
    return found


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one; a link stays a link, and permissions stay.

    Half of a surrogate pair, which a file from elsewhere or a reply may hold, is no letter that UTF-8 knows: in a text
    it is written as the escape that JSON has for it.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():  # a device or a pipe can't be replaced
        _write(target, content)
        return
    with whole_file(target) as partial:
        _write(partial, content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file that appears whole or not at all; yield the path to write to."""
    target = path.resolve()
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
        flush(partial)
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    flush(target.parent)


def _write(path: Path, content: str | bytes) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8", errors="backslashreplace")


def write_checked(path: str | Path, text: str) -> Path:
    """Write a text file as :func:`write_whole` does.

    Raises:
        DataError: It can't be written.
    """
    target = check_target(path)
    try:
        write_whole(target, text)
    except OSError as error:
        raise DataError(f"{target}: can't be written ({error.strerror}): check permissions and free space") from error
    return target


@contextlib.contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """Fill a folder that appears with everything in it, or not at all, whenever the process is killed.

    What is written lies under another name at first, is flushed to the disk, and is renamed when it is whole. The name
    is one of its own each time: a process that a killed one left behind can't write into it. What killed ones left is
    removed, so two processes must not fill the same folder at once.

    Args:
        place: The folder; it isn't there yet.

    Yields:
        The folder to write into.
    """
    for left in _partial_folders(place):
        shutil.rmtree(left, ignore_errors=True)
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in [*partial.rglob("*"), partial]:
            flush(path)
        partial.rename(place)
        flush(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial_folders(place: Path) -> list[Path]:
    name = re.compile(rf"\.{re.escape(place.name)}\.([0-9a-f]{{8}}\.)?partial")
    return [path for path in place.parent.iterdir() if name.fullmatch(path.name)] if place.parent.is_dir() else []


def flush(path: Path) -> None:
    """Have what was written to a file or a folder on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and keeps their entries itself
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
