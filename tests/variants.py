"""The variants of a machine that ``tests/machines.py`` tries, and how each of them is set up here."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.course import ROOT

USER = "nobody"


class NotHereError(Exception):
    """A variant can't be set up on this machine; the message says why."""


class Variant(NamedTuple):
    """What one variant changes; everything else is as in ``make test``."""

    says: str
    variables: Mapping[str, str | None] = MappingProxyType({})  # None: taken away
    folder: str = ""  # of the course's copy; empty: where the course is
    user: str = ""  # whose processes these are; empty: the caller's
    cores: int = 0  # 0: all that there are
    loops: int = 0  # that keep a processor busy beside the tests
    ports: tuple[int, ...] = ()  # taken by somebody else
    runs: int = 1  # at once


C_LOCALE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None}
# The Chatham Islands, 12:45 or 13:45 before UTC. Written out: no table of time zones is needed.
CHATHAM = {"TZ": "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45"}
_NO_PROXY = dict.fromkeys(("NO_PROXY", "no_proxy"))
PROXY = {**dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"), **_NO_PROXY}
COLOUR = {"FORCE_COLOR": "1", "COLUMNS": "40"}
_PORTS = (7860, 8000)
# Whoever owns the folder, and whatever somebody leaves out everywhere.
GIT = ("git", "-c", "safe.directory=*", "-c", "core.excludesFile=")
_SSE = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
}
_THREADS = {"OMP_NUM_THREADS": None}
VARIANTS = {
    "path": Variant("a space and an umlaut in the path", folder="Kurs für alle"),
    "lang-c": Variant("LANG=C, and Python without its UTF-8 mode", C_LOCALE),
    "time-zone": Variant("12:45 or 13:45 hours before UTC", CHATHAM),
    "not-root": Variant("not root, and a home that can't be written", folder="course", user=USER),
    "ports-taken": Variant("ports 7860 and 8000 are taken", ports=_PORTS),
    "default-isa": Variant("no vector instructions beyond SSE", _SSE),
    "avx2": Variant(
        "AVX2, so no bfloat16 instructions",
        {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
        },
    ),
    "proxy": Variant("a proxy that isn't there; colours, and lines of 40 letters", PROXY | COLOUR),
    "threads-1": Variant("one thread, one core", {"OMP_NUM_THREADS": "1"}, cores=1),
    "threads-all": Variant("a thread for each core", _THREADS),
    "busy": Variant("two busy loops beside it", loops=2),
    "two-at-once": Variant("two runs at once", runs=2),
    # Several in one. The first is CI's. No umlaut: without UTF-8, tokenizers can't open a file in such a folder.
    "foreign": Variant(
        "a space in the path, LANG=C, another time zone, two ports taken, a proxy, colours",
        C_LOCALE | CHATHAM | PROXY | COLOUR,
        folder="a course",
        ports=_PORTS,
    ),
    "stranger": Variant(
        "not root, no home to write to, two ports taken, no vectors beyond SSE, a thread for each core",
        _SSE | _THREADS,
        folder="course",
        user=USER,
        ports=_PORTS,
    ),
}
COMBINED = ("foreign", "stranger")  # not among those that run by default: their parts are


class Machine(NamedTuple):
    """Where and how a variant's processes run."""

    variant: Variant
    folder: Path
    python: Path
    prefix: tuple[str, ...]
    variables: dict[str, str]


@contextlib.contextmanager
def machine(variant: Variant) -> Iterator[Machine]:
    """Set a variant's machine up, and take it down again.

    Raises:
        NotHereError: It can't be had here; the message says why.
    """
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="machine-", ignore_cleanup_errors=True)))
        variables = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        variables |= {"FTLIB_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}  # as in the Makefile
        variables = {**os.environ, **variables, **variant.variables}
        folder, python = ROOT, Path(sys.executable)
        if variant.folder:
            folder, python = copy_course(scratch / variant.folder)
        if variant.user:
            variables |= give_to(variant.user, scratch)
        kept = {name: value for name, value in variables.items() if value is not None} | {"PYTHONPATH": str(folder)}
        for port in variant.ports:
            stack.enter_context(taken(port))
        for _ in range(variant.loops):
            stack.enter_context(busy_loop())
        prefix = prefix_of(variant, python)
        if variant.folder:  # as the Makefile does after an installation
            kept["MPLCONFIGDIR"] = str(folder / ".venv" / "matplotlib")
            subprocess.run([*prefix, str(python), "-c", "import matplotlib.font_manager"], env=kept, check=True)
        yield Machine(variant, folder, python, prefix, kept)


def course_files() -> list[str]:
    """List the files that git knows or would take.

    Raises:
        NotHereError: This is no checkout, but a copy without git's own folder.
    """
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        raise NotHereError("this folder is no git checkout: clone the repository")
    listed = subprocess.run(
        [*GIT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split("\0")
    return sorted(name for name in set(listed) if name and (ROOT / name).is_file())


def copy_course(folder: Path) -> tuple[Path, Path]:
    """Copy the course into a folder that git knows, with an environment of its own that shares our packages."""
    for name in course_files():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place)
    for command in ([*GIT, "init", "--quiet"], [*GIT, "add", "--all"]):
        subprocess.run(command, cwd=folder, check=True)
    made = [sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")]
    subprocess.run(made, check=True)
    shared = [path for path in map(Path, sys.path) if path.name == "site-packages"]
    (own,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    # addsitedir, unlike a bare path, follows the .pth files that it finds there.
    lines = [f"import site; site.addsitedir({str(path)!r})\n" for path in shared]
    (own / "shared.pth").write_text("".join(lines), encoding="utf-8")
    return folder, folder / ".venv" / "bin" / "python"


def give_to(user: str, scratch: Path) -> dict[str, str]:
    """Give a user all of a folder but the home in it; return the variables that name user and home."""
    if os.geteuid() != 0:
        raise NotHereError("only root can start processes of another user")
    subprocess.run(["chown", "--recursive", user, str(scratch)], check=True)
    home = scratch / "home"
    home.mkdir(mode=0o555)
    return {"HOME": str(home), "USER": user, "LOGNAME": user}


def prefix_of(variant: Variant, python: Path) -> tuple[str, ...]:
    """Return what stands in front of every command."""
    prefix: tuple[str, ...] = ()
    if variant.cores:
        allowed = sorted(os.sched_getaffinity(0))[: variant.cores]
        prefix += ("taskset", "--cpu-list", ",".join(map(str, allowed)))
    if variant.user:
        plain = ("setpriv", f"--reuid={variant.user}", "--regid=nogroup", "--clear-groups")
        # Where Python lies in a folder that is closed to others, the right to read every file comes with the user.
        readers = (*plain, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        again = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import torch'], check=True)"
        for tried in (plain, readers):
            done = subprocess.run(
                [*tried, str(python), "-c", again], capture_output=True, encoding="utf-8", check=False
            )
            if not done.returncode:
                return (*prefix, *tried)
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise NotHereError(f"the user {variant.user} can't run {python}: {reason}")
    return prefix


@contextlib.contextmanager
def taken(port: int) -> Iterator[None]:
    """Take a port of this computer, unless somebody has it already."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            listener.listen()
        yield


@contextlib.contextmanager
def busy_loop() -> Iterator[subprocess.Popen[bytes]]:
    """Keep a processor busy; the loop ends with this process, however that ends."""
    code = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            yield process
        finally:
            process.kill()
