"""``ftlib train``: a run from a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ftlib.cli import completion
from ftlib.cli.options import completed_argument, completed_option

EXAMPLES = (
    "ftlib train faq",
    "ftlib train faq --set train.learning_rate=1e-4 --out runs/slow",
    "ftlib train faq --out runs/slow --resume",
    "ftlib train sft_freezing_train --engine hf",
    "torchrun --nproc_per_node 2 -m ftlib.cli train faq \\\n    --set train.accumulation_steps=2",
)
STATUSES = {1: "an error; what the run had saved is kept", 130: "stopped with Ctrl-C; --resume goes on"}


def train(
    config: Annotated[
        str, completed_argument("CONFIG", "A YAML file, or the name of a shipped one such as faq.", completion.configs)
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a value otherwise than the file.")
    ] = None,
    engine: Annotated[str | None, completed_option("loop, hf, lightning or trl.", completion.ENGINES)] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of the run; default: runs/ and the file's name.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Fine-tune a model as a configuration says.

    The folder of the run holds metrics, checkpoints, a picture of the loss and a card. A run is never overwritten.
    """
    from ftlib.cli import progress
    from ftlib.cli.output import print_run
    from ftlib.training.distributed import is_main_process
    from ftlib.training.run import SUMMARY
    from ftlib.training.run import train as run_training
    from ftlib.training.sft_yaml import read_config

    changes = [*(set_ or []), *([f"engine={engine}"] if engine else [])]
    settings = read_config(config, changes=changes)
    folder = out or Path(settings.checkpoint.folder or Path("runs") / Path(config).stem)
    with progress.training(shown=is_main_process()) as on_step:
        run = run_training(settings, folder, resume=resume, on_step=on_step)
    if is_main_process():
        summary = json.loads((run.folder / SUMMARY).read_text(encoding="utf-8"))
        typer.echo(json.dumps(summary)) if as_json else print_run(str(run.folder), summary)
