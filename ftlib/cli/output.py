"""What the command line prints: results laid out with rich."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from ftlib.locales import printable

if TYPE_CHECKING:
    from pathlib import Path

    from ftlib.cli.check import Check
    from ftlib.estimate.cards import Suggestion
    from ftlib.estimate.estimation import Estimate
    from ftlib.evaluation.comparison import Evaluation
    from ftlib.upgrade import UpgradedFile


def plain_console(**options: Any) -> Console:
    """Return a console that shows text as it is: no name of an emoji, no number or path in colours of its own."""
    return Console(highlight=False, emoji=False, **options)


def safe_text(text: str) -> str:
    """Make text from a file, a model or a name safe to print among markup of our own."""
    return escape(printable(text))


def counted(number: int, thing: str) -> str:
    """Say how many of a thing there are.

    >>> counted(1, "row"), counted(1260, "row")
    ('1 row', '1,260 rows')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def print_run(folder: str, summary: Mapping[str, Any]) -> None:
    """Print what a run of ``ftlib train`` came to."""
    console = plain_console()
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    trained = f"{summary['trainable_parameters']:,} of {summary['parameters']:,}"
    table.add_row("parameters trained", trained)
    table.add_row("steps", f"{summary['steps']:,}")
    table.add_row("tokens (no padding)", f"{summary['tokens']:,}")
    table.add_row("computed in", summary["precision"])
    if summary["tokens_per_second"] is None:
        table.add_row("tokens a second", "not measured")
    else:
        table.add_row("tokens a second", f"{summary['tokens_per_second']:,.0f}")
        table.add_row("model FLOPs utilization", f"{summary['model_flops_utilization']:.0%}")
    table.add_row("loss, first step", f"{summary['first_loss']:.4f}")
    table.add_row("loss, last step", f"{summary['last_loss']:.4f}")
    if "first_reward" in summary:
        table.add_row("reward, first step", f"{summary['first_reward']:.4f}")
        table.add_row("reward, last step", f"{summary['last_reward']:.4f}")
    if summary["best_eval_loss"] is not None:
        table.add_row(f"best evaluation loss (step {summary['best_step']})", f"{summary['best_eval_loss']:.4f}")
    console.print(table)
    if reason := summary.get("precision_reason"):
        console.print(f"train.precision auto took {summary['precision']}: {reason}.", soft_wrap=True)
    console.print(f"Written to {safe_text(folder)}: README.md there says how to load the model.", soft_wrap=True)


def print_estimate(
    model: str, need: Estimate, cards: Mapping[str, bool], card: str | None, suggestion: Suggestion | None
) -> None:
    """Print what ``ftlib estimate`` worked out, and where the run fits."""
    console = plain_console()
    console.print(
        f"[bold]{safe_text(model)}[/bold]: {need.parameters:,} parameters, "
        f"{need.trainable_parameters:,} of them trained"
    )
    console.print(
        f"{need.tokens_per_step:,} tokens a step (padding included), {need.flops_per_token:,} FLOPs a token, "
        f"{need.flops_per_step / 1e12:,.3f} TFLOPs a step, {need.flops_per_run / 1e15:,.3f} PFLOPs the run"
    )
    table = number_table("memory at the fullest moment of a step", "GiB")
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


def print_upgrade(reports: Sequence[UpgradedFile], *, fix: bool) -> None:
    """Print what ``ftlib upgrade`` found, with the changes as a diff."""
    console = plain_console()
    colours = {"change": "yellow", "decide": "red", "note": "cyan"}
    for report in reports:
        if report.error:
            console.print(f"[red]{safe_text(str(report.path))}: {safe_text(report.error)}[/red]", soft_wrap=True)
        for found in report.findings:
            cell = f" cell {found.cell}," if found.cell is not None else ""
            place = f"{safe_text(str(report.path))}:{cell} line {found.line}"
            said = f"[{colours[found.level]}]{found.level}[/] {safe_text(found.rule)}: {safe_text(found.explanation)}"
            console.print(f"{place}: {said}", soft_wrap=True)
        if report.diff:
            _print_diff(console, report.diff)
    changed = sum(report.written for report in reports)
    left = sum(report.needs_attention for report in reports)
    done = (
        f"{changed} rewritten" if fix else f"{sum(bool(report.diff) for report in reports)} could be rewritten (--fix)"
    )
    console.print(f"{counted(len(reports), 'file')}: {done}, {left} with something left to do")


def _print_diff(console: Console, diff: str) -> None:
    # A terminal gets colours and wraps long lines; a file or a pipe gets every line whole, as patch reads it.
    if console.is_terminal:
        console.print(Syntax(printable(diff), "diff", background_color="default", word_wrap=True))
    else:
        console.print(printable(diff), markup=False, emoji=False, soft_wrap=True)


def print_texts(prompts: Sequence[str], texts: Sequence[str]) -> None:
    """Print what ``ftlib generate`` got: the text alone, or below each prompt where there are several."""
    console = plain_console()
    for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        if len(prompts) > 1:
            gap = "\n" if number else ""
            console.print(f"{gap}[bold]{safe_text(prompt)}[/bold]", soft_wrap=True)
        console.print(printable(text), markup=False, soft_wrap=True)


def print_evaluation(found: Evaluation, show: int) -> None:
    """Print what ``ftlib evaluate`` found: a score a line, a column for each model, then the first questions."""
    console = plain_console()
    notes = dict(zip(found.summary["model"], found.summary["note"], strict=True))
    run = found.summary[found.summary["note"] == ""].set_index("model")
    columns = [column for score in found.scores.values() for column in score.columns]
    if len(run):
        table = number_table("score (better)", *map(safe_text, run.index))
        for column in columns:
            cells = [_with_interval(row, column.name) for _, row in run.iterrows()]
            if any(cells):
                table.add_row(f"{column.title} ({column.better})", *cells)
        console.print(table)
        console.print(f"{counted(run['questions'].iloc[0], 'question')}; in brackets the 95 % interval.")
    for model, note in notes.items():
        if note:
            console.print(f"{safe_text(model)}: {safe_text(note)}")
    for question, answers in list(found.table.groupby("question", sort=False))[:show]:
        said = dict(zip(answers["model"], answers["answer"], strict=True))
        _print_answers(console, str(question), {"reference": answers["reference"].iloc[0], **said})


def print_comparison(paths: Sequence[Path], scores: Any, answers: Any) -> None:
    """Print two evaluations beside each other, then answers to the first questions."""
    console = plain_console()
    for name, path in zip(("first", "second"), paths, strict=True):
        console.print(f"{name}: {safe_text(str(path))}", soft_wrap=True)
    table = number_table("score (better)", "first", "second", "difference", "p")
    for row in scores.to_dict("records"):
        spread = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        numbers = (f"{row['first']:.3f}", f"{row['second']:.3f}", safe_text(spread), f"{row['p_value']:.3f}")
        table.add_row(f"{row['score']} ({row['better']})", *numbers)
    console.print(table)
    console.print("Differences with their 95 % intervals (paired bootstrap); p by approximate randomisation.")
    for row in answers.to_dict("records"):
        question = row.pop("question")
        _print_answers(console, question, row)


def _with_interval(row: Any, name: str) -> str:
    """Return a score with its interval; nothing where it was not measured."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    return "" if math.isnan(value) else safe_text(f"{_short(value)} [{_short(low)}, {_short(high)}]")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _print_answers(console: Console, question: str, answers: Mapping[str, str]) -> None:
    console.print(f"\n[bold]{safe_text(question)}[/bold]")
    for name, text in answers.items():
        console.print(f"[cyan]{safe_text(name)}[/cyan]: {safe_text(text)}")


def print_server(base_url: str, model: str) -> None:
    """Print where ``ftlib serve`` listens, and how to ask."""
    console = plain_console(soft_wrap=True)
    console.print(f"[bold]{safe_text(model)}[/bold] answers at [bold]{base_url}[/bold] (Ctrl-C ends it). For example:")
    question = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is padding?"}]})
    console.print(f"curl {base_url}/chat/completions -H 'Content-Type: application/json' -d '{question}'", markup=False)


def print_export(place: str, bytes_of: Mapping[str, int]) -> None:
    """Print what ``ftlib export`` has written: each file and its size."""
    console = plain_console(soft_wrap=True)
    for path, size in bytes_of.items():
        console.print(f"{safe_text(path)}  {size / 2**20:,.1f} MiB")
    console.print(f"[bold]{safe_text(place)}[/bold] is written, {sum(bytes_of.values()) / 2**20:,.1f} MiB.")


def print_doctor(checks: Sequence[Check]) -> None:
    """Print what ``ftlib doctor`` found."""
    console = plain_console()
    colours = {"ok": "green", "note": "yellow", "broken": "red"}
    table = Table("", "what", "found", box=None, pad_edge=False)
    for check in checks:
        found = safe_text(check.found) + (f"\n[bold]{safe_text(check.remedy)}[/bold]" if check.remedy else "")
        table.add_row(f"[{colours[check.status]}]{check.status}[/]", safe_text(check.name), found)
    console.print(table)
    broken = [safe_text(check.name) for check in checks if check.status == "broken"]
    if broken:
        console.print(f"[red]The course can't run here yet: {', '.join(broken)}.[/red]")
    else:
        console.print("The course can run.")


def number_table(*columns: str) -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table
