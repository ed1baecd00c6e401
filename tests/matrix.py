"""Run the tests that depend on transformers, and chapter 8, against several of its releases.

Each release gets an environment of its own in ``.matrix/``, made once and again whenever its list of packages changes;
``pinned`` is the environment that runs this file.

    python tests/matrix.py                              every release
    python tests/matrix.py 4.41.2 pinned --no-chapter   two of them, and only the tests
    python tests/matrix.py 4.41.2 --prepare             its environment, and no test
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import venv
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "tests" / "matrix"
PINNED = "pinned"
TESTS = (
    "compat/test_translate.py",
    "compat/test_trainer.py",
    "compat/test_utilities.py",
    "estimate/test_throughput.py",
    "models/test_smollm2.py",
    "training/test_engines.py",
    "training/test_loop.py",
)
CHAPTER = "chapters/08_training_pythia_70m.ipynb"
# Warnings of old releases can't be mended here, so they are no errors here.
PYTEST = ("-m", "pytest", "-q", "-o", "addopts=", "-o", "filterwarnings=default", "-p", "no:cacheprovider")
ONLY_ITS_ENGINES = ("-k", "not trl and not lightning")  # TRL and Lightning have releases of their own
NBVAL = ("--nbval-current-env", "--nbval-cell-timeout", "14400")


class Result(NamedTuple):
    """What one run of pytest gave."""

    release: str
    what: str
    outcome: str
    seconds: float
    failed: bool


def releases() -> list[str]:
    """Name the releases that have a list of packages, the oldest first, and then the pinned one."""
    found = [path.stem.removeprefix("transformers-") for path in LISTS.glob("transformers-*.txt")]
    return [*sorted(found, key=lambda release: [int(part) for part in release.split(".")]), PINNED]


def environment(release: str, *, with_chapter: bool, console: Console) -> Path:
    """Return the Python of a release's environment, once all of its packages are in it."""
    if release == PINNED:
        return Path(sys.executable)
    folder, lists = ROOT / ".matrix" / release, ["tests", f"transformers-{release}"]
    # torch alone and first, so that nothing else chooses a build of it.
    steps = [[torch_pin()], *(["--requirement", str(LISTS / f"{name}.txt")] for name in lists)]
    steps += [["--requirement", str(LISTS / "chapter.txt")]] if with_chapter else []
    keys = [Path(step[-1]).read_text(encoding="utf-8") if len(step) > 1 else step[0] for step in steps]
    record = folder / "installed.json"
    installed = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []
    if installed[:3] != keys[:3]:
        console.print(f"==> Making .matrix/{release}")
        venv.create(folder, clear=True, with_pip=False)
        installed = []
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", "--no-compile"]
    missing = [step for step, key in zip(steps, keys, strict=True) if key not in installed]
    if missing[:1] == steps[:1]:
        run([*pip, *missing.pop(0)], check=True)
    if missing:
        run([*pip, *chain.from_iterable(missing)], check=True)
    record.write_text(json.dumps([*installed, *(key for key in keys if key not in installed)]), encoding="utf-8")
    return folder / "bin" / "python"


def torch_pin() -> str:
    """Return the line of constraints.txt that pins torch."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def run(command: list[str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command in the course's folder, offline as far as the Hub goes; its output is kept."""
    variables = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, encoding="utf-8")
    if check and done.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{done.stderr[-3000:]}")
    return done


def outcome_of(release: str, what: str, command: list[str], console: Console) -> Result:
    """Run pytest, show the end of its output if it fails, and sum it up."""
    started = time.perf_counter()
    done = run(command)
    counts = re.findall(r"\d+ (?:passed|failed|skipped|error)s?", done.stdout.strip().rpartition("\n")[2])
    if done.returncode:
        console.print(f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}", markup=False, highlight=False)
    outcome = ", ".join(counts) or f"pytest ended with {done.returncode}"
    return Result(release, what, outcome, time.perf_counter() - started, done.returncode != 0)


def main() -> None:
    """Run what was asked for and print one line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("release", nargs="*", help=f"some of {', '.join(releases())}; default: all")
    parser.add_argument("--no-chapter", action="store_true", help="run the tests only")
    parser.add_argument("--prepare", action="store_true", help="make the environments and stop")
    chosen, console, results = parser.parse_args(), Console(soft_wrap=True), []
    if unknown := set(chosen.release) - set(releases()):
        parser.error(f"no list of packages for {min(unknown)}: choose from {', '.join(releases())}")
    files = [f"tests/{name}" for name in TESTS]
    for release in chosen.release or releases():
        python = str(environment(release, with_chapter=not chosen.no_chapter, console=console))
        if chosen.prepare:
            continue
        console.print(f"==> transformers {release}")
        results.append(outcome_of(release, "tests", [python, *PYTEST, *ONLY_ITS_ENGINES, *files], console))
        if not chosen.no_chapter:
            # Other releases hold other copies of the logits, say: there only the chapter's own asserts count.
            outputs = "--nbval" if release == PINNED else "--nbval-lax"
            results.append(outcome_of(release, "chapter 8", [python, *PYTEST, outputs, *NBVAL, CHAPTER], console))
    if chosen.prepare:
        return
    table = Table("transformers", "what", "outcome", "seconds")
    for result in results:
        table.add_row(result.release, result.what, result.outcome, f"{result.seconds:.0f}")
    console.print(table)
    sys.exit(any(result.failed for result in results))


if __name__ == "__main__":
    main()
