"""What the command line prints: results laid out with rich."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.syntax import Syntax
from rich.table import Table

if TYPE_CHECKING:
    from ftlib.estimate import Estimate
    from ftlib.hardware import Suggestion
    from ftlib.messages import Message
    from ftlib.summary import DataSummary, TokenCounts
    from ftlib.training.job import Step
    from ftlib.upgrade import FileReport

_BAR_WIDTH = 40


def print_summary(source: str, summary: DataSummary, shown: Sequence[Sequence[Message]]) -> None:
    """Print what ``ftlib data`` found."""
    console = Console(highlight=False)
    language = f", most of them in the language {summary.language!r}" if summary.language else ""
    console.print(f"[bold]{escape(source)}[/bold]: {summary.rows:,} rows of the format {summary.format}{language}")
    turns = summary.turns
    console.print(f"Messages in a row: {turns.least} to {turns.greatest}, median {turns.median}")
    if summary.same_prompt:
        console.print(f"Rows with the prompt of an earlier row: {summary.same_prompt:,}")
    for extra, rows in summary.extras.items():
        console.print(f"With {extra}: {rows:,} rows")
    table = _table("role", "messages", "fewest words", "median", "most")
    for role, words in summary.words.items():
        numbers = (summary.messages[role], words.least, words.median, words.greatest)
        table.add_row(role, *(f"{number:,}" for number in numbers))
    console.print(table)
    if summary.tokens:
        _print_tokens(console, summary.tokens)
    for messages in shown:
        for message in messages:
            console.print(f"[bold]{message['role']}[/bold]: {escape(message['content'] or str(message))}")
    _print_faults(console, summary)


def print_run(folder: str, summary: Mapping[str, Any]) -> None:
    """Print what a run of ``ftlib train`` came to."""
    console = Console(highlight=False)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    trained = f"{summary['trainable_parameters']:,} of {summary['parameters']:,}"
    table.add_row("parameters trained", trained)
    table.add_row("steps", f"{summary['steps']:,}")
    table.add_row("tokens (no padding)", f"{summary['tokens']:,}")
    table.add_row("tokens a second", f"{summary['tokens_per_second']:,.0f}")
    table.add_row("loss, first step", f"{summary['first_loss']:.4f}")
    table.add_row("loss, last step", f"{summary['last_loss']:.4f}")
    if summary["best_eval_loss"] is not None:
        table.add_row(f"best evaluation loss (step {summary['best_step']})", f"{summary['best_eval_loss']:.4f}")
    console.print(table)
    console.print(f"Written to {escape(folder)}: README.md there says how to load the model.", soft_wrap=True)


def print_estimate(
    model: str, need: Estimate, cards: Mapping[str, bool], card: str | None, suggestion: Suggestion | None
) -> None:
    """Print what ``ftlib estimate`` worked out, and where the run fits."""
    console = Console(highlight=False)
    console.print(
        f"[bold]{escape(model)}[/bold]: {need.parameters:,} parameters, {need.trainable_parameters:,} of them trained"
    )
    console.print(
        f"{need.tokens_per_step:,} tokens a step (padding included), {need.flops_per_token:,} FLOPs a token, "
        f"{need.flops_per_step / 1e12:,.3f} TFLOPs a step, {need.flops_per_run / 1e15:,.3f} PFLOPs the run"
    )
    table = _table("memory at the fullest moment of a step", "GiB")
    for kind, bytes_ in vars(need.peak).items():
        table.add_row(kind, f"{bytes_ / 2**30:,.2f}")
    table.add_row("together", f"{need.peak.total / 2**30:,.2f}", style="bold")
    console.print(table)
    console.print("It fits on: " + (", ".join(name for name, fit in cards.items() if fit) or "none of the cards known"))
    if not all(cards.values()):
        console.print("It doesn't fit on: " + ", ".join(name for name, fit in cards.items() if not fit))
    if card:
        console.print(f"On {card}: {_how_it_fits(suggestion)}")


def _how_it_fits(found: Suggestion | None) -> str:
    if found is None:
        return "[red]no change that is tried here makes it fit[/red]"
    gib = f"{found.need.peak.total / 2**30:,.1f} GiB"
    if not found.changes:
        return f"[green]it fits[/green], {gib}"
    return "it fits with " + ", ".join(f"{name}={value}" for name, value in found.changes.items()) + f", {gib}"


def print_upgrade(reports: Sequence[FileReport], *, fix: bool) -> None:
    """Print what ``ftlib upgrade`` found, with the changes as a diff."""
    console = Console(highlight=False)
    colours = {"change": "yellow", "decide": "red", "note": "cyan"}
    for report in reports:
        if report.error:
            console.print(f"[red]{escape(str(report.path))}: {escape(report.error)}[/red]", soft_wrap=True)
        for found in report.findings:
            cell = f" cell {found.cell}," if found.cell is not None else ""
            place = f"{escape(str(report.path))}:{cell} line {found.line}"
            said = f"[{colours[found.level]}]{found.level}[/] {escape(found.rule)}: {escape(found.explanation)}"
            console.print(f"{place}: {said}", soft_wrap=True)
        if report.diff:
            console.print(Syntax(report.diff, "diff", background_color="default"))
    changed = sum(report.written for report in reports)
    left = sum(report.needs_attention for report in reports)
    done = (
        f"{changed} rewritten" if fix else f"{sum(bool(report.diff) for report in reports)} could be rewritten (--fix)"
    )
    console.print(f"{len(reports)} files: {done}, {left} with something left to do")


@contextlib.contextmanager
def training_progress(*, shown: bool) -> Iterator[Callable[[Step, int], None]]:
    """Show a bar with loss, tokens a second and remaining time while a model is trained; yield what to call.

    Args:
        shown: Whether to show it at all; it isn't where there is no terminal either.
    """
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    visible = shown and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not visible) as progress:
        task = progress.add_task("", total=None, told="")

        def on_step(step: Step, steps: int) -> None:
            told = f"loss {step.loss:.3f}, {step.tokens / step.seconds:,.0f} tokens/s"
            progress.update(task, completed=step.number, total=steps, told=told)

        yield on_step


def _print_tokens(console: Console, tokens: TokenCounts) -> None:
    lengths = tokens.lengths
    console.print(
        f"\nTokens of a row ({escape(tokens.tokenizer)}, template {tokens.template}): {lengths.least} to "
        f"{lengths.greatest}, median {lengths.median}, {tokens.total:,} in all; the context holds {tokens.context:,}"
    )
    table = _table("tokens", "rows", "")
    table.columns[-1].justify = "left"
    most = max(rows for _, _, rows in tokens.histogram)
    for first, end, rows in tokens.histogram:
        bar = "█" * (-(-rows * _BAR_WIDTH // most))
        table.add_row(f"{first:,}-{end - 1:,}", f"{rows:,}", bar)
    console.print(table)
    console.print(
        f"Padding in batches of {tokens.batch_size}: {tokens.padding_to_longest_row:.0%} if every row is filled up to "
        f"the longest of all, {tokens.padding_in_file_order:.0%} up to the longest of its batch, "
        f"{tokens.padding_by_length:.0%} if rows of about one length share a batch\n"
    )


def _print_faults(console: Console, summary: DataSummary) -> None:
    if not summary.faults:
        console.print("[green]Nothing wrong found in these rows.[/green]")
        return
    table = Table("wrong", "rows", "first", "what to do")
    table.columns[1].justify = "right"
    for fault in summary.faults:
        first = f"row {fault.first_row:,}: {fault.example}"
        table.add_row(f"[red]{escape(fault.kind)}[/red]", f"{fault.rows:,}", escape(first), escape(fault.remedy))
    console.print(table)


def _table(*columns: str) -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table
