"""``ftlib upgrade``: old notebooks and scripts, rewritten for the libraries that are installed.

It finds calls that transformers, TRL, peft or datasets no longer accept. What it finds and what it does about that is
a table (:data:`ftlib.upgrade.rules.RULES`); what no row is about is held against the installed libraries' signatures.
"""

from __future__ import annotations

import codecs
import difflib
import os
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import libcst as cst

from ftlib.errors import DataError
from ftlib.files import write_whole
from ftlib.upgrade.calls import check_call
from ftlib.upgrade.cells import Cell, is_python, join, mask, read_cells, shell_lines, split, unmask, write_cells
from ftlib.upgrade.commands import check_options, check_shell
from ftlib.upgrade.fields import check_fields
from ftlib.upgrade.installed import check_installed, due_rules, installed_versions, look_up
from ftlib.upgrade.methods import check_methods
from ftlib.upgrade.names import check_classes, check_names, find_names
from ftlib.upgrade.rule import PACKAGES
from ftlib.upgrade.settings import check_settings
from ftlib.upgrade.syntax import CELL_MARK, parse
from ftlib.upgrade.tree import Finding, Tree

__all__ = ["Finding", "Upgrade", "UpgradedFile", "run_upgrade", "unified_diff", "upgrade_path", "upgrade_source"]

_SKIPPED_FOLDERS = {".venv", ".git", "__pycache__", ".ipynb_checkpoints"}
_IMPORT = re.compile(rf"\b(?:from|import)\b.*\b(?:{'|'.join(PACKAGES)})\b")
_SUFFIXES = (".py", ".ipynb")
_SETTINGS = "; no file of settings says whose they are: write them as a call, such as SFTConfig(...), in a script"


@dataclass(frozen=True)
class Upgrade:
    """What became of a program.

    Attributes:
        code: The new source, or text of the notebook.
        findings: In the order of the source.
        diff: Old against new, a notebook's cell by cell; empty if nothing changed.
    """

    code: str
    findings: tuple[Finding, ...]
    diff: str


@dataclass(frozen=True)
class UpgradedFile:
    """What became of a file.

    Attributes:
        path: The file.
        findings: See :class:`Finding`.
        diff: What ``--fix`` changes in it, or has changed.
        written: The file was rewritten.
        error: Why the file could not be read or written; empty if it could.
    """

    path: Path
    findings: tuple[Finding, ...] = ()
    diff: str = ""
    written: bool = False
    error: str = ""

    @property
    def needs_attention(self) -> bool:
        """Is something left that the installed libraries refuse, or that couldn't be told?"""
        open_findings = [each for each in self.findings if each.level == "decide"]
        return bool(self.error or open_findings or (not self.written and self._mendable()))

    def _mendable(self) -> bool:
        return any(each.level == "change" for each in self.findings)


def upgrade_source(code: str, *, filename: str = "", versions: Mapping[str, str] | None = None) -> Upgrade:
    r"""Rewrite a program, or a notebook's text, for the libraries that are installed.

    Args:
        code: Python; or JSON, if the file name ends in ``.ipynb``.
        filename: Heads the diff.
        versions: Package -> version, to rewrite for other releases than those installed. Names and keywords that no
            rule is about are then not checked.

    Returns:
        The new code; what doesn't parse comes back as it was, with a finding that says so.

    Raises:
        DataError: A notebook is not one of format 4 or not in Python.

    >>> print(upgrade_source("from transformers import TrainingArguments\nTrainingArguments(no_cuda=True)").code)
    from transformers import TrainingArguments
    TrainingArguments(use_cpu=True)
    """
    if filename.endswith(".ipynb"):
        return _upgrade_notebook(code, filename, versions)
    new, findings = _rewritten(code, versions)
    return Upgrade(new, tuple(findings), unified_diff(code, new, filename))


def upgrade_path(
    path: str | Path, *, fix: bool = False, versions: Mapping[str, str] | None = None
) -> Iterator[UpgradedFile]:
    """Look through a notebook, a script, or every one in a folder; with ``fix``, rewrite them in place.

    Args:
        path: A file that ends in .py or .ipynb, or a folder. Virtual environments, .git and checkpoints are left out.
        fix: Write the files; each is replaced as a whole or not at all.
        versions: See :func:`upgrade_source`.

    Yields:
        One report for each file, also for those that can't be read.
    """
    place = Path(path).expanduser()
    files = sorted(_files_in(place)) if place.is_dir() else [place]
    if not files:
        yield UpgradedFile(place, error=f"no file in this folder ends in {' or '.join(_SUFFIXES)}")
    for file in files:
        try:
            yield _upgrade_file(file, fix, versions)
        except RecursionError:
            yield UpgradedFile(file, error="left alone: it is nested too deeply to be read")
        except OSError as error:
            yield UpgradedFile(file, error=f"can't be read ({error.strerror}): check the path and its permissions")
        except (SyntaxError, ValueError, DataError) as error:
            yield UpgradedFile(file, error=str(error) or type(error).__name__)


def run_upgrade(paths: Iterable[str | Path], *, fix: bool = False) -> tuple[list[UpgradedFile], int]:
    """Do what the command does.

    Args:
        paths: Notebooks, scripts and folders.
        fix: Rewrite them.

    Returns:
        The reports, and the exit status: 1 if something is left to do or a file could not be read, else 0.
    """
    reports = [report for path in paths for report in upgrade_path(path, fix=fix)]
    return reports, int(any(report.needs_attention for report in reports))


def unified_diff(old: str, new: str, name: str) -> str:
    """Old against new in the form that ``patch`` reads; empty if they are the same.

    >>> print(unified_diff("a = 1", "a = 2", "x.py"))
    --- x.py
    +++ x.py (upgraded)
    @@ -1 +1 @@
    -a = 1
    +a = 2
    """
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, f"{name} (upgraded)", lineterm="")
    return "\n".join(lines)


def _rewritten(code: str, versions: Mapping[str, str] | None) -> tuple[str, list[Finding]]:
    if not _IMPORT.search(code):
        return code, []
    try:
        tree = Tree(code)
    except SyntaxError as error:
        return code, [_not_parsed(error)]
    dues = due_rules(installed_versions() if versions is None else versions)
    for call in tree.all(cst.Call):
        check_call(tree, call, dues)
        check_settings(tree, call, dues)
    check_fields(tree, dues)
    names = find_names(tree)
    check_names(tree, names, dues, lambda name: versions is None and look_up(name).value is not None)
    check_classes(tree, dues)
    check_methods(tree, dues)
    check_options(tree, dues)
    if versions is None:
        check_installed(tree, names, dues)
    return tree.edited(), sorted(tree.found, key=lambda each: each.line)


def _not_parsed(error: SyntaxError) -> Finding:
    return Finding(error.lineno or 1, "not parsed", f"left alone: {error.msg}", "decide", False)


def _upgrade_notebook(text: str, name: str, versions: Mapping[str, str] | None) -> Upgrade:
    cells = read_cells(text)
    findings: list[Finding] = []
    masked: dict[int, tuple[str, list[str]]] = {}
    for cell in cells:
        if is_python(cell.source):
            source, hidden = mask(cell.source)
            try:
                parse(source)
                masked[cell.number] = (source, hidden)
            except SyntaxError as error:
                findings.append(replace(_not_parsed(error), cell=cell.number))
    program = join([(number, source) for number, (source, _) in masked.items()])
    new, found = _rewritten(program, versions)
    findings += [_in_cell(each, program) for each in found]
    findings += _in_shells(cells, versions)
    sources = {number: unmask(source, masked[number][1]) for number, source in split(new).items()}
    changed = {
        cell.number: sources[cell.number] for cell in cells if sources.get(cell.number, cell.source) != cell.source
    }
    findings.sort(key=lambda each: (each.cell or 0, each.line))
    return Upgrade(write_cells(text, cells, changed), tuple(findings), _cell_diffs(cells, changed, name))


def _in_shells(cells: Sequence[Cell], versions: Mapping[str, str] | None) -> Iterator[Finding]:
    dues = due_rules(installed_versions() if versions is None else versions)
    own = "\n".join(cell.source for cell in cells)
    for cell in cells:
        for each in check_shell(shell_lines(cell.source), dues, own=own):
            yield replace(each, cell=cell.number)


def _in_cell(found: Finding, program: str) -> Finding:
    before = program.split("\n")[: found.line]
    start = max(at for at, line in enumerate(before) if line.startswith(CELL_MARK))
    number = int(before[start].removeprefix(CELL_MARK).rstrip("_"))
    return replace(found, line=found.line - start - 1, cell=number)


def _cell_diffs(cells: Iterable[Cell], changed: Mapping[int, str], name: str) -> str:
    pairs = [(cell, changed[cell.number]) for cell in cells if cell.number in changed]
    return "\n".join(unified_diff(cell.source, new, f"{name} cell {cell.number}") for cell, new in pairs)


def _files_in(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [
            each for each in folders if each not in _SKIPPED_FOLDERS and not (here / each / "pyvenv.cfg").exists()
        ]
        yield from (here / each for each in files if each.endswith(_SUFFIXES))


def _upgrade_file(path: Path, fix: bool, versions: Mapping[str, str] | None) -> UpgradedFile:
    if path.suffix not in _SUFFIXES:
        told = _SETTINGS if path.suffix in (".yaml", ".yml", ".json", ".toml") else ""
        raise DataError(f"expected a file that ends in {' or '.join(_SUFFIXES)}, or a folder{told}")
    raw = path.read_bytes()
    marked = "utf-8-sig" if raw.startswith(codecs.BOM_UTF8) else "utf-8"
    encoding = marked if path.suffix == ".ipynb" else tokenize.detect_encoding(BytesIO(raw).readline)[0]
    upgrade = upgrade_source(raw.decode(encoding), filename=str(path), versions=versions)
    new = upgrade.code.encode(encoding)
    if not fix or new == raw:
        return UpgradedFile(path, upgrade.findings, upgrade.diff)
    try:
        write_whole(path, new)
    except OSError as error:  # what was found is told all the same
        reason = f"can't be rewritten ({error.strerror}): check the permissions of the file and its folder"
        return UpgradedFile(path, upgrade.findings, upgrade.diff, error=reason)
    return UpgradedFile(path, upgrade.findings, upgrade.diff, written=True)
