"""What each extra of ftlib asks for, and which of it is installed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ftlib.cli.check import Check, Status

NEEDED = ("", "train", "eval")
"""The extras without which no chapter runs; the empty one stands for what comes with ftlib itself."""
COURSE_EXTRAS = (*NEEDED, "smollm2", "export", "serving", "hosted", "chat", "tracking", "upgrade", "chapters", "course")
_IMPORTED_AS = {"yaml": "pyyaml"}  # where the module isn't called like its package


def requirements() -> list[Requirement]:
    """Return what the installed ftlib asks for, in all its extras; nothing where it isn't installed."""
    try:
        told = importlib.metadata.requires("ftlib") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [one for one in map(Requirement, told) if one.name != "ftlib"]  # an extra may ask for others of its own


def check_packages(wanted: Iterable[Requirement]) -> list[Check]:
    """Compare what each extra needs on this machine with what is installed."""
    wanted = list(wanted)
    if not wanted:
        return [Check("ftlib", "broken", "not installed", "pip install -e . in the folder of the course")]
    checks: list[Check] = []
    seen: set[str] = set()
    for extra in COURSE_EXTRAS:
        needs = [one for one in wanted if _asks_for(extra, one) and one.name not in seen]
        seen.update(one.name for one in needs)
        if needs:
            checks.append(_check_extra(extra, needs))
    return checks


def _asks_for(extra: str, package: Requirement) -> bool:
    if not extra:
        return package.marker is None
    return package.marker is not None and package.marker.evaluate({"extra": extra})


def _check_extra(extra: str, needs: list[Requirement]) -> Check:
    versions = {one.name: installed_version(one.name) for one in needs}
    missing = [name for name, version in versions.items() if version is None]
    other = [one for one in needs if (has := versions[one.name]) and not one.specifier.contains(has, prereleases=True)]
    name = f"extra {extra}" if extra else "always needed"
    if not missing and not other:
        return Check(name, "ok", ", ".join(f"{package} {version}" for package, version in versions.items()))
    told = [f"missing: {', '.join(missing)}"] if missing else []
    told += [f"{one.name} {versions[one.name]} is not {one.specifier}" for one in other]
    status: Status = "broken" if extra in NEEDED else "note"
    return Check(name, status, "; ".join(told), install_extra(extra))


def install_command(module: str) -> str | None:
    """Return how to install what a module belongs to, if an extra of ftlib brings it.

    Args:
        module: As it is imported, such as ``"gradio"``.
    """
    top = module.partition(".")[0]
    package = canonicalize_name(_IMPORTED_AS.get(top, top))
    asked = [one for one in requirements() if canonicalize_name(one.name) == package]
    return next((install_extra(extra) for extra in COURSE_EXTRAS if any(_asks_for(extra, one) for one in asked)), None)


def install_extra(extra: str) -> str:
    """Return the command that installs an extra.

    >>> install_extra("chat"), install_extra("")
    ("pip install 'ftlib[chat]'", 'pip install ftlib')
    """
    return f"pip install 'ftlib[{extra}]'" if extra else "pip install ftlib"


def installed_version(package: str) -> str | None:
    """Return which version of a package is installed, if any is."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
