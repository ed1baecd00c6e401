"""Execute chapters, several at a time, each in a kernel of its own."""

from __future__ import annotations

import concurrent.futures as futures
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil

from book.chapters import Chapter, UnreadableError, read_notebook
from book.failures import Failure, blank, unreadable, warned
from book.kernel import Kernel
from book.machine import Watch, end


@dataclass(frozen=True)
class Outcome:
    """A chapter after its execution; without a failure, all of its cells ran."""

    chapter: Chapter
    notebook: nbformat.NotebookNode
    seconds: float
    peak_bytes: int
    failure: Failure | None


@dataclass
class Crew:
    """Executes chapters of the course in ``root``, ``workers`` at a time, and says when one begins."""

    root: Path
    workers: int
    threads: int
    cell_seconds: int
    begins: Callable[[Chapter], None]
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, chapters: list[Chapter], ended: Callable[[Outcome], None]) -> None:
        """Execute chapters in this order, and hand over each outcome at the moment when it is there.

        Raises:
            KeyboardInterrupt: After Ctrl-C (or SIGTERM), once the kernels have ended and what succeeded is handed over.
        """
        with futures.ThreadPoolExecutor(self.workers) as pool, _signals_set(self.stopping):
            pending = {pool.submit(self._execute, chapter) for chapter in chapters}
            while pending and not self.stopping.is_set():
                done, pending = futures.wait(pending, timeout=0.5, return_when=futures.FIRST_COMPLETED)
                for future in done:
                    ended(future.result())
            if self.stopping.is_set():
                self._stop(pending)
        if self.stopping.is_set():
            for future in pending:
                if not future.cancelled() and future.result().failure is None:
                    ended(future.result())
            raise KeyboardInterrupt

    def _stop(self, pending: set[futures.Future[Outcome]]) -> None:
        """End the kernels: first as Ctrl-C would, so that cells clean up behind them, then without asking."""
        for future in pending:
            future.cancel()
        family = psutil.Process().children(recursive=True)
        for kernel in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):  # ValueError: Windows has no such signal
                kernel.send_signal(signal.SIGINT)
        futures.wait(pending, timeout=5)
        end(family, patience=0)

    def _execute(self, chapter: Chapter) -> Outcome:
        """Execute a chapter; whatever goes wrong with it is part of the outcome."""
        self.begins(chapter)
        started = time.perf_counter()
        failure: Failure | None
        with Watch() as watch:
            try:
                notebook = read_notebook(chapter.path)
            except UnreadableError as error:
                notebook, failure = blank(chapter), unreadable(error, self.root)
            else:
                kernel = Kernel(self.threads, self.cell_seconds, self.stopping, watch)
                failure = kernel.run(notebook, chapter.path.parent, self.root) or warned(notebook, self.root)
        return Outcome(chapter, notebook, time.perf_counter() - started, watch.peak_bytes, failure)


@contextlib.contextmanager
def _signals_set(event: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM set an event, so that they come between two steps and never amid one."""
    before = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
