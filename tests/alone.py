"""Run chapters alone: each copied into an empty folder, with nothing beside it but the library's wheel.

The environment is a new one and holds Jupyter and PyTorch, as in Colab. The first cell of a chapter installs the rest.
Nothing of this checkout can be imported.

    python tests/alone.py                                three chapters, with this Python
    python tests/alone.py --python python3.12 02 07      others, with another one
    python tests/alone.py --python python3.12 --colab    beside the packages of Colab's image (tests/colab.txt)

PyTorch comes from where pip's settings say: PIP_EXTRA_INDEX_URL can name an index of builds for processors.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
# Data that the library ships; configurations, BLEU and tracking; a table of several models and a server.
CHAPTERS = ("04", "09", "12")
COLAB = ROOT / "tests" / "colab.txt"
# A kernel has imported these, or parts of them, before the first cell runs: another release would need a restart.
RUNNING = (
    "ipykernel",
    "ipython",
    "jupyter_client",
    "jupyter_core",
    "matplotlib",
    "matplotlib-inline",
    "numpy",
    "pandas",
)
RUNNING += ("nest-asyncio", "packaging", "pillow", "protobuf", "psutil", "pyzmq", "requests", "tornado", "traitlets")
OWN = ("FTLIB_", "PYTHON", "VIRTUAL_ENV", "JUPYTER_")


def run(command: list[str | Path], folder: Path, constraints: Path = CONSTRAINTS) -> str:
    """Run a command in a folder, without the variables that would lead back to this checkout or its environment."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    variables |= {"PIP_CONSTRAINT": constraints.as_uri(), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-6000:]}\n==> This failed: {' '.join(map(str, command))}")
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the library's wheel."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*pip, "--wheel-dir", folder, ROOT], folder)
    return next(folder.glob("ftlib-*.whl"))


def make_environment(python: str, folder: Path, colab: bool) -> Path:
    """Make an environment that holds PyTorch and what executes a notebook; return the folder of its programs."""
    run([python, "-m", "venv", folder], folder.parent)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "install", "--quiet"]
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    torch = folder.parent / "torch.txt"
    torch.write_text(next(line for line in lines if line.startswith("torch==")) + "\n", encoding="utf-8")
    run([*pip, "--requirement", torch], folder, torch)
    if colab:
        run([*pip, "--requirement", COLAB], folder, torch)
    else:
        run([*pip, "ipykernel", "nbclient"], folder)
    return programs


def versions(programs: Path, folder: Path) -> dict[str, str]:
    """Return what is installed, by name."""
    listed = run([programs / "python", "-m", "pip", "list", "--format", "freeze"], folder)
    lines = (line.partition("==") for line in listed.splitlines() if "==" in line)
    return {name.lower().replace("_", "-"): version for name, _, version in lines}


def replaced(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """Say which packages have another version now."""
    return {name: f"{version} -> {after.get(name)}" for name, version in before.items() if after.get(name) != version}


def check_kernel(changed: dict[str, str]) -> None:
    """Refuse an installation that takes packages from under the kernel that runs it."""
    print(
        f"==> replaced by the first cell: {', '.join(f'{n} {v}' for n, v in changed.items()) or 'nothing'}", flush=True
    )
    if taken := [f"{one} {changed[one]}" for one in (name.replace("_", "-") for name in RUNNING) if one in changed]:
        raise SystemExit(f"==> the first cell replaces what a kernel has imported: {', '.join(taken)}")


def run_alone(chapter: Path, wheel: Path, programs: Path, folder: Path, constraints: Path) -> None:
    """Copy a chapter and the wheel into an empty folder, and execute it there from its first cell to its last."""
    folder.mkdir()
    for path in (chapter, wheel):
        shutil.copy(path, folder)
    run([programs / "jupyter-execute", "--timeout", "14400", chapter.name], folder, constraints)


def found(numbers: list[str]) -> list[Path]:
    """Return the chapters of these numbers."""
    paths = [next((ROOT / "chapters").glob(f"{number}_*.ipynb"), None) for number in numbers]
    if None in paths:
        raise SystemExit(f"there is no chapter {numbers[paths.index(None)]} in chapters/: give numbers such as 04")
    return [path for path in paths if path]


def main() -> None:
    """Run what was asked for; a chapter that fails ends the program with its error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("chapter", nargs="*", help=f"numbers of chapters; default: {' '.join(CHAPTERS)}")
    parser.add_argument("--python", default=sys.executable, help="makes the environment; default: this one")
    parser.add_argument("--colab", action="store_true", help="with the packages that Colab's image brings")
    chosen = parser.parse_args()
    chapters, began = found(chosen.chapter or list(CHAPTERS)), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ftlib alone ") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        programs = make_environment(chosen.python, folder / "environment", chosen.colab)
        constraints = folder / "torch.txt" if chosen.colab else CONSTRAINTS
        print(
            f"==> {wheel.name} and an environment with PyTorch and Jupyter: {time.monotonic() - began:.0f} s",
            flush=True,
        )
        for chapter in chapters:
            started, before = time.monotonic(), versions(programs, folder)
            run_alone(chapter, wheel, programs, folder / chapter.stem, constraints)
            if chosen.colab:
                check_kernel(replaced(before, versions(programs, folder)))
            print(f"==> {chapter.name} ran alone: {time.monotonic() - started:.0f} s", flush=True)
    print(f"==> {len(chapters)} chapters ran in empty folders, with nothing beside them but the wheel.")


if __name__ == "__main__":
    main()
