"""What pydantic found wrong in a configuration, in one line that helps."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from ftlib.nearest import nearest, one_of


def explain(error: ValidationError, top: type[BaseModel], source: str) -> str:
    """Put what pydantic found into one line: where, what, and the nearest name for a key that is unknown.

    Args:
        error: What pydantic raised.
        top: The class that it checked.
        source: Where the values come from.
    """
    lines = []
    for fault in error.errors():
        path = [part for part in fault["loc"] if isinstance(part, str)]
        where = ".".join(str(part) for part in fault["loc"]) or "the whole"
        message = _uncapitalized(fault["msg"].removeprefix("Value error, "))
        if fault["type"] == "extra_forbidden":
            lines.append(f"unknown key {where!r}; {_meant(top, path)}")
        elif fault["type"] == "literal_error" and not _is_secret(path):
            choices = [one.strip("'") for one in re.split(r", | or ", fault["ctx"]["expected"])]
            lines.append(f"{where}: unknown {fault['input']!r}; {one_of(fault['input'], choices)}")
        elif fault["type"] == "model_type":
            lines.append(f"{where}: is a section: keys such as '{_fields_at(top, path)[0]}:' stand below it")
        elif isinstance(fault["input"], str | int | float) and not _is_secret(path):
            lines.append(f"{where}: {message} (found {fault['input']!r})")
        else:  # a whole section is long, and may hold a key
            lines.append(f"{where}: {message}")
    return f"{source}: " + "; ".join(lines)


def _meant(top: type[BaseModel], path: Sequence[str]) -> str:
    """Say which key was probably meant: one of the same section, or one of another section."""
    names = _fields_at(top, path[:-1])
    near = nearest(path[-1], names)
    if near is None:
        sections = {name: _fields_at(top, [name]) for name in top.model_fields if _is_section(top, name)}
        everywhere = {key: f"{name}.{key}" for name in reversed(sections) for key in sections[name]}
        everywhere |= {name: name for name in top.model_fields}
        elsewhere = nearest(path[-1], everywhere, cutoff=0.8)
        near = everywhere[elsewhere] if elsewhere else None
    return f"did you mean {near!r}?" if near else f"expected one of {', '.join(names)}"


def _is_section(top: type[BaseModel], name: str) -> bool:
    found = top.model_fields[name].annotation
    return any(isinstance(one, type) and issubclass(one, BaseModel) for one in (found, *getattr(found, "__args__", ())))


def _uncapitalized(text: str) -> str:
    """Begin with a small letter, unless the first word is in capitals."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _is_secret(path: Sequence[str]) -> bool:
    return bool(path) and path[-1] in ("api", "api_key")


def _fields_at(section: type[BaseModel], path: Sequence[str]) -> list[str]:
    for name in path:
        found = section.model_fields[name].annotation
        options = [found, *getattr(found, "__args__", ())]
        section = next(one for one in options if isinstance(one, type) and issubclass(one, BaseModel))
    return list(section.model_fields)
