"""``ftlib pretrain``: nano's recipe, repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("ftlib pretrain --run-folder runs/nano --out runs/nano/model \\\n    --packages constraints.txt",)
STATUSES = {0: "finished, or stopped where --stop-after-steps says", 130: "stopped with Ctrl-C; the same call goes on"}


def pretrain(
    run_folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Corpus, tokenizer, checkpoints and log; a second call resumes.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the finished model.")],
    packages: Annotated[
        Path, typer.Option(metavar="FILE", help="File of name==version lines: the packages to harvest.")
    ],
    total_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens to train on.")] = 30_000_000,
    checkpoint_every: Annotated[int, typer.Option(metavar="N", help="Optimizer steps between two checkpoints.")] = 100,
    stop_after_steps: Annotated[
        int | None, typer.Option(metavar="N", help="Leave after so many steps of this sitting.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu or cuda.")] = "cpu",
) -> None:
    """Repeat nano's recipe: harvest, pretrain, evaluate.

    Harvests docstrings, trains the tokenizer, pretrains and writes the model with its card. It takes hours.
    """
    from ftlib.locales import printable
    from ftlib.pretraining.corpus import STANDARD_LIBRARY, package_names
    from ftlib.pretraining.nano import make_nano
    from ftlib.pretraining.recipe import Recipe

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
        said = f"Not finished. The same command goes on from the last checkpoint in {run_folder}."
    else:
        said = f"Written to {out}: {report['held_out_loss_nats_per_token']} nats per token held out."
    typer.echo(printable(said))
