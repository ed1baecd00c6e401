"""Progress on the terminal while a command works: on stderr, and only where somebody can see it."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ftlib.errors import ColumnWarning, SkippedRowWarning
from ftlib.locales import printable

if TYPE_CHECKING:
    from ftlib.training.job import Step

Row = TypeVar("Row")
_ROWS_BETWEEN = 1000


def _bar(*columns: ProgressColumn, shown: bool = True) -> Progress:
    console = Console(stderr=True, emoji=False, highlight=False)
    return Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))


@contextlib.contextmanager
def reading(total_bytes: int | None) -> Iterator[tuple[Callable[[int], None], Any, list[str]]]:
    """Show bytes, rows, rate and remaining time while a file is read.

    Args:
        total_bytes: Of the file; None where that isn't known.

    Yields:
        What to call with the bytes that were read; what to put around the rows; and the reasons, each printed as it
        comes, why rows were skipped.
    """
    with _bar(BarColumn(), DownloadColumn(), TextColumn("{task.fields[rows]}"), TimeRemainingColumn()) as progress:
        task = progress.add_task("", total=total_bytes, rows="")
        started = time.perf_counter()

        def on_bytes(done: int) -> None:
            progress.update(task, completed=done)

        def count(rows: Iterator[Row]) -> Iterator[Row]:
            for number, row in enumerate(rows, start=1):
                if number % _ROWS_BETWEEN == 0:
                    rate = number / (time.perf_counter() - started)
                    progress.update(task, rows=f"{number:,} rows, {rate:,.0f}/s")
                yield row

        with _skipped_rows(progress.console) as unusable:
            yield on_bytes, count, unusable


@contextlib.contextmanager
def _skipped_rows(console: Console) -> Iterator[list[str]]:
    unusable: list[str] = []

    def report(message: Warning | str, *rest: Any, **further: Any) -> None:
        if isinstance(message, SkippedRowWarning):
            unusable.append(str(message))
        console.print(printable(f"ftlib: {message}"), markup=False, soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", SkippedRowWarning)
        warnings.simplefilter("always", ColumnWarning)
        warnings.showwarning = report
        yield unusable


@contextlib.contextmanager
def training(*, shown: bool) -> Iterator[Callable[[Step, int], None]]:
    """Show loss, tokens a second and remaining time while a model is trained; yield what to call after each step.

    Args:
        shown: Whether to show it at all: one process of several does.
    """
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with _bar(*columns, shown=shown) as progress:
        task = progress.add_task("", total=None, told="")

        def on_step(step: Step, steps: int) -> None:
            reward = (step.rewards or {}).get("reward")  # under it, GRPO's loss is about 0 at every step
            measured = f"loss {step.loss:.3f}" if reward is None else f"reward {reward:.3f}"
            told = f"{measured}, {step.tokens / step.seconds:,.0f} tokens/s"
            progress.update(task, completed=step.number, total=steps, told=told)

        yield on_step


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[..., None]]:
    """Show how many of all are done; yield what to call with both numbers, and with another word where it changes.

    Args:
        what: The word in front of the bar.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _bar(*columns) as progress:
        task = progress.add_task(printable(what), total=None)

        def on_done(done: int, total: int, word: str = what) -> None:
            progress.update(task, completed=done, total=total, description=printable(word))

        yield on_done
