"""What ``ftlib data`` prints of a file: its rows, their tokens, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ftlib.cli.output import counted, number_table, plain_console, safe_text

if TYPE_CHECKING:
    from ftlib.data.messages import Message
    from ftlib.data.preferences import Preference
    from ftlib.text.preference_summary import PreferenceSummary
    from ftlib.text.summary import DataSummary, TokenCounts

_BAR_WIDTH = 40


def print_summary(source: str, summary: DataSummary, shown: Sequence[Sequence[Message]]) -> None:
    """Print what ``ftlib data`` found."""
    console = plain_console()
    language = f", most of them in the language {summary.language!r}" if summary.language else ""
    console.print(
        f"[bold]{safe_text(source)}[/bold]: {counted(summary.rows, 'row')} of the format {safe_text(summary.format)}"
        + language
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
        console.print(f"With {extra}: {counted(rows, 'row')}")
    table = number_table("role", "messages", "fewest words", "median", "most")
    for role, words in summary.words.items():
        numbers = (summary.messages[role], words.least, words.median, words.greatest)
        table.add_row(role, *(f"{number:,}" for number in numbers))
    console.print(table)
    if summary.tokens:
        _print_tokens(console, summary.tokens)
    for messages in shown:
        for message in messages:
            console.print(f"[bold]{message['role']}[/bold]: {safe_text(message['content'] or str(message))}")
    _print_faults(console, summary)


def print_preferences(source: str, summary: PreferenceSummary, shown: Sequence[Preference]) -> None:
    """Print what ``ftlib data`` found in preference rows."""
    console = plain_console()
    console.print(f"[bold]{safe_text(source)}[/bold]: {summary.rows:,} pairs of a chosen and a rejected answer")
    table = number_table("part", "fewest words", "median", "most")
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
            console.print(f"[bold]{message['role']}[/bold]: {safe_text(message['content'] or '')}")
        for side, answer in (("chosen", row["chosen"]), ("rejected", row["rejected"])):
            console.print(f"[bold]{side}[/bold]: {safe_text(answer[0]['content'] or '')}")


def _print_tokens(console: Console, tokens: TokenCounts) -> None:
    lengths = tokens.lengths
    context = "nothing says what the context holds (--context)"
    if tokens.context is not None:
        context = f"the context holds {tokens.context:,}"
    console.print(
        f"\nTokens of a row ({safe_text(tokens.tokenizer)}, template {safe_text(tokens.template)}): {lengths.least} to "
        f"{lengths.greatest}, median {lengths.median}, {tokens.total:,} in all; {context}"
    )
    table = number_table("tokens", "rows", "")
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
        table.add_row(
            f"[red]{safe_text(fault.kind)}[/red]", f"{fault.rows:,}", safe_text(first), safe_text(fault.remedy)
        )
    console.print(table)
