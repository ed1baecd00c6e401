"""Arguments of one release, said in the words of another: pure functions over :mod:`ftlib.compat.api_changes`."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from packaging.version import Version

from ftlib.compat.api_changes import Rename
from ftlib.errors import FtlibError


class CompatError(FtlibError):
    """The installed transformers has no such argument, or can't do what it asks for."""


class Release(NamedTuple):
    """A release of transformers, as far as arguments tell it from others.

    Attributes:
        version: ``"5.23.0"``.
        known: The names it takes.
    """

    version: str
    known: Collection[str]

    def is_before(self, version: str) -> bool:
        """Say whether this release is older than another.

        A release candidate counts as the release that it is to become.

        >>> Release("4.41.2", ()).is_before("4.46"), Release("5.23.0", ()).is_before("5.4")
        (True, False)
        >>> Release("5.0.0rc1", ()).is_before("5.0"), Release("5.0", ()).is_before("5.0.0")
        (False, False)
        """
        return Version(Version(self.version).base_version) < Version(version)


class Change(NamedTuple):
    """What became of one argument: its name in the installed release (None: it has none), the value, and why."""

    name: str | None
    value: Any
    reason: str


def translate_arguments(
    names: Mapping[str, Any], rows: Iterable[Rename], release: Release
) -> tuple[dict[str, Any], dict[str, Change]]:
    """Turn arguments of any release into those of one.

    Args:
        names: Arguments and their values; left as they are.
        rows: What is known about renames.
        release: The release to translate for.

    Returns:
        The arguments for the release, and what happened to each name that it doesn't take as it was given.

    Raises:
        CompatError: No release knows a name, two names mean the same but say different things, or the release can't
            do what is asked.

    >>> from ftlib.compat.api_changes import TRAINING_ARGUMENTS
    >>> today = Release("5.23.0", {"eval_strategy"})
    >>> translate_arguments({"evaluation_strategy": "epoch"}, TRAINING_ARGUMENTS, today)[0]
    {'eval_strategy': 'epoch'}
    """
    rows = list(rows)
    result: dict[str, Any] = {}
    changes: dict[str, Change] = {}
    for name, value in names.items():
        change = _change(name, value, rows, release)
        if change:
            changes[name] = change
        target, value = (change.name, change.value) if change else (name, value)
        if target is not None:
            result[target] = _agreed(result[target], value, (name, target)) if target in result else value
    return {name: value for name, value in result.items() if value is not None or name in names}, changes


def _change(name: str, value: Any, rows: list[Rename], release: Release) -> Change | None:
    for row in rows:
        if row.old == name and _takes(release, row):
            only = f" and the only one since {row.gone}" if row.gone else ""
            return Change(row.new, row.forward(value), f"its name since {row.since}{only}: {row.reason}")
        if row.old == name and row.new is None and name not in release.known:
            return Change(None, value, f"gone since {row.gone}: {row.reason}")
        if row.new == name and not _takes(release, row, value):
            return _reverse(row, value, release)
    if name in release.known:
        return None
    everything = {*release.known, *(other for row in rows for other in (row.old, row.new) if other)}
    near = difflib.get_close_matches(name, sorted(everything), n=1)
    hint = f": did you mean {near[0]!r}?" if near else ""
    raise CompatError(f"no release of transformers that ftlib knows has an argument {name!r}{hint}")


def _takes(release: Release, row: Rename, value: Any = None) -> bool:
    """Say whether a release understands a row's new name, and this value for it."""
    if row.new is None or row.new not in release.known:
        return False
    is_strange = row.in_new_sense is not None and (value is None or row.in_new_sense(value))
    return not (is_strange and row.since and release.is_before(row.since))


def _reverse(row: Rename, value: Any, release: Release) -> Change:
    if row.old is not None and row.old in release.known:
        try:
            return Change(row.old, row.backward(value), f"its name before {row.since}: {row.reason}")
        except (KeyError, ValueError) as error:
            raise CompatError(
                f"{row.new}={value!r} needs transformers {row.since} or later; {release.version} is installed, and "
                f"its {row.old} has no such choice"
            ) from error
    if row.needed:
        raise CompatError(
            f"{row.new} needs transformers {row.since} or later, and without it the training would be another one: "
            f"{release.version} is installed"
        )
    return Change(None, value, f"new in {row.since}: {row.reason}")


def _agreed(first: Any, second: Any, names: tuple[str, str]) -> Any:
    """Join what two names say about one argument."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first | second
    if not first or not second or first == second:
        return first or second
    raise CompatError(f"{names[0]} and {names[1]} mean the same, but say {second!r} and {first!r}: give one of them")
