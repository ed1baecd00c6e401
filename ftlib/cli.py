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

from ftlib.errors import FtlibError, MissingExtraError, SkippedRowWarning

if TYPE_CHECKING:
    from ftlib.messages import Message
    from ftlib.summary import DataSummary

app = typer.Typer(help="The command line of the fine-tuning course.", no_args_is_help=True, add_completion=True)


@app.command()
def data(
    source: Annotated[str, typer.Argument(help="A file, a shipped data set such as faq, or a Hub id.")],
    format: Annotated[str, typer.Option(help="Format of the rows; found by itself unless you say.")] = "auto",
    split: Annotated[str | None, typer.Option(help="Which split, where there are several.")] = None,
    tokenizer: Annotated[str, typer.Option(help="Count tokens with the tokenizer of this model.")] = "nano",
    tokens: Annotated[bool, typer.Option(help="Count tokens at all.")] = True,
    template: Annotated[
        str, typer.Option(help="The frame around the rows whose tokens are counted.")
    ] = "question-answer",
    context: Annotated[
        int | None, typer.Option(min=2, help="Tokens that a row may have; default: the model's.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a batch, to count its padding.")] = 8,
    show: Annotated[int, typer.Option(min=0, help="How many conversations to print.")] = 1,
    convert: Annotated[
        tuple[str, Path] | None, typer.Option(metavar="FORMAT OUT", help="Write the rows in this format to this file.")
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Convert what can be used and report the rest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Look into an instruction file of any format: what is in it and what is wrong with it. Or convert it.

    Exit status: 0 when all is well, 1 when a row can't be used or something is wrong with it.

    For example:

      ftlib data faq

      ftlib data dump.json.gz --json

      ftlib data guanaco.jsonl --convert openai chat.jsonl
    """
    from ftlib.data import iter_conversations, save_conversations

    with _reading(source, split) as (on_bytes, count, unusable):
        skip = skip_bad_rows or convert is None
        name, conversations = iter_conversations(
            source, format=format, split=split, on_error="skip" if skip else "raise", on_bytes=on_bytes
        )
        shown: list[Any] = []
        counted = count(conversations, shown, show)
        if convert is not None:
            rows = ({"messages": messages} for messages in counted)
            written = save_conversations(rows, convert[1], format=convert[0])
            found: dict[str, Any] = {"format": name, "rows": written}
            found |= {"written_to": str(convert[1]), "written_as": convert[0]}
            said = f"{written:,} rows of {name} written to {convert[1]} as {convert[0]}."
        else:
            summary = _summary(counted, name, tokenizer if tokens else None, template, context, batch_size)
            found = summary.as_dict()
    if as_json:
        typer.echo(json.dumps(found | {"unusable": unusable}))
    elif convert is not None:
        typer.echo(said)
    else:
        from ftlib.terminal import print_summary

        print_summary(source, summary, shown)
    if unusable or found.get("faults"):
        raise typer.Exit(1)


def _summary(
    conversations: Iterator[list[Message]], name: str, model: str | None, template: str, context: int | None, size: int
) -> DataSummary:
    from ftlib.models import load_tokenizer
    from ftlib.summary import summarize
    from ftlib.templates import get_template

    chosen = load_tokenizer(model) if model else None
    frame = get_template(template)
    return summarize(conversations, format=name, tokenizer=chosen, template=frame, context=context, batch_size=size)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one such as faq.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a value otherwise than the file.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="loop, hf, lightning or trl.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/ and the file's name.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Fine-tune a model as a configuration says.

    The folder of the run holds metrics, checkpoints, a picture of the loss and a card. A run is never overwritten.

    For example:

      ftlib train faq

      ftlib train faq --set train.learning_rate=1e-4 --engine hf --out runs/slow

      ftlib train faq --out runs/slow --resume

      torchrun --nproc_per_node 2 -m ftlib.cli train faq --set train.accumulation_steps=2
    """
    from ftlib.terminal import print_run, training_progress
    from ftlib.training.config import FinetuneConfig
    from ftlib.training.run import SUMMARY
    from ftlib.training.run import train as run_training
    from ftlib.training.team import is_main_process

    changes = [*(set_ or []), *([f"engine={engine}"] if engine else [])]
    settings = FinetuneConfig.from_yaml(config, changes=changes)
    folder = out or Path(settings.checkpoint.folder or Path("runs") / Path(config).stem)
    with training_progress(shown=is_main_process()) as on_step:
        run = run_training(settings, folder, resume=resume, on_step=on_step)
    if is_main_process():
        summary = json.loads((run.folder / SUMMARY).read_text(encoding="utf-8"))
        typer.echo(json.dumps(summary)) if as_json else print_run(str(run.folder), summary)


@app.command()
def estimate(
    model: Annotated[str, typer.Argument(help="A Hub id such as EleutherAI/pythia-1b, nano, or a folder.")],
    batch: Annotated[int, typer.Option(min=1, help="Rows of one forward pass.")] = 1,
    length: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a row; default: the context, 2,048 at most.")
    ] = None,
    accumulation: Annotated[int, typer.Option(min=1, help="Forward passes of one optimizer step.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of the run.")] = 1,
    precision: Annotated[str, typer.Option(help="float32, bfloat16, or mixed.")] = "float32",
    optimizer: Annotated[str, typer.Option(help="adamw, adafactor, muon or sgd.")] = "adamw",
    lora_rank: Annotated[int | None, typer.Option(min=1, help="Train adapters of this rank instead.")] = None,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Compute activations twice.")] = False,
    gpu: Annotated[
        str | None, typer.Option(help="Say what would make it fit on this card; default: the smallest it doesn't fit.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Tell what a training run will need, before it starts: parameters, operations, memory, and where it fits.

    Worked out from the configuration alone: nothing is downloaded for the models that the course knows.

    For example:

      ftlib estimate EleutherAI/pythia-1b --batch 8 --length 512 --lora-rank 8

      ftlib estimate nano --batch 16 --json
    """
    from dataclasses import asdict

    from ftlib.estimate import architecture
    from ftlib.estimate import estimate as work_out
    from ftlib.hardware import GPUS, fits, suggest
    from ftlib.hardware import gpu as find_card
    from ftlib.terminal import print_estimate

    arguments: dict[str, Any] = {"batch_size": batch, "length": length, "accumulation_steps": accumulation}
    arguments |= {"steps": steps, "precision": precision, "optimizer": optimizer, "lora_rank": lora_rank}
    arguments["gradient_checkpointing"] = checkpointing
    config = architecture(model)
    need = work_out(config, **arguments)
    too_small = sorted((card for card in GPUS if not fits(need, card)), key=lambda card: card.memory_bytes)
    card = find_card(gpu) if gpu else next(iter(too_small), None)
    found = suggest(config, [card], **arguments)[0] if card else None
    if as_json:
        cards = {one.name: fits(need, one) for one in GPUS}
        advice = {"gpu": card and card.name, "changes": found and found.changes}
        typer.echo(json.dumps({"model": model, **asdict(need), "fits": cards, "suggestion": advice}))
    else:
        print_estimate(model, need, {one.name: fits(need, one) for one in GPUS}, card.name if card else None, found)


@app.command()
def upgrade(
    paths: Annotated[list[Path], typer.Argument(help="Notebooks, scripts, or folders of them.")],
    fix: Annotated[bool, typer.Option("--fix", help="Rewrite the files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Find calls that the installed transformers, TRL, peft and datasets no longer accept, and mend them.

    Exit status: 1 while something is left to change or to decide.

    For example:

      ftlib upgrade old_notebook.ipynb

      ftlib upgrade folder --fix
    """
    from dataclasses import asdict

    from ftlib.terminal import print_upgrade

    with _extra("upgrade"):
        from ftlib.upgrade import run_upgrade

    reports, status = run_upgrade(paths, fix=fix)
    if as_json:
        typer.echo(json.dumps([{**asdict(report), "path": str(report.path)} for report in reports]))
    else:
        print_upgrade(reports, fix=fix)
    raise typer.Exit(status)


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
def _extra(name: str) -> Iterator[None]:
    """Tell how to install what a command imports."""
    try:
        yield
    except ModuleNotFoundError as error:
        command = f"pip install 'ftlib[{name}]'"
        raise MissingExtraError(f"this command needs the package {error.name!r}: install it with {command}") from error


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

        unusable: list[str] = []

        def report(message: Warning | str, *rest: Any, **further: Any) -> None:
            unusable.append(str(message))
            console.print(f"ftlib: {message}", markup=False, soft_wrap=True)

        with warnings.catch_warnings():
            warnings.simplefilter("always", SkippedRowWarning)
            warnings.showwarning = report
            yield on_bytes, count, unusable


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
