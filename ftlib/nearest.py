"""The name that was probably meant: of whatever a person types, and in every message the same way."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like another, capitals aside; None if none is like it.

    Args:
        name: What was typed.
        known: What could have been meant.
        cutoff: How much alike they must be, from 0 to 1.

    >>> nearest("ChatLM", ["plain", "chatml"])
    'chatml'
    """
    smaller = {one.lower(): one for one in reversed(list(known))}
    found = difflib.get_close_matches(str(name).lower(), smaller, n=1, cutoff=cutoff)
    return smaller[found[0]] if found else None


def did_you_mean(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return a question to end a message with, and a space in front; nothing if no known name is like it.

    >>> did_you_mean("runs/faqq", ["runs/faq", "nano"])
    " Did you mean 'runs/faq'?"
    """
    found = nearest(name, known, cutoff=cutoff)
    return f" Did you mean {found!r}?" if found else ""


def and_ask(name: object, known: Iterable[str]) -> str:
    """Return the same question as a second sentence, behind a first that has no full stop yet.

    >>> "no split 'tets': it has test" + and_ask("tets", ["test"])
    "no split 'tets': it has test. Did you mean 'test'?"
    """
    question = did_you_mean(name, known)
    return f".{question}" if question else ""


def one_of(name: object, known: Iterable[str]) -> str:
    """Say what could have been given instead of a name, the most likely one last.

    >>> one_of("ada", ["adamw", "sgd"])
    "expected one of adamw, sgd; did you mean 'adamw'?"
    >>> one_of("lion", ["adamw", "sgd"])
    'expected one of adamw, sgd'
    """
    names = list(known)
    found = nearest(name, names)
    return f"expected one of {', '.join(names)}" + (f"; did you mean {found!r}?" if found else "")


def beside(path: Path) -> Iterator[str]:
    """Name what lies in the folder in which a path that isn't there would lie, each as a path.

    A folder on the way that is misspelt itself counts too: of ``rusn/faq`` the names beside ``rusn`` are given.
    """
    folder = path.parent
    if not folder.is_dir() and folder != folder.parent:
        yield from (str(Path(one) / path.name) for one in beside(folder) if (Path(one) / path.name).exists())
        return
    try:
        yield from sorted(str(folder / entry.name) for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:  # a folder that can't be read gives no names
        return
