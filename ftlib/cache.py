"""The cache: a folder that can be written, whose files are made by one process at a time and can be made again."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ftlib.errors import DataError, FtlibError
from ftlib.files import check_folder
from ftlib.paths import CACHE_VARIABLE, cache_folder

_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


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


def writable_cache(
    what: str, needed_bytes: int, *, error: type[FtlibError], replaced: Path | None = None, make: bool = True
) -> Path:
    """Find the first of the folders that can be written and has the space, and make it.

    Args:
        what: The beginning of the sentence for the case that there is none: ``"smollm2 is unpacked once"``.
        needed_bytes: How much space there must be.
        error: What to raise.
        replaced: A folder below the cache that will be removed first: what lies in it counts as free space.
        make: Whether to make the cache, and not only look.

    Raises:
        FtlibError: As ``error`` says: no folder can be written, or there is no space.
    """
    reasons, code = [], None
    for cache in caches():
        try:
            check_folder(cache)
            if make:
                cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            free = _free_bytes(cache) + (_bytes_in(cache / replaced) if replaced else 0)
        except (OSError, DataError) as failure:
            reasons.append(str(failure))
            continue
        if free >= needed_bytes:
            return cache
        reasons.append(f"{cache}: has {free / 1e6:,.0f} MB free")
        code = errno.ENOSPC
    raise cant_write(what, needed_bytes, "; ".join(reasons), code=code, error=error)


def _free_bytes(cache: Path) -> int:
    return shutil.disk_usage(next(one for one in (cache, *cache.parents) if one.exists())).free


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def cant_write(what: str, needed_bytes: int, reason: str, *, code: int | None, error: type[FtlibError]) -> FtlibError:
    """Return the error that says why something can't be kept, and what to do.

    Args:
        what: As for :func:`writable_cache`, as are the following ones.
        needed_bytes: How much space it takes.
        reason: What went wrong, and where.
        code: What the system called it (``errno``), if it did.
        error: What to return.
    """
    if code in _FULL:
        way_out = f"free some space, or set {CACHE_VARIABLE} to a folder that has it"
    elif code in _IN_THE_WAY:
        way_out = f"remove what lies in its place, or set {CACHE_VARIABLE} to another folder"
    else:
        way_out = f"set {CACHE_VARIABLE} to a folder that can be written"
    return error(f"{what}, into {needed_bytes / 1e6:,.0f} MB, and that can't be written: {reason}; {way_out}")


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
