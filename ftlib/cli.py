"""The command line: it parses and calls, and holds no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ftlib.errors import FtlibError

app = typer.Typer(help="The command line of the fine-tuning course.", no_args_is_help=True, add_completion=True)


@app.callback()
def _root() -> None:
    """Keep the name of the command even while there is only one."""


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


def main() -> None:
    """Run the command line; an expected error is one line on stderr and exit status 1."""
    try:
        app()
    except FtlibError as error:
        typer.echo(f"ftlib: {error}", err=True)
        sys.exit(1)
