"""The chapters of the book, and the store of their executions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from sphinx_external_toc.parsing import parse_toc_yaml

INPUTS = ("ftlib", "datasets", "configs", "constraints.txt", "pyproject.toml", "chapters/matplotlibrc")
SETTINGS = re.compile(r"(FTLIB|OPENAI|DEEPSEEK|LAMINI|HF)_\w+")
SECRET = re.compile(r"KEY|TOKEN|SECRET")
KEPT_STATES = 3  # of library and data: enough to go back and forth between two branches


class BookError(Exception):
    """The book can't be built as it was asked for; the message says what to do."""


class UnreadableError(Exception):
    """A file is no notebook."""


@dataclass(frozen=True)
class Chapter:
    """A notebook that the table of contents names."""

    path: Path

    @property
    def name(self) -> str:
        """Its file's name without the ending, such as ``03_pretraining``."""
        return self.path.stem

    def answers_to(self, word: str) -> bool:
        """Tell whether somebody means this chapter: by number, by title, by name or by file."""
        number, _, title = self.name.partition("_")
        word = Path(word).name.removesuffix(".ipynb").lower()
        return word in {self.name.lower(), title.lower(), number, number.lstrip("0")}


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook, in the format of today.

    Raises:
        UnreadableError: If the file is no notebook.
    """
    try:
        notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # a file that is no notebook fails in as many ways as there are files
        raise UnreadableError(f"{path.name} can't be read as a notebook.\n{type(error).__name__}: {error}") from error
    return notebook


def chapters_of(root: Path) -> list[Chapter]:
    """List the notebooks of the table of contents, in its order."""
    toc = root / "_toc.yml"
    if not toc.is_file():
        raise BookError(f"there is no {toc.name} here: call this in the course's folder")
    documents = (root / f"{name}.ipynb" for name in parse_toc_yaml(toc))
    return [Chapter(path) for path in documents if path.is_file()]


def chosen(chapters: list[Chapter], words: str) -> list[Chapter]:
    """Pick chapters by number or name; without a word, all of them.

    Raises:
        BookError: If a word means no chapter. The message lists the known ones.
    """
    wanted = words.replace(",", " ").split()
    unknown = [word for word in wanted if not any(one.answers_to(word) for one in chapters)]
    if unknown:
        known = "\n".join(f"  {one.name}" for one in chapters)
        raise BookError(f"no chapter is called {', '.join(unknown)}. Give numbers or names of these:\n{known}")
    return [one for one in chapters if not wanted or any(one.answers_to(word) for word in wanted)]


def digest_of(root: Path, names: tuple[str, ...] = INPUTS) -> str:
    """Sum up what the numbers of every chapter depend on, beside the code in its cells.

    That is the library, the data, the configurations, the pinned and the installed versions, Python, the machine, and
    the settings in the environment. Of a key only counts whether there is one.
    """
    whole = hashlib.sha256(json.dumps(_surroundings(os.environ), sort_keys=True).encode())
    for path in _files(root, names):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()[:24]


def _files(root: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        found = [root / name] if (root / name).is_file() else sorted((root / name).rglob("*"))
        for path in found:
            inside = path.relative_to(root).parts
            if path.is_file() and "__pycache__" not in inside and not any(part.startswith(".") for part in inside):
                yield path


def _surroundings(environment: Mapping[str, str]) -> dict[str, Any]:
    processor = Path("/proc/cpuinfo")
    told = processor.read_text(encoding="utf-8") if processor.is_file() else ""
    models = re.findall(r"^model name\s*: (.*)$", told, re.M)
    settings = {name: value for name, value in environment.items() if SETTINGS.fullmatch(name)}
    return {
        "python": platform.python_version(),
        "machine": [platform.system(), platform.machine(), *models[:1]],
        "installed": sorted(f"{one.name}=={one.version}" for one in importlib.metadata.distributions()),
        "settings": {name: bool(value) if SECRET.search(name) else value for name, value in settings.items()},
    }


class Store:
    """Executed chapters, by the code in their cells and the digest of everything else that they depend on.

    jupyter-cache compares the source and the metadata (so the tags) of the code cells, and the kernel's name. The rest
    is in the name of the folder. How long a chapter took is kept across digests.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        """Open the part of a folder that belongs to a digest, and throw away the oldest parts."""
        self._times = folder / "times.json"
        mine = folder / digest
        mine.mkdir(parents=True, exist_ok=True)
        os.utime(mine)
        self._cache = get_cache(mine)
        states = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        for old in states[:-KEPT_STATES]:
            shutil.rmtree(old)

    def find(self, chapter: Chapter) -> nbformat.NotebookNode | None:
        """Return the chapter with the outputs of its execution, or None if it wasn't executed as it stands."""
        merged: nbformat.NotebookNode
        try:
            _, merged = self._cache.merge_match_into_notebook(read_notebook(chapter.path))
        except (KeyError, UnreadableError):  # not in the store; executing the file will say why it can't be read
            return None
        return merged

    def keep(self, chapter: Chapter, notebook: nbformat.NotebookNode, seconds: float) -> None:
        """Keep an execution, and its time."""
        bundle = CacheBundleIn(notebook, chapter.path.name, data={"execution_seconds": seconds})
        self._cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
        new = self._times.with_suffix(".new")
        new.write_text(json.dumps({**self._known_times(), chapter.name: round(seconds, 1)}, indent=1), encoding="utf-8")
        new.replace(self._times)

    def seconds(self, chapter: Chapter) -> float | None:
        """Tell how long the chapter took the last time, here or where its stored outputs come from."""
        return self._known_times().get(chapter.name) or _stored_seconds(chapter.path)

    def _known_times(self) -> dict[str, float]:
        return json.loads(self._times.read_text(encoding="utf-8")) if self._times.is_file() else {}


def _stored_seconds(path: Path) -> float | None:
    """Read the time that a chapter prints at its end."""
    said = re.findall(r"This run took (\d+) s", path.read_text(encoding="utf-8", errors="replace"))
    return float(said[-1]) if said else None
