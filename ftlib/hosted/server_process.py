"""A server in a process of its own: started, waited for, and ended, however the process that started it ends."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ftlib.errors import ModelError
from ftlib.hosted.providers import PROVIDERS
from ftlib.loopback import HOST
from ftlib.paths import library_folder

FOLDER_PREFIX = "ftlib-server-"
"""How the temporary folder is called that a server works in."""
_RUNNING = re.compile(rf"running on http://{re.escape(HOST)}:([0-9]+)")
_PARENT_CHECK_SECONDS = 0.5


@contextlib.contextmanager
def running(module: str, arguments: list[str], *, folder: Path, wait_seconds: float) -> Iterator[str]:
    """Run one of the library's modules that serves, for as long as the ``with`` block lasts.

    The module prints "running on http://127.0.0.1:PORT" and then answers at ``/health``. It gets no key.

    Args:
        module: Its name; it is called with this process' number in front of its arguments.
        arguments: Of its command line.
        folder: Where it works.
        wait_seconds: How long it may take until it answers.

    Yields:
        Its port.

    Raises:
        ModelError: It doesn't start; the message holds what it printed.
    """
    process = _start(module, arguments, folder)
    output = _Output(process)
    try:
        yield output.wait_for_port(wait_seconds)
    finally:
        _stop(process)
        output.close()


def end_with_parent(parent: int) -> None:
    """End this process as soon as another one has ended: a server calls it with the number of who started it.

    Not left to the operating system (PR_SET_PDEATHSIG): that is Linux's alone, and follows the thread that started
    the server, which in a notebook may end before the process does.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_SECONDS)
        if Path.cwd().name.startswith(FOLDER_PREFIX):  # nobody else is left to delete it
            shutil.rmtree(Path.cwd(), ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start(module: str, arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, str(os.getpid()), *arguments]
    secrets = {one.key_variable for one in PROVIDERS.values()} | {"HF_TOKEN"}
    environment = {key: value for key, value in os.environ.items() if key not in secrets}
    library = str(library_folder())
    environment |= {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONSAFEPATH": "1",  # the working directory holds a model, and no modules
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH", "")])),
    }
    return subprocess.Popen(  # noqa: S603 (our own module, with arguments that no shell reads)
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # a Ctrl-C is for the caller; the server is stopped in order
    )


class _Output:
    """What the server prints: read all the time, so that it never waits for a reader; the end of it is kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._port: str | None = None
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines = [*self._lines[-50:], line]
            if found := _RUNNING.search(line):
                self._port = found[1]
                self._told.set()
        self._told.set()

    def wait_for_port(self, seconds: float) -> str:
        """Return the port when the server answers there."""
        end = time.monotonic() + seconds
        self._told.wait(seconds)
        if self._told.is_set() and self._port is None:  # it closed its output: it ends, or has ended
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, end - time.monotonic()))
        while self._port and self._process.poll() is None and time.monotonic() < end:
            if _is_healthy(self._port):
                return self._port
            time.sleep(0.05)
        raise ModelError(self._reason(seconds))

    def _reason(self, seconds: float) -> str:
        code = self._process.poll()
        what = f"did not answer within {seconds:g} s" if code is None else f"ended at once (exit status {code})"
        printed = "".join(self._lines[-15:]).strip() or "nothing"
        return f"the local server {what}; raise wait_seconds, or see what it printed:\n{printed}"

    def close(self) -> None:
        self._reader.join(timeout=5)
        if self._process.stdout:
            self._process.stdout.close()


def _is_healthy(port: str) -> bool:
    # Without the environment's proxies: they can't reach this computer's own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[str]) -> None:
    """End the server and whatever it started: first with a request, then without."""
    for sent, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
