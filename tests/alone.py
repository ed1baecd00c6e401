"""Run chapters alone: each copied into an empty folder, with nothing beside it but the library's wheel.

The environment is a new one and holds Jupyter and PyTorch, as in Colab. The first cell of a chapter installs the rest.
Nothing of this checkout can be imported.

    python tests/alone.py                                three chapters, with this Python
    python tests/alone.py --python python3.12 02 07      others, with another one

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
OWN = ("FTLIB_", "PYTHON", "VIRTUAL_ENV", "JUPYTER_")


def run(command: list[str | Path], folder: Path) -> None:
    """Run a command in a folder, without the variables that would lead back to this checkout or its environment."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    variables |= {"PIP_CONSTRAINT": str(CONSTRAINTS), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-6000:]}\n==> This failed: {' '.join(map(str, command))}")


def build_wheel(folder: Path) -> Path:
    """Build the library's wheel."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*pip, "--wheel-dir", folder, ROOT], folder)
    return next(folder.glob("ftlib-*.whl"))


def make_environment(python: str, folder: Path) -> Path:
    """Make an environment that holds PyTorch and what executes a notebook; return the folder of its programs."""
    run([python, "-m", "venv", folder], folder.parent)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    torch = next(line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    run([programs / "python", "-m", "pip", "install", "--quiet", torch, "ipykernel", "nbclient"], folder)
    return programs


def run_alone(chapter: Path, wheel: Path, programs: Path, folder: Path) -> None:
    """Copy a chapter and the wheel into an empty folder, and execute it there from its first cell to its last."""
    folder.mkdir()
    for path in (chapter, wheel):
        shutil.copy(path, folder)
    run([programs / "jupyter-execute", "--timeout", "1800", chapter.name], folder)


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
    chosen = parser.parse_args()
    chapters, began = found(chosen.chapter or list(CHAPTERS)), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ftlib alone ") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        programs = make_environment(chosen.python, folder / "environment")
        print(
            f"==> {wheel.name} and an environment with PyTorch and Jupyter: {time.monotonic() - began:.0f} s",
            flush=True,
        )
        for chapter in chapters:
            started = time.monotonic()
            run_alone(chapter, wheel, programs, folder / chapter.stem)
            print(f"==> {chapter.name} ran alone: {time.monotonic() - started:.0f} s", flush=True)
    print(f"==> {len(chapters)} chapters ran in empty folders, with nothing beside them but the wheel.")


if __name__ == "__main__":
    main()
