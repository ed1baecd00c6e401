"""Build the book: execute its chapters, make pages of them, and test the pages.

``python -m book.build`` executes what changed since it was last executed; with ``--chapters "02 07"`` only these, with
``--fresh`` also what was kept, trained models too, and with ``--stored`` nothing: then the pages show the outputs that
the notebooks carry.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import nbformat
import yaml

from book import pages
from book.chapters import BookError, Chapter, Store, UnreadableError, chapters_of, chosen, digest_of, read_notebook
from book.execution import Crew, Outcome
from book.failures import Failure, blank, failed_page, unreadable
from book.machine import GIB, free_bytes, usable_cores, workers_and_threads

USAGE, INTERRUPTED = 2, 130
CACHE = pages.BUILT / ".jupyter_cache"


def say(line: str) -> None:
    """Print a line at once, also into a pipe, and whole, whichever thread speaks."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def spoken(seconds: float) -> str:
    """Say a time as people do.

    >>> spoken(8.4), spoken(754)
    ('8 s', '12 min 34 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def counted(number: int, what: str) -> str:
    """Put a number before a word, in the plural where it belongs.

    >>> counted(1, "thread"), counted(2, "chapter")
    ('1 thread', '2 chapters')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


class Progress:
    """Says what begins, what ends, and what is left."""

    def __init__(self, chapters: list[Chapter], store: Store, workers: int) -> None:
        """Expect what each chapter took the last time."""
        self._left = list(chapters)
        self._expected = {chapter: store.seconds(chapter) for chapter in chapters}
        self._begun: dict[Chapter, float] = {}
        self._workers = workers

    def begins(self, chapter: Chapter) -> None:
        """Say that a chapter begins."""
        self._begun[chapter] = time.perf_counter()
        say(f"    begins  {chapter.name}")

    def ends(self, outcome: Outcome) -> None:
        """Say how a chapter ended, what it took, and what is left."""
        self._left.remove(outcome.chapter)
        what = "FAILED " if outcome.failure else "done   "
        took = f"{spoken(outcome.seconds)}, {outcome.peak_bytes / GIB:.1f} GiB"
        say(f"    {what} {outcome.chapter.name}: {took}; {self._rest()}")

    def _rest(self) -> str:
        if not self._left:
            return "none left"
        times = [self._expected[chapter] for chapter in self._left]
        if None in times:
            return f"{len(self._left)} left"
        now = time.perf_counter()
        rests = [max(0.0, (self._expected[one] or 0) - (now - self._begun.get(one, now))) for one in self._left]
        # No way to share them out ends before the longest, nor before the mean.
        return f"{len(self._left)} left, about {spoken(max(max(rests), sum(rests) / self._workers))}"


def execute(root: Path, chapters: list[Chapter], store: Store) -> dict[Chapter, Outcome]:
    """Execute chapters, the longest first, and keep each that succeeds at the moment when it ends."""
    workers, threads = workers_and_threads(len(chapters), usable_cores(), free_bytes())
    say(f"==> Executing {counted(len(chapters), 'chapter')}, {workers} at a time, {counted(threads, 'thread')} each")
    progress = Progress(chapters, store, workers)
    limit = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["execute"]["timeout"]
    outcomes = {}

    def ended(outcome: Outcome) -> None:
        progress.ends(outcome)
        outcomes[outcome.chapter] = outcome
        if outcome.failure is None:
            store.keep(outcome.chapter, outcome.notebook, outcome.seconds)

    crew = Crew(root, workers, threads, limit, progress.begins)
    crew.run(sorted(chapters, key=lambda one: -(store.seconds(one) or float("inf"))), ended)
    return outcomes


def gather(
    root: Path, options: argparse.Namespace
) -> tuple[dict[Chapter, nbformat.NotebookNode], dict[Chapter, Failure]]:
    """Get the chapters with their outputs: kept, executed now, or else as they are stored; and what failed.

    Chapters that the pages show as they are stored are not among them.
    """
    chapters = chapters_of(root)
    wanted = chosen(chapters, options.chapters)
    if options.stored:
        say("==> The pages show the outputs that the notebooks carry; nothing is executed")
        return _unreadable(root, chapters)
    store = Store(root / CACHE, digest_of(root))
    kept = {chapter: notebook for chapter in chapters if (notebook := store.find(chapter))}
    todo = [chapter for chapter in wanted if options.fresh or chapter not in kept]
    if options.fresh:
        forget_kept_runs()
    _say_where_from([one for one in chapters if one not in todo], kept)
    notebooks, failures = _unreadable(root, [one for one in chapters if one not in kept and one not in todo])
    for chapter, outcome in (execute(root, todo, store) if todo else {}).items():
        notebooks[chapter] = outcome.notebook
        if outcome.failure:
            failures[chapter] = outcome.failure
            notebooks[chapter] = failed_page(outcome.notebook, outcome.failure)
    return {**kept, **notebooks}, {one: failures[one] for one in chapters if one in failures}


def forget_kept_runs() -> None:
    """Remove every run that was kept, so that the next call of :func:`ftlib.training.kept.train_once` trains."""
    from ftlib.cache import locked
    from ftlib.paths import cache_folder

    shelf = cache_folder() / "runs"
    for place in shelf.iterdir() if shelf.is_dir() else ():
        with locked(place):
            for folder in place.iterdir():
                if folder.is_dir():
                    shutil.rmtree(folder)


def _unreadable(
    root: Path, chapters: list[Chapter]
) -> tuple[dict[Chapter, nbformat.NotebookNode], dict[Chapter, Failure]]:
    """Find the files among chapters that are no notebooks, and make pages that say so."""
    failures = {}
    for chapter in chapters:
        try:
            read_notebook(chapter.path)
        except UnreadableError as error:
            failures[chapter] = unreadable(error, root)
    return {one: failed_page(blank(one), failure) for one, failure in failures.items()}, failures


def _say_where_from(others: list[Chapter], kept: dict[Chapter, nbformat.NotebookNode]) -> None:
    groups = {
        "Executed before, and nothing changed since": [one for one in others if one in kept],
        "Not executed; the pages show their stored outputs": [one for one in others if one not in kept],
    }
    for what, group in groups.items():
        if group:
            say(f"==> {what}: {', '.join(one.name.partition('_')[0] for one in group)}")


def make_pages(root: Path, notebooks: dict[Chapter, nbformat.NotebookNode], options: argparse.Namespace) -> bool:
    """Make the pages, unless they are there; True if they are good."""
    pages.stage(root, notebooks)
    if not options.fresh and pages.is_current(root):
        say("==> The pages are there, and nothing that they show has changed")
        return True
    say("==> Making the pages (about a minute)")
    return pages.build(root, strict=options.strict)


def passed(root: Path, options: argparse.Namespace) -> bool:
    """Test the pages, unless these very pages have passed these very tests; True if they are good."""
    flags = options.pytest_flags.split()
    if not options.fresh and not flags and pages.passed(root):
        say("==> The pages passed their tests when they were made (FRESH=1 tests them again)")
        return True
    good = test_pages(root, flags)
    if good and not flags:  # flags may choose some
        pages.keep_passed(root)
    return good


def test_pages(root: Path, flags: list[str]) -> bool:
    """Run the tests that need the built book."""
    files = [
        path for path in sorted((root / "tests").rglob("test_*.py")) if "mark.book" in path.read_text(encoding="utf-8")
    ]
    if not files:
        return True
    say("==> Testing the pages")
    shared = ["--numprocesses", "auto", "--dist", "worksteal"]
    command = [sys.executable, "-m", "pytest", "--quiet", *shared, *flags, "-m", "book", *map(str, files)]
    return subprocess.run(command, cwd=root).returncode == 0


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the folder of what is built: two builds at once would take the pages from under each other."""
    (root / pages.BUILT).mkdir(exist_ok=True)
    lock = filelock.FileLock(root / pages.BUILT / "book.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise BookError("another build of the book is at work in this folder: wait for its end, or stop it") from None
    try:
        yield
    finally:
        lock.release()


def build(root: Path, options: argparse.Namespace) -> int:
    """Build the book as asked for, say what came of it, and return the exit status."""
    started = time.perf_counter()
    notebooks, failures = gather(root, options)
    made = make_pages(root, notebooks, options)
    for chapter in failures if made else ():
        pages.serve_source(root, chapter)
    good = made and not failures and passed(root, options)
    for chapter, failure in failures.items():
        say(f"FAILED {chapter.name}, {failure.summary}")
    took = spoken(time.perf_counter() - started)
    for line in _closing(made=made, good=good, failures=failures, took=took):
        say(line)
    return 0 if good else 1


def _closing(*, made: bool, good: bool, failures: dict[Chapter, Failure], took: str) -> list[str]:
    """What was made, how long it took, and what to do next."""
    if good:
        serve = f"{_python()} -m http.server --bind 127.0.0.1 --directory {pages.SITE}"
        there = [f"==> The book is in {pages.SITE}, and its pages passed their tests.", f"    It took {took}."]
        return [*there, f"    Read it: {serve}"]
    numbers = " ".join(one.name.partition("_")[0] for one in failures)
    again = f'make book CHAPTERS="{numbers}"' if failures else "make book"
    kept = f"    What succeeded is kept. Mend the rest, then: {again}"
    if not made:
        return [f"==> No new pages, after {took}; the messages above say why. The previous site stays.", kept]
    if failures:
        failed = f"{len(failures)} of its chapters failed; their pages say how."
        return [f"==> The book is in {pages.SITE}, after {took}. {failed}", kept]
    return [f"==> The book is in {pages.SITE}, after {took}, but its pages failed their tests; see above.", kept]


def _python() -> str:
    """This Python, as one would call it from the course's folder."""
    return re.sub(f"^{re.escape(str(Path.cwd()))}/", "", sys.executable)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m book.build", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chapters", default="", metavar="'02 07'", help="execute only these, by number or name")
    parser.add_argument("--fresh", action="store_true", help="execute also what is kept, and make all pages again")
    parser.add_argument("--stored", action="store_true", help="execute nothing; show the stored outputs")
    parser.add_argument("--strict", action="store_true", help="a warning about a page is an error")
    parser.add_argument("--pytest-flags", default="", help="for the tests of the pages")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Build the book in the present folder and return the exit status."""
    options, root = parsed(arguments), Path.cwd()
    # A shell starts a command in the background with Ctrl-C ignored; here it means the same everywhere.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with alone(root):
            return build(root, options)
    except BookError as error:
        print(f"The book isn't built: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        say("\n==> Stopped. What was done is kept: the next call goes on from there. The previous site stays.")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
