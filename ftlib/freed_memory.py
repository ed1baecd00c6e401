"""Memory that was freed, back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


def return_freed_memory() -> None:
    """Hand memory that is free back to the system, where the C library would keep it for later.

    The activations of a step, and the keys and values of an answer, come and go in blocks of many sizes. glibc keeps
    the gaps between the blocks that stay: after a training of smollm2 that is a gigabyte or more, after twenty answers
    to long prompts a third of one, in which nobody else can hold a second model. Where the C library has no such call,
    nothing happens.

    >>> return_freed_memory()
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def returning_freed_memory() -> Iterator[None]:
    """Decorate a function, so that it hands back what it has freed when it is done and its own variables are gone."""
    try:
        yield
    finally:
        return_freed_memory()
