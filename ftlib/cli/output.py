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

    from ftlib.cli.diagnosis import Check
    from ftlib.data.messages import Message
    from ftlib.data.preferences import Preference
    from ftlib.estimate.cards import Suggestion
    from ftlib.estimate.estimation import Estimate
    from ftlib.evaluation.comparison import Evaluation
    from ftlib.text.preference_summary import PreferenceSummary
    from ftlib.text.summary import DataSummary, TokenCounts
    from ftlib.upgrade import FileReport

_BAR_WIDTH = 40


def plain_console(**options: Any) -> Console:
    """Return a console that shows text as it is: no name of an emoji, no number or path in colours of its own."""
    return Console(highlight=False, emoji=False, **options)


def _shown(text: str) -> str:
    """Make text from a file, a model or a name safe to print among markup of our own."""
    return escape(printable(text))


def print_summary(source: str, summary: DataSummary, shown: Sequence[Sequence[Message]]) -> None:
    """Print what ``ftlib data`` found."""
    console = plain_console()
    language = f", most of them in the language {summary.language!r}" if summary.language else ""
    console.print(
        f"[bold]{_shown(source)}[/bold]: {summary.rows:,} rows of the format {_shown(summary.format)}{language}"
    )
    turns = summary.turns
    console.print(f"Messages in a row: {turns.least} to {turns.greatest}, median {turns.median}")
    if summary.same_prompt:
        console.print(f"Rows with the prompt of an earlier row: {summary.same_prompt:,}")
    if summary.unanswered:
        console.print(
            f"Rows that end without an answer: {summary.unanswered:,} (what follows the last one isn't learnt)"
        )
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
            console.print(f"[bold]{message['role']}[/bold]: {_shown(message['content'] or str(message))}")
    _print_faults(console, summary)


def print_preferences(source: str, summary: PreferenceSummary, shown: Sequence[Preference]) -> None:
    """Print what ``ftlib data`` found in preference rows."""
    console = plain_console()
    console.print(f"[bold]{_shown(source)}[/bold]: {summary.rows:,} pairs of a chosen and a rejected answer")
    table = _table("part", "fewest words", "median", "most")
    for part, words in summary.words.items():
        table.add_row(part, *(f"{number:,}" for number in (words.least, words.median, words.greatest)))
    console.print(table)
    longer, shorter = summary.chosen_longer, summary.rejected_longer
    console.print(f"The chosen answer is longer in {longer:.0%} of the pairs, the rejected one in {shorter:.0%}.")
    found = {
        "Pairs that stand twice": summary.duplicates,
        "Pairs with the prompt of an earlier one": summary.same_prompt,
        "Pairs that another one contradicts": summary.contradictions,
        "Pairs whose prompt is also held out": summary.leaked,
    }
    for name, count in found.items():
        if count:
            console.print(f"{name}: {count:,}")
    for row in shown:
        for message in row["prompt"]:
            console.print(f"[bold]{message['role']}[/bold]: {_shown(message['content'] or '')}")
        for side, answer in (("chosen", row["chosen"]), ("rejected", row["rejected"])):
            console.print(f"[bold]{side}[/bold]: {_shown(answer[0]['content'] or '')}")


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
    console.print(f"Written to {_shown(folder)}: README.md there says how to load the model.", soft_wrap=True)


def print_estimate(
    model: str, need: Estimate, cards: Mapping[str, bool], card: str | None, suggestion: Suggestion | None
) -> None:
    """Print what ``ftlib estimate`` worked out, and where the run fits."""
    console = plain_console()
    console.print(
        f"[bold]{_shown(model)}[/bold]: {need.parameters:,} parameters, {need.trainable_parameters:,} of them trained"
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
    console = plain_console()
    colours = {"change": "yellow", "decide": "red", "note": "cyan"}
    for report in reports:
        if report.error:
            console.print(f"[red]{_shown(str(report.path))}: {_shown(report.error)}[/red]", soft_wrap=True)
        for found in report.findings:
            cell = f" cell {found.cell}," if found.cell is not None else ""
            place = f"{_shown(str(report.path))}:{cell} line {found.line}"
            said = f"[{colours[found.level]}]{found.level}[/] {_shown(found.rule)}: {_shown(found.explanation)}"
            console.print(f"{place}: {said}", soft_wrap=True)
        if report.diff:
            _print_diff(console, report.diff)
    changed = sum(report.written for report in reports)
    left = sum(report.needs_attention for report in reports)
    done = (
        f"{changed} rewritten" if fix else f"{sum(bool(report.diff) for report in reports)} could be rewritten (--fix)"
    )
    console.print(f"{len(reports)} files: {done}, {left} with something left to do")


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
            console.print(f"{gap}[bold]{_shown(prompt)}[/bold]", soft_wrap=True)
        console.print(printable(text), markup=False, soft_wrap=True)


def print_evaluation(found: Evaluation, show: int) -> None:
    """Print what ``ftlib evaluate`` found: a score a line, a column for each model, then the first questions."""
    console = plain_console()
    notes = dict(zip(found.summary["model"], found.summary["note"], strict=True))
    run = found.summary[found.summary["note"] == ""].set_index("model")
    titles = {one.name: f"{one.title} ({one.better})" for one in found.scores.values()}
    if "refuses" in titles:
        titles |= {"refuses": "refusal rate (lower)", "refuses_off_topic": "refusal rate, off-topic (higher)"}
    if len(run):
        table = _table("score (better)", *map(_shown, run.index))
        for name, title in titles.items():
            cells = [_with_interval(row, name) for _, row in run.iterrows()]
            if any(cells):
                table.add_row(title, *cells)
        console.print(table)
        console.print(f"{run['questions'].iloc[0]:,} questions; in brackets the 95 % interval.")
    for model, note in notes.items():
        if note:
            console.print(f"{_shown(model)}: {_shown(note)}")
    for question, answers in list(found.table.groupby("question", sort=False))[:show]:
        said = dict(zip(answers["model"], answers["answer"], strict=True))
        _print_answers(console, str(question), {"reference": answers["reference"].iloc[0], **said})


def print_comparison(paths: Sequence[Path], scores: Any, answers: Any) -> None:
    """Print two evaluations beside each other, then answers to the first questions."""
    console = plain_console()
    for name, path in zip(("first", "second"), paths, strict=True):
        console.print(f"{name}: {_shown(str(path))}", soft_wrap=True)
    table = _table("score (better)", "first", "second", "difference", "p")
    for row in scores.to_dict("records"):
        spread = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        numbers = (f"{row['first']:.3f}", f"{row['second']:.3f}", _shown(spread), f"{row['p_value']:.3f}")
        table.add_row(f"{row['score']} ({row['better']})", *numbers)
    console.print(table)
    console.print("Differences with their 95 % intervals (paired bootstrap); p by approximate randomisation.")
    for row in answers.to_dict("records"):
        question = row.pop("question")
        _print_answers(console, question, row)


def _with_interval(row: Any, name: str) -> str:
    """Return a score with its interval; nothing where it was not measured."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    return "" if math.isnan(value) else _shown(f"{_short(value)} [{_short(low)}, {_short(high)}]")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _print_answers(console: Console, question: str, answers: Mapping[str, str]) -> None:
    console.print(f"\n[bold]{_shown(question)}[/bold]")
    for name, text in answers.items():
        console.print(f"[cyan]{_shown(name)}[/cyan]: {_shown(text)}")


def print_server(base_url: str, model: str) -> None:
    """Print where ``ftlib serve`` listens, and how to ask."""
    console = plain_console(soft_wrap=True)
    console.print(f"[bold]{_shown(model)}[/bold] answers at [bold]{base_url}[/bold] (Ctrl-C ends it). For example:")
    question = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is padding?"}]})
    console.print(f"curl {base_url}/chat/completions -H 'Content-Type: application/json' -d '{question}'", markup=False)


def print_export(place: str, bytes_of: Mapping[str, int]) -> None:
    """Print what ``ftlib export`` has written: each file and its size."""
    console = plain_console(soft_wrap=True)
    for path, size in bytes_of.items():
        console.print(f"{_shown(path)}  {size / 2**20:,.1f} MiB")
    console.print(f"[bold]{_shown(place)}[/bold] is written, {sum(bytes_of.values()) / 2**20:,.1f} MiB.")


def print_doctor(checks: Sequence[Check]) -> None:
    """Print what ``ftlib doctor`` found."""
    console = plain_console()
    colours = {"ok": "green", "note": "yellow", "broken": "red"}
    table = Table("", "what", "found", box=None, pad_edge=False)
    for check in checks:
        found = _shown(check.found) + (f"\n[bold]{_shown(check.remedy)}[/bold]" if check.remedy else "")
        table.add_row(f"[{colours[check.status]}]{check.status}[/]", _shown(check.name), found)
    console.print(table)
    broken = [_shown(check.name) for check in checks if check.status == "broken"]
    if broken:
        console.print(f"[red]The course can't run here yet: {', '.join(broken)}.[/red]")
    else:
        console.print("The course can run.")


def _print_tokens(console: Console, tokens: TokenCounts) -> None:
    lengths = tokens.lengths
    context = "nothing says what the context holds (--context)"
    if tokens.context is not None:
        context = f"the context holds {tokens.context:,}"
    console.print(
        f"\nTokens of a row ({_shown(tokens.tokenizer)}, template {_shown(tokens.template)}): {lengths.least} to "
        f"{lengths.greatest}, median {lengths.median}, {tokens.total:,} in all; {context}"
    )
    table = _table("tokens", "rows", "")
    table.columns[-1].justify = "left"
    most = max(rows for _, _, rows in tokens.histogram)
    mark = "#" if console.options.ascii_only else "█"
    for first, end, rows in tokens.histogram:
        bar = mark * (-(-rows * _BAR_WIDTH // most))
        table.add_row(f"{first:,}-{end - 1:,}", f"{rows:,}", bar)
    console.print(table)
    console.print(
        f"Padding in batches of {tokens.batch_size}: {tokens.padding_to_longest_row:.0%} if every row is filled up to "
        f"the longest of all, {tokens.padding_in_file_order:.0%} up to the longest of its batch, "
        f"{tokens.padding_by_length:.0%} if rows of about one length share a batch\n"
    )


def _print_faults(console: Console, summary: DataSummary) -> None:
    if not summary.rows:
        console.print("[red]No row of it can be used.[/red]")
        return
    if not summary.faults:
        console.print("[green]Nothing wrong found in these rows.[/green]")
        return
    table = Table("wrong", "rows", "first", "what to do")
    table.columns[1].justify = "right"
    for fault in summary.faults:
        first = f"row {fault.first_row:,}: {fault.example}"
        table.add_row(f"[red]{_shown(fault.kind)}[/red]", f"{fault.rows:,}", _shown(first), _shown(fault.remedy))
    console.print(table)


def _table(*columns: str) -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    table = Table(*columns)
    for column in table.columns[1:]:
        column.justify = "right"
    return table
