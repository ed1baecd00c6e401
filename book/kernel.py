"""Run the cells of a notebook in a kernel, which is a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
import zmq
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

from book.failures import Failure, plain
from book.machine import GIB, Watch

HUNG_SECONDS = 600
"""After so long a silence of a kernel it is taken to hang."""

# A kernel warns of plain text on its sockets, even between two processes of one machine. So they are encrypted.
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto" if zmq.has("curve") else "disabled"}})


@dataclass
class Kernel:
    """Runs one notebook. ``at`` is the code cell that it has come to, counted from 1."""

    threads: int
    cell_seconds: int
    stopping: threading.Event
    watch: Watch
    at: int | None = None

    def run(self, notebook: nbformat.NotebookNode, folder: Path, root: Path) -> Failure | None:
        """Run the cells, whose outputs appear in the notebook, up to the first that fails; return how that failed."""
        client = self._client(notebook)
        variables = {"OMP_NUM_THREADS": str(self.threads), **os.environ}
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as beside:
            try:
                asyncio.run(client.async_execute(cwd=str(folder), env=variables, stderr=beside))
            except CellExecutionError:
                return Failure(self.at, plain(_traceback(notebook), root))
            except CellTimeoutError:
                return Failure(self.at, f"The cell took longer than {self.cell_seconds} s.")
            except Exception as error:  # the kernel did not start, or died: it has many ways
                beside.seek(0)
                return self._death(error, plain(beside.read(), root))
            beside.seek(0)
            sys.stderr.write(beside.read())  # what a cell writes is in its outputs; this came from outside of any
        return None

    def _client(self, notebook: nbformat.NotebookNode) -> NotebookClient:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)

        def started(**_: Any) -> None:
            self.watch.follow(client.km.provisioner.pid)  # type: ignore[union-attr]  # it just started

        def begins(cell_index: int, **_: Any) -> None:
            self.at = sum(cell.cell_type == "code" for cell in notebook.cells[: cell_index + 1])
            if self.stopping.is_set():
                raise DeadKernelError("stopped")

        client = NotebookClient(
            notebook,
            timeout=self.cell_seconds,
            startup_timeout=HUNG_SECONDS,
            iopub_timeout=HUNG_SECONDS,  # for the last outputs of a cell; its four seconds would drop them
            raise_on_iopub_timeout=True,
            record_timing=False,  # it would change the cells' metadata, by which the store finds them
            config=ENCRYPTED,
            on_notebook_start=started,
            on_cell_execute=begins,
        )
        return client

    def _death(self, error: Exception, last_words: str) -> Failure:
        if not isinstance(error, DeadKernelError):
            return Failure(self.at, f"{last_words}\n{type(error).__name__}: {error}".strip())
        used, there = self.watch.peak_bytes / GIB, psutil.virtual_memory().total / GIB
        seen = f"The largest size that was seen is {used:.1f} GiB; this machine has {there:.1f} GiB."
        headline = "the kernel died, most often a sign that memory ran out"
        return Failure(self.at, f"{last_words}\n{headline.capitalize()}. {seen}".strip(), headline)


def _traceback(notebook: nbformat.NotebookNode) -> str:
    """Return the traceback of the cell that ended the execution, without the ruler above it."""
    errors = [one for cell in notebook.cells for one in cell.get("outputs", []) if one.output_type == "error"]
    return "\n".join(line for line in errors[-1].traceback if not re.fullmatch(r"(\x1b\[[0-9;]*m|-)*", line))
