"""The cache: a folder that can be written, whose files are made by one process at a time and can be made again."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ftlib.errors import DataError, FtlibError
from ftlib.files import check_folder
from ftlib.paths import CACHE_VARIABLE, cache_folder


def caches() -> list[Path]:
    """Return the folders where the cache may be, the best first.

    That is :func:`ftlib.paths.cache_folder` and, where it is the usual one, a folder of this user's among the temporary
    ones: a home can be read-only.

    >>> caches()[0] == cache_folder()
    True
    """
    if os.environ.get(CACHE_VARIABLE):
        return [cache_folder()]
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""  # Windows gives each user a temporary folder
    return [cache_folder(), *(one for one in [Path(tempfile.gettempdir()) / f"ftlib-cache{user}"] if _is_ours(one))]


def _is_ours(folder: Path) -> bool:
    """Tell whether nobody else can put anything into a temporary folder, which may not be there yet."""
    if not hasattr(os, "getuid"):
        return True
    try:
        told = folder.lstat()
    except OSError:
        return True
    return folder.is_dir() and not folder.is_symlink() and told.st_uid == os.getuid() and not told.st_mode & 0o022


def writable_cache(what: str, needed_bytes: int, *, error: type[FtlibError]) -> Path:
    """Make the first of the folders that can be written, and see that there is space.

    Args:
        what: The beginning of the sentence for the case that there is none: ``"smollm2 is unpacked once"``.
        needed_bytes: How much space there must be.
        error: What to raise.

    Raises:
        FtlibError: As ``error`` says: no folder can be written, or there is no space.
    """
    reasons = []
    for cache in caches():
        try:
            check_folder(cache)
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, DataError) as failure:
            reasons.append(str(failure))
            continue
        free = shutil.disk_usage(cache).free
        if free >= needed_bytes:
            return cache
        reasons.append(f"{cache}: has {free / 1e6:,.0f} MB free")
    raise cant_write(what, needed_bytes, "; ".join(reasons), error=error)


def cant_write(what: str, needed_bytes: int, reason: str, *, error: type[FtlibError]) -> FtlibError:
    """Return the error that says why something can't be kept, and what to do; arguments as above."""
    return error(
        f"{what}, into {needed_bytes / 1e6:,.0f} MB, and that can't be written: {reason}; "
        f"free some space, or set {CACHE_VARIABLE} to a folder that has it"
    )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time into a folder, which is made; the system opens the lock when a process ends.

    Raises:
        OSError: The folder can't be made or written, or its file system has no locks.
    """
    from filelock import FileLock

    lock = FileLock(folder / "lock")
    folder.mkdir(exist_ok=True, parents=True)
    try:
        lock.acquire()
    except NotImplementedError as error:  # there are file systems without locks
        raise OSError(None, str(error)) from error
    try:
        yield
    finally:
        lock.release()
