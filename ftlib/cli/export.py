"""``ftlib export``: a trained model for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ftlib.cli import completion

EXAMPLES = (
    "ftlib export runs/faq --to merged",
    "ftlib export runs/faq --to merged --dtype bfloat16 --out models/faq",
)
STATUSES = {1: "an error, such as a place where something is already"}


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The folder of a run, a checkpoint, an adapter or a model; nano, smollm2, or a Hub id.",
            autocompletion=completion.models,
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="merged: a folder for transformers and all that reads its format.",
            autocompletion=lambda: completion.EXPORTS,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to; default: named after the model, here.")
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="Of the weights: float32, bfloat16 or float16.",
            autocompletion=lambda: completion.EXPORT_DTYPES,
        ),
    ] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a model, its template and its ends for other programs.

    An adapter is added into the weights. Nothing is overwritten, and a folder or a file appears whole or not at all.
    """
    from ftlib.export.targets import short_name

    format_of(to)
    place = _merged(model, out or Path(f"{short_name(model)}-{to}"), dtype)
    _tell(place, to, as_json=as_json)


def format_of(name: str) -> str:
    """Return the name of a format; one that nobody knows is wrong usage."""
    from ftlib.cli.group import WrongUsage
    from ftlib.nearest import one_of

    if name not in completion.EXPORTS:
        raise WrongUsage(f"unknown format {name!r}; {one_of(name, completion.EXPORTS)}")
    return name


def _merged(model: str, place: Path, dtype: Any) -> Path:
    from ftlib.export.merged import export_merged

    return export_merged(model, place, dtype=dtype)


def _tell(place: Path, to: str, *, as_json: bool) -> None:
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    written = {str(path): path.stat().st_size for path in files}
    if as_json:
        typer.echo(json.dumps({"format": to, "path": str(place), "bytes": written}))
        return
    from ftlib.cli.output import print_export

    print_export(str(place), written)
