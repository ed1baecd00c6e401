"""Run the library's tests and the chapters as other machines would: other processors, locales, paths and users.

``VARIANTS`` says what each one changes. Results go to ``_build/machines/results.json`` as they come, so that a call
that was stopped goes on where it was; a change of any file of the course begins anew.

    python -m tests.machines                          every variant, the library and the chapters
    python -m tests.machines lang-c path --library    two of them, and only the library's tests
    python -m tests.machines busy --chapters 02 07    one of them, and two chapters

Where a variant needs a folder of its own, the files that git knows or would take are copied there, with a light
environment whose packages are those of this one: what pip makes of such a path is not tried.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.variants import COMBINED, ROOT, VARIANTS, Machine, NotHereError, Variant, course_files, machine

RESULTS = ROOT / "_build" / "machines" / "results.json"
COUNTS = ("passed", "failed", "skipped")
LIBRARY = "library"


def run(where: Machine, what: str, log: Path) -> dict[str, Any]:
    """Run the library's tests or a chapter, as often at once as the variant says, and sum the outcomes up."""
    started = time.perf_counter()
    with ThreadPoolExecutor(where.variant.runs) as pool:
        logs = [log.with_suffix(f".{number}.log") for number in range(where.variant.runs)]
        outcomes = list(pool.map(lambda place: run_once(where, what, place), logs))
    counts = {kind: sum(one[kind] for one in outcomes) for kind in COUNTS}
    failures = sorted({failure for one in outcomes for failure in one["failures"]})
    return {**counts, "failures": failures, "seconds": round(time.perf_counter() - started)}


def run_once(where: Machine, what: str, log: Path) -> dict[str, Any]:
    """Run pytest once; its output goes to a file."""
    with tempfile.TemporaryDirectory(prefix="report-") as place:
        Path(place).chmod(0o777)  # another user may have to write there
        report = Path(place) / "report.xml"
        command = [*where.prefix, str(where.python), "-m", "pytest", f"--junit-xml={report}"]
        command += arguments(what, where.variant)
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                command, cwd=where.folder, env=where.variables, stdout=file, stderr=subprocess.STDOUT, check=False
            )
        outcome = outcome_of(report) if report.is_file() else {**dict.fromkeys(COUNTS, 0), "failures": []}
    if done.returncode and not outcome["failed"]:  # it was stopped, crashed or found no test
        outcome["failed"] += 1
        outcome["failures"].append(f"{what}: pytest ended with {done.returncode}, see {log.relative_to(ROOT)}")
    return outcome


def arguments(what: str, variant: Variant) -> list[str]:
    """Return pytest's arguments for the library's tests or a chapter, as in the Makefile."""
    if what == LIBRARY:
        return [
            "-m",
            "not book",
            "--numprocesses",
            str(variant.cores or "auto"),
            "--dist",
            "worksteal",
            "--durations",
            "5",
        ]
    patience = ["--nbval-cell-timeout", "14400", "--nbval-kernel-startup-timeout", "600"]
    return ["-o", "addopts=-ra", "-p", "tests.quiet_chapters", "--nbval", *patience, what]


def outcome_of(report: Path) -> dict[str, Any]:
    """Count the tests in pytest's report, and name those that failed."""
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 (our own file)
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    names = [f"{case.get('classname')}::{case.get('name')}" for case in failed]
    passed = len(cases) - len(failed) - len(skipped)
    return {"passed": passed, "failed": len(failed), "skipped": len(skipped), "failures": names}


class Kept:
    """The results so far, in a file; those of other files of the course don't count."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.course = hashlib.sha256()
        for name in course_files():
            self.course.update(f"{name}\0".encode() + hashlib.sha256((ROOT / name).read_bytes()).digest())
        found = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
        same = found.get("course") == self.course.hexdigest()
        self.results: dict[str, dict[str, Any]] = found["results"] if same else {}

    def add(self, name: str, what: str, result: dict[str, Any]) -> None:
        """Write a result down."""
        self.results.setdefault(name, {})[what] = result
        self.place.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"course": self.course.hexdigest(), "results": self.results}, indent=1, ensure_ascii=False)
        draft = self.place.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.place)


def missing(kept: Kept, name: str, wanted: list[str]) -> list[str]:
    """Return what a variant has not run yet."""
    return [what for what in wanted if what not in kept.results.get(name, {})]


def try_variant(name: str, wanted: list[str], kept: Kept, console: Console) -> None:
    """Run what is missing of a variant: the library's tests by themselves, the chapters one on each core."""
    cores = VARIANTS[name].cores or len(os.sched_getaffinity(0))

    def log_of(what: str) -> Path:
        return kept.place.with_name(f"{name}-{Path(what).stem}.log")

    def keep(what: str, result: dict[str, Any]) -> None:
        kept.add(name, what, result)
        console.print(f"    {Path(what).stem}: {told([result])}", markup=False)

    kept.place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with machine(VARIANTS[name]) as where:
            if LIBRARY in wanted:
                keep(LIBRARY, run(where, LIBRARY, log_of(LIBRARY)))
            with ThreadPoolExecutor(cores) as pool:
                jobs = {pool.submit(run, where, what, log_of(what)): what for what in wanted if what != LIBRARY}
                for job in as_completed(jobs):
                    keep(jobs[job], job.result())
    except NotHereError as reason:
        for what in wanted:
            keep(what, {"failures": [], "not_run": str(reason)})


def told(results: list[dict[str, Any]]) -> str:
    """Say in a few words how some runs ended."""
    if not results:
        return ""
    if "not_run" in results[0]:
        return f"not run: {results[0]['not_run']}"
    passed, failed, skipped, seconds = (sum(one[kind] for one in results) for kind in (*COUNTS, "seconds"))
    return f"{passed:,} passed, {failed} failed, {skipped} skipped in {seconds // 60}:{seconds % 60:02} min"


def show(names: list[str], wanted: list[str], kept: Kept, console: Console) -> bool:
    """Print the table and what failed; tell whether anything did."""
    table, failures = Table("variant", "what it changes", "library", "chapters (cells)"), []
    for name in names:
        found = {what: result for what, result in kept.results.get(name, {}).items() if what in wanted}
        library, chapters = ([found[what] for what in found if (what == LIBRARY) == wants] for wants in (True, False))
        table.add_row(name, VARIANTS[name].says, told(library), told(chapters))
        failures += [f"{name}: {failure}" for result in found.values() for failure in result["failures"]]
    console.print(table)
    for failure in failures:
        console.print(failure, markup=False, highlight=False)
    return bool(failures)


def main() -> None:
    """Run what was asked for and is missing, and print a line for each variant."""
    by_default = [name for name in VARIANTS if name not in COMBINED]
    chapters = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "chapters").glob("*.ipynb"))]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "variant", nargs="*", help=f"some of {', '.join(VARIANTS)}; default: all but {' and '.join(COMBINED)}"
    )
    parser.add_argument("--library", action="store_true", help="only the library's tests")
    parser.add_argument("--chapters", nargs="*", metavar="NUMBER", help="only the chapters, or only some of them")
    chosen, console = parser.parse_args(), Console(soft_wrap=True)
    if unknown := sorted(set(chosen.variant) - set(VARIANTS)):
        parser.error(f"unknown variant {unknown[0]}: choose from {', '.join(VARIANTS)}")
    if chosen.chapters:
        chapters = [chapter for chapter in chapters if Path(chapter).name[:2] in chosen.chapters]
    wanted = [] if chosen.chapters is not None and not chosen.library else [LIBRARY]
    wanted += [] if chosen.library and chosen.chapters is None else chapters
    names, kept = chosen.variant or by_default, Kept(RESULTS)
    for name in names:
        if left := missing(kept, name, wanted):
            console.print(f"==> {name}: {VARIANTS[name].says}", highlight=False)
            try_variant(name, left, kept, console)
    sys.exit(show(names, wanted, kept, console))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped: what was done is kept, and the same call goes on from there")
