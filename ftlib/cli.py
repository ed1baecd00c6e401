"""The command line: it parses and calls, and holds no logic."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftlib.errors import FtlibError

if TYPE_CHECKING:
    from ftlib.messages import Message
    from ftlib.summary import DataSummary

app = typer.Typer(help="The command line of the fine-tuning course.", no_args_is_help=True, add_completion=True)


@app.command()
def data(
    source: Annotated[str, typer.Argument(help="A file, a shipped data set such as faq, or a Hub id.")],
    format: Annotated[str, typer.Option(help="Format of the rows; found by itself unless you say.")] = "auto",
    split: Annotated[str | None, typer.Option(help="Which split, where there are several.")] = None,
    show: Annotated[int, typer.Option(min=0, help="How many conversations to print.")] = 1,
    convert: Annotated[Path | None, typer.Option(help="Write the rows to this .jsonl or .json file.")] = None,
    to: Annotated[str, typer.Option(help="Format of the written file.")] = "openai",
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Report unusable rows and go on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Look into an instruction file of any format, or convert it.

    For example:

      ftlib data faq

      ftlib data dump.json.gz --json

      ftlib data guanaco.jsonl --convert chat.jsonl --to openai
    """
    from ftlib.data import OnError, iter_conversations, save_conversations
    from ftlib.summary import summarize

    on_error: OnError = "skip" if skip_bad_rows else "raise"
    with _reading(source, split) as (on_bytes, count):
        name, conversations = iter_conversations(
            source, format=format, split=split, on_error=on_error, on_bytes=on_bytes
        )
        shown: list[Any] = []
        counted = count(conversations, shown, show)
        if convert is not None:
            written = save_conversations(({"messages": messages} for messages in counted), convert, format=to)
        else:
            summary = summarize(counted, format=name)
    if convert is not None:
        found = {"format": name, "rows": written, "written_to": str(convert), "written_as": to}
        typer.echo(json.dumps(found) if as_json else f"{written:,} rows of {name} written to {convert} as {to}.")
    elif as_json:
        typer.echo(json.dumps(summary.as_dict()))
    else:
        _print_summary(source, summary, shown)


@app.command()
def pretrain(
    run_folder: Annotated[Path, typer.Option(help="Corpus, tokenizer, checkpoints and log; a second call resumes.")],
    out: Annotated[Path, typer.Option(help="Folder for the finished model.")],
    packages: Annotated[Path, typer.Option(help="File of name==version lines: the packages to harvest.")],
    total_tokens: Annotated[int, typer.Option(help="Tokens to train on.")] = 30_000_000,
    checkpoint_every: Annotated[int, typer.Option(help="Optimizer steps between two checkpoints.")] = 100,
    stop_after_steps: Annotated[int | None, typer.Option(help="Leave after so many steps of this sitting.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Repeat nano's recipe: harvest docstrings, train the tokenizer, pretrain, evaluate, write the model."""
    from ftlib.corpus import STANDARD_LIBRARY, package_names
    from ftlib.nano import make_nano
    from ftlib.pretrain import Recipe

    report = make_nano(
        [STANDARD_LIBRARY, *package_names(packages)],
        Recipe(total_tokens=total_tokens),
        run_folder,
        out,
        checkpoint_every=checkpoint_every,
        stop_after_steps=stop_after_steps,
        device=device,
    )
    if report is None:
        typer.echo(f"Not finished. The same command goes on from the last checkpoint in {run_folder}.")
    else:
        typer.echo(f"Written to {out}: {report['held_out_loss_nats_per_token']} nats per token held out.")


@contextlib.contextmanager
def _reading(source: str, split: str | None) -> Iterator[Any]:
    """Show a progress bar on the terminal while a file is read: bytes, rows, rate and remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from ftlib.data import dataset_path

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TextColumn("{task.fields[rows]}"), TimeRemainingColumn())
    try:
        size = dataset_path(source, split=split).stat().st_size
    except FtlibError:
        size = None  # a Hub id: its size is not known before it is read
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=size, rows="")
        started = time.perf_counter()

        def on_bytes(done: int) -> None:
            progress.update(task, completed=done)

        def count(conversations: Iterator[list[Message]], shown: list[Any], show: int) -> Iterator[list[Message]]:
            for number, messages in enumerate(conversations, start=1):
                if number <= show:
                    shown.append(messages)
                if number % 1000 == 0:
                    rate = number / (time.perf_counter() - started)
                    progress.update(task, rows=f"{number:,} rows, {rate:,.0f}/s")
                yield messages

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *rest: console.print(f"ftlib: {message}", markup=False)
            yield on_bytes, count


def _print_summary(source: str, summary: DataSummary, shown: list[Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    same = f", {summary.same_prompt:,} of them with the prompt of an earlier row" if summary.same_prompt else ""
    console.print(f"[bold]{escape(source)}[/bold]: {summary.rows:,} rows of the format {summary.format}{same}")
    turns = summary.turns
    console.print(f"Messages in a row: {turns.least} to {turns.greatest}, median {turns.median}")
    for extra, rows in summary.extras.items():
        console.print(f"With {extra}: {rows:,} rows")
    table = Table("role", "messages", "fewest words", "median", "most")
    for column in table.columns[1:]:
        column.justify = "right"
    for role, words in summary.words.items():
        numbers = (summary.messages[role], words.least, words.median, words.greatest)
        table.add_row(role, *(f"{number:,}" for number in numbers))
    console.print(table)
    for messages in shown:
        for message in messages:
            console.print(f"[bold]{message['role']}[/bold]: {escape(message['content'] or str(message))}")


def main() -> None:
    """Run the command line.

    An expected error is one line on stderr and exit status 1; Ctrl-C gives status 130, wrong usage 2.
    """
    try:
        app()
    except FtlibError as error:
        typer.echo(f"ftlib: {error}", err=True)
        sys.exit(1)
    except SystemExit as ending:
        if ending.code == _STOPPED:
            typer.echo("ftlib: stopped; nothing was left half-written", err=True)
        raise


_STOPPED = 130  # typer's status for Ctrl-C


if __name__ == "__main__":
    main()
