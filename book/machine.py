"""How much of the machine the chapters may use, and how much they used."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import psutil

GIB = 2**30
CHAPTER_BYTES = 7 * GIB // 2  # of two at once: the largest take up to four, with their kernels, the others less
TEST_BYTES = 3 * GIB // 2  # of one process with tests
CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Count the cores that this process may use: its affinity, held to the container's quota."""
    # Windows and macOS have no affinity to ask for.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _text(cgroup / "cpu.max").partition(" ")
    return min(affinity, math.ceil(int(quota) / int(period))) if quota.isdigit() else affinity


def free_bytes(cgroup: Path = CGROUP) -> int:
    """Return the memory that is free, held to what the container's limit leaves."""
    free, limit = int(psutil.virtual_memory().available), _text(cgroup / "memory.max")
    if not limit.isdigit():
        return free
    cache = int(dict(line.split() for line in _text(cgroup / "memory.stat").splitlines()).get("inactive_file", 0))
    return max(0, min(free, int(limit) - int(_text(cgroup / "memory.current") or 0) + cache))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def workers_and_threads(chapters: int, cores: int, memory: int, each: int = CHAPTER_BYTES) -> tuple[int, int]:
    """Share the machine out: how many chapters at once, of so many bytes each, and how many threads for each.

    >>> workers_and_threads(13, cores=2, memory=8 * 2**30)
    (2, 1)
    >>> workers_and_threads(13, cores=8, memory=7 * 2**30)
    (2, 4)
    >>> workers_and_threads(1, cores=2, memory=2**30)
    (1, 2)
    """
    workers = max(1, min(chapters, cores, memory // each))
    return workers, max(1, cores // workers)


def main(what: str) -> None:
    """Print how many of the chapters or of the tests run at once here, and how many threads each may use."""
    each, cores = {"chapters": CHAPTER_BYTES, "tests": TEST_BYTES}[what], usable_cores()
    print(*workers_and_threads(cores, cores, free_bytes(), each))


class Watch:
    """Measure the memory of a process and of all that it starts, and leave none of them behind.

    ``peak_bytes`` is the largest sum of resident sizes that was seen.
    """

    def __init__(self) -> None:
        """Follow nothing yet."""
        self.peak_bytes = 0
        self._seen: set[psutil.Process] = set()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, pid: int) -> None:
        """Look at once, and then five times a second: a short chapter may end before the second look."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            self._look(root)
            self._thread = threading.Thread(target=self._keep_looking, args=(root,), daemon=True)
            self._thread.start()

    def _keep_looking(self, root: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            while not self._done.wait(0.2):
                self._look(root)

    def _look(self, root: psutil.Process) -> None:
        processes = [root, *root.children(recursive=True)]
        self._seen.update(processes)
        self.peak_bytes = max(self.peak_bytes, sum(map(resident_bytes, processes)))

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        end(self._seen, patience=3)


def resident_bytes(process: psutil.Process) -> int:
    """Return the size of a process in memory; 0 for one that is no more."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def end(processes: Iterable[psutil.Process], patience: float) -> None:
    """Wait some seconds for processes to end by themselves, and kill the rest."""
    _, alive = psutil.wait_procs(list(processes), timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=patience)


if __name__ == "__main__":
    main(sys.argv[1])
