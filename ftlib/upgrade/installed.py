"""What the installed libraries accept: versions, names and signatures."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import inspect
import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import zip_longest
from types import ModuleType
from typing import Any

import libcst as cst

from ftlib.compat.translate import Release
from ftlib.upgrade.arguments import by_keyword
from ftlib.upgrade.calls import Due, is_guarded
from ftlib.upgrade.names import Names
from ftlib.upgrade.rule import PACKAGES, is_ours, short_name
from ftlib.upgrade.rules import RULES
from ftlib.upgrade.syntax import code_of
from ftlib.upgrade.tree import Tree
from ftlib.upgrade.unpacked import unpacked


@functools.cache
def installed_versions() -> Mapping[str, str]:
    """Versions of the libraries that are installed here."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def due_rules(versions: Mapping[str, str]) -> list[Due]:
    """The rules that these versions call for; a library that isn't there counts as the newest.

    >>> [due.works for due in due_rules({"transformers": "4.57.1"}) if due.rule.old == "no_cuda"]
    [True]
    """
    dues = []
    for rule in RULES:
        here = Release(versions.get(rule.package, "9999"), ())
        works = not rule.gone_by or here.is_before(rule.gone_by)
        dues.append(Due(rule, works, not here.is_before(rule.since) if rule.since else not works))
    return dues


def check_installed(tree: Tree, names: Names, dues: Collection[Due]) -> None:
    """Hold names and keywords that no rule is about against the installed libraries."""
    known = [due.rule.old for due in dues if due.rule.kind in ("moved", "gone")]
    for place, name in names.needed:
        looked_up = look_up(name)
        if looked_up.reason and not any(fnmatchcase(short_name(name), each) for each in known):
            tree.say(place, "no rule", f"{name}: {looked_up.reason}", level="decide" if looked_up.gone else "note")
    for call in tree.all(cst.Call):
        called = tree.imported(call.func)
        if called is not None and is_ours(called) and not is_guarded(tree, call):
            _check_keywords(tree, call, called, dues)


@dataclass(frozen=True)
class LookUp:
    """What a name stands for in the installed libraries.

    Attributes:
        value: The object; ``None`` if it isn't there.
        gone: The library is installed and has no such name.
        reason: Why there is no object.
    """

    value: Any = None
    gone: bool = False
    reason: str = ""


@functools.cache
def look_up(name: str) -> LookUp:
    """Import what a full name stands for.

    >>> look_up("datasets.load_dataset").value.__name__, look_up("datasets.load_datasets").reason
    ('load_dataset', 'the installed datasets has no load_datasets; did you mean load_dataset?')
    """
    root, *rest = name.split(".")
    if root not in installed_versions():
        return LookUp(reason=f"can't be checked, since {root} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a library says while it is imported is not about the program
        try:
            return _descend(importlib.import_module(root), root, rest)
        except (ImportError, RuntimeError, OSError) as error:
            return LookUp(reason=f"can't be checked here: {str(error).strip().splitlines()[0]}")


def _descend(value: Any, path: str, rest: list[str]) -> LookUp:
    for part in rest:
        inner = getattr(value, part, None)
        if inner is None and isinstance(value, ModuleType):
            inner = _submodule(f"{path}.{part}")
        if inner is None:
            near = _meant(part, dir(value))
            hint = f"; did you mean {near}?" if near else ""
            return LookUp(gone=True, reason=f"the installed {path} has no {part}{hint}")
        value, path = inner, f"{path}.{part}"
    return LookUp(value)


def _meant(name: str, known: Iterable[str]) -> str:
    # What a slip of the keyboard was to be: one long word may differ a little, a number or a short word not at all.
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.9)
    pairs = list(zip_longest(_words(name), _words(near[0]), fillvalue="")) if near else []
    differing = [(one, other) for one, other in pairs if one != other]
    alike = all(min(len(one), len(other)) > 4 and one[0] == other[0] for one, other in differing)
    return near[0] if near and alike and len(differing) == 1 else ""


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)


def _submodule(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _check_keywords(tree: Tree, call: cst.Call, name: str, dues: Collection[Due]) -> None:
    accepted = _keywords(look_up(name).value)
    target = tree.target(call)
    if accepted is None or target is None:
        return
    rules = [due.rule for due in dues if due.rule.applies_to(target.name)]
    covered = {each for rule in rules for each in (rule.old, *(rule.values if rule.kind == "config" else ()))}
    given = by_keyword(call)
    brought = unpacked(tree, call).keys
    for keyword in [*given, *sorted(set(brought) - set(given))]:
        if keyword not in accepted and keyword not in covered:
            near = _meant(keyword, accepted)
            text = f"the installed {code_of(call.func)} has no argument {keyword}"
            tree.say(given.get(keyword, call), "no rule", text + (f": did you mean {near}?" if near else ""))


def _keywords(value: Any) -> list[str] | None:
    # None where any keyword is taken, or where that can't be told.
    if inspect.isclass(value) and hasattr(value.__init__, "__wrapped__"):
        return None  # what stands around it may take more: a model's configuration takes any keyword
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    return [each.name for each in parameters if each.kind is not each.POSITIONAL_ONLY]
