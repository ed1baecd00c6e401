"""Memory that PyTorch and the C library would keep for later: bounded, and handed back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
KEPT_KERNELS = 64
"""So many compiled kernels are kept: more than a step of a language model has shapes."""
_STATUS = Path("/proc/self/status")
_HIGH_WATER_MARK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


def peak_bytes() -> int:
    """Return the most memory that this process has held at once, in bytes (its largest resident set).

    Linux hands ``ru_maxrss`` on to a program that is started: it would begin at what its parent held. So the kernel is
    asked for the mark of this program itself.

    >>> peak_bytes() > 2**20
    True
    """
    if told := _STATUS.exists() and _HIGH_WATER_MARK.search(_STATUS.read_text(encoding="utf-8")):
        return 1024 * int(told[1])
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


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


def bound_kernel_caches() -> None:
    """Let oneDNN keep few compiled kernels, unless somebody has said how many.

    It compiles one for each new shape of a product in bfloat16, and PyTorch and oneDNN keep 1,024 each. Where each
    batch is as wide as its longest row, shapes are new nearly every time: 30 steps of smollm2 left 0.3 GiB behind, and
    with :data:`KEPT_KERNELS` nothing, in the same time (measured in November 2026, PyTorch 2.13). There is no other way
    to say so than two variables of this process, which count at the first such product.
    """
    for variable in _KERNEL_CACHES:
        os.environ.setdefault(variable, str(KEPT_KERNELS))


@contextlib.contextmanager
def sparing_memory() -> Iterator[None]:
    """Decorate a function: few kernels are kept, and when its own variables are gone, what it freed is handed back."""
    bound_kernel_caches()
    try:
        yield
    finally:
        return_freed_memory()
