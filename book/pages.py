"""Make the pages of the book from chapters that carry their outputs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import yaml

from book import next_tokens, talks
from book.chapters import Chapter, digest_of

BUILT = Path("_build")
SITE = BUILT / "html"
STAGE = BUILT / "source"  # a copy of what the pages are made from, with the outputs of this build
STAMP = BUILT / "html.digest"
TESTED = BUILT / "html.tested"
# Pages include parts of the library, the data and the configurations.
STAGED = ("_config.yml", "_toc.yml", "book", "chapters", "ftlib", "datasets", "configs", "constraints.txt")
# Not by the path of its program: the packages of an environment may be those of another one.
JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()")
WHEEL = ("README.md", "LICENSE", "LICENSE-text", "pyproject.toml")


def stage(root: Path, notebooks: Mapping[Chapter, nbformat.NotebookNode]) -> None:
    """Copy the sources of the pages, and put notebooks in the places of chapters."""
    shutil.rmtree(root / STAGE, ignore_errors=True)
    (root / STAGE).mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in STAGED:
        if (root / name).is_dir():
            shutil.copytree(root / name, root / STAGE / name, ignore=ignored)
        elif (root / name).is_file():
            shutil.copy2(root / name, root / STAGE / name)
    for chapter, notebook in notebooks.items():
        nbformat.write(notebook, root / STAGE / chapter.path.relative_to(root))
    talks.record(root, root / STAGE, _talk_models(root))
    next_tokens.record(root, root / STAGE)


def is_current(root: Path) -> bool:
    """Tell whether the site was made, without a warning, from exactly what is staged now."""
    stamp = root / STAMP
    return (
        (root / SITE / "index.html").is_file()
        and stamp.is_file()
        and stamp.read_text(encoding="utf-8") == _digest(root)
    )


def passed(root: Path) -> bool:
    """Tell whether these very pages have passed these very tests."""
    note = root / TESTED
    return is_current(root) and note.is_file() and note.read_text(encoding="utf-8") == _tested(root)


def keep_passed(root: Path) -> None:
    """Note that the pages have passed their tests."""
    (root / TESTED).write_text(_tested(root), encoding="utf-8")


def _tested(root: Path) -> str:
    return _digest(root) + digest_of(root, ("tests",))


def _digest(root: Path) -> str:
    return digest_of(root / STAGE, STAGED) + digest_of(root, WHEEL)


def build(root: Path, *, strict: bool) -> bool:
    """Make the pages beside the present site, and put them in its place once they are all there.

    Args:
        root: The course's folder, with staged sources.
        strict: Whether a warning is an error. All of them are shown either way.

    Returns:
        Whether the new pages are in place.
    """
    beside = root / BUILT / "next"
    shutil.rmtree(beside, ignore_errors=True)
    (root / STAMP).unlink(missing_ok=True)
    flags = ["-W", "--keep-going"] if strict else []
    command = [*JUPYTER_BOOK, "build", "--quiet", *flags, str(root / STAGE), "--path-output", str(beside)]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8")
    # Places of warnings are those of the sources, not of their copies.
    warnings = done.stderr.replace(f"{root / STAGE}/", "")
    print(warnings if done.returncode == 0 else done.stdout + warnings, end="", flush=True)
    new = beside / "_build" / "html"
    if done.returncode:
        return False
    _add_wheel(root, new / "_static")
    talks.add_models(root, new / "_static", _talk_models(root))
    _replace(root / SITE, new)
    shutil.rmtree(beside)
    if not warnings.strip():
        (root / STAMP).write_text(_digest(root), encoding="utf-8")
    return True


def serve_source(root: Path, chapter: Chapter) -> None:
    """Put a chapter as it is in the course where its page offers it for download."""
    inside = chapter.path.relative_to(root)
    shutil.copy2(chapter.path, root / SITE / "_sources" / inside)


def _add_wheel(root: Path, folder: Path) -> None:
    """A reader of the pages can install exactly what they were made with."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(root)], check=True)


def _talk_models(root: Path) -> list[str]:
    """Models that a reader may load into a page."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    names: list[str] = config.get("sphinx", {}).get("config", {}).get("talk_models") or []
    return names


def _replace(site: Path, new: Path) -> None:
    old = site.with_name("previous")
    shutil.rmtree(old, ignore_errors=True)
    if site.exists():
        site.rename(old)
    new.rename(site)
    shutil.rmtree(old, ignore_errors=True)
