"""``ftlib data``: look into a file of instructions, or convert it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftlib.cli import completion
from ftlib.cli.options import SplitOption, completed_argument, completed_option

if TYPE_CHECKING:
    from ftlib.data.messages import Message
    from ftlib.text.summary import DataSummary

EXAMPLES = (
    "ftlib data faq",
    "ftlib data dump.json.gz --json",
    "ftlib data guanaco.jsonl --convert openai chat.jsonl",
)
STATUSES = {1: "a row can't be used, something is wrong with it, or another error"}


def data(
    source: Annotated[
        str, completed_argument("SOURCE", "A file, a shipped data set such as faq, or a Hub id.", completion.data_sets)
    ],
    format: Annotated[
        str, completed_option("Format of the rows; found by itself unless you say.", completion.formats)
    ] = "auto",
    split: SplitOption = None,
    tokenizer: Annotated[
        str, completed_option("Count tokens with the tokenizer of this model.", completion.architectures)
    ] = "nano",
    tokens: Annotated[bool, typer.Option(help="Count tokens at all.")] = True,
    template: Annotated[
        str, completed_option("The template around the rows whose tokens are counted.", completion.templates)
    ] = "question-answer",
    context: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="Tokens that a row may have; default: the model's.")
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Rows of a batch, to count its padding.")] = 8,
    held_out: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Preference rows whose prompts must not be among these."),
    ] = None,
    show: Annotated[int, typer.Option(metavar="N", min=0, help="How many conversations to print.")] = 1,
    convert: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="FORMAT OUT",
            help="Write the rows in this format to this file.",
            autocompletion=completion.written_formats,
        ),
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Convert what can be used and report the rest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Look into an instruction file of any format; convert it.

    Says what is in it, how many tokens that makes, how much of a batch would be padding, and what is wrong with it.
    Of preference rows (prompt, chosen, rejected) it says how long both answers are, and what stands twice.
    """
    from ftlib.cli import progress
    from ftlib.cli.output import counted
    from ftlib.data.preferences import first_is_preference
    from ftlib.data.reading import iter_conversations
    from ftlib.data.sources import source_file
    from ftlib.data.writing import save_conversations
    from ftlib.errors import DataError
    from ftlib.files import check_target
    from ftlib.locales import printable

    path = source_file(source, split=split)
    if format == "auto" and first_is_preference(source, split=split):
        return _look_into_preferences(source, split, held_out, convert, show=show, as_json=as_json)
    if held_out is not None:
        raise DataError(f"{source}: --held-out compares preference rows only, and these are none: leave it out")
    if convert is not None:
        check_target(convert[1], sources=[path] if path else [])
    with progress.reading(path.stat().st_size if path else None) as (on_bytes, count, unusable):
        skip = skip_bad_rows or convert is None
        name, conversations = iter_conversations(
            source, format=format, split=split, on_error="skip" if skip else "raise", on_bytes=on_bytes
        )
        shown: list[list[Message]] = []
        passed_on = _keep_first(count(conversations), show, shown)
        if convert is not None:
            rows = ({"messages": messages} for messages in passed_on)
            written = save_conversations(rows, convert[1], format=convert[0])
            found: dict[str, Any] = {"format": name, "rows": written}
            found |= {"written_to": str(convert[1]), "written_as": convert[0]}
            said = f"{counted(written, 'row')} of {name} written to {convert[1]} as {convert[0]}."
        else:
            summary = _summary(passed_on, name, tokenizer if tokens else None, template, context, batch_size)
            found = summary.as_dict()
    if as_json:
        typer.echo(json.dumps(found | {"unusable": unusable}))
    elif convert is not None:
        typer.echo(printable(said))
    else:
        from ftlib.cli.data_output import print_summary

        print_summary(source, summary, shown)
    if unusable or found.get("faults"):
        raise typer.Exit(1)


def _keep_first(rows: Iterator[list[Message]], count: int, kept: list[list[Message]]) -> Iterator[list[Message]]:
    for messages in rows:
        if len(kept) < count:
            kept.append(messages)
        yield messages


def _summary(
    conversations: Iterator[list[Message]], name: str, model: str | None, template: str, context: int | None, size: int
) -> DataSummary:
    from ftlib.models.tokenizer import load_tokenizer
    from ftlib.text.summary import summarize
    from ftlib.text.templates import get_template

    chosen = load_tokenizer(model) if model else None
    chosen_template = get_template(template)
    return summarize(
        conversations, format=name, tokenizer=chosen, template=chosen_template, context=context, batch_size=size
    )


def _look_into_preferences(
    source: str, split: str | None, held_out: str | None, convert: object, *, show: int, as_json: bool
) -> None:
    """Print what is in a preference file; rows that can't be used are reported on the way."""
    from ftlib.cli import progress
    from ftlib.cli.data_output import print_preferences
    from ftlib.data.preferences import iter_preferences
    from ftlib.data.sources import source_file
    from ftlib.errors import DataError
    from ftlib.text.preference_summary import summarize_preferences

    if convert is not None:
        raise DataError(f"{source}: preference rows can't be converted: leave --convert out")
    path = source_file(source, split=split)
    with progress.reading(path.stat().st_size if path else None) as (on_bytes, _, unusable):
        rows = list(iter_preferences(source, split=split, on_error="skip", on_bytes=on_bytes))
        others = list(iter_preferences(held_out)) if held_out is not None else None
    summary = summarize_preferences(rows, others)
    if as_json:
        typer.echo(json.dumps({"format": "preference", **summary.as_dict(), "unusable": unusable}))
    else:
        print_preferences(source, summary, rows[:show])
    if unusable or summary.duplicates or summary.contradictions or summary.leaked:
        raise typer.Exit(1)
