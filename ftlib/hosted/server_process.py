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
from typing import IO

from ftlib.errors import ModelError
from ftlib.hosted.providers import PROVIDERS
from ftlib.loopback import HOST
from ftlib.paths import library_folder

FOLDER_PREFIX = "ftlib-server-"
"""How the temporary folder is called that a server works in."""
_RUNNING = re.compile(rf"running on http://{re.escape(HOST)}:([0-9]+)\s")
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
    printed = folder / ".printed"  # no name of a model begins with a dot
    with printed.open("wb") as output:
        process = _start(module, arguments, folder, output)
    try:
        yield _wait_for_port(process, printed, wait_seconds)
    finally:
        _stop(process)


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


def _start(module: str, arguments: list[str], folder: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
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
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C is for the caller; the server is stopped in order
    )


def _wait_for_port(process: subprocess.Popen[bytes], printed: Path, seconds: float) -> str:
    """Return the port when the server answers there."""
    end = time.monotonic() + seconds
    while (code := process.poll()) is None and time.monotonic() < end:
        told = _RUNNING.search(printed.read_text(encoding="utf-8", errors="replace"))
        if told and _is_healthy(told[1]):
            return told[1]
        time.sleep(0.05)
    what = f"did not answer within {seconds:g} s" if code is None else f"ended at once (exit status {code})"
    lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    last = "\n".join(lines).strip() or "nothing"
    raise ModelError(f"the local server {what}; raise wait_seconds, or see what it printed:\n{last}")


def _is_healthy(port: str) -> bool:
    # Without the environment's proxies: they can't reach this computer's own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it started: first with a request, then without."""
    for sent, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
