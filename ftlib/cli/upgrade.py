"""``ftlib upgrade``: old notebooks and scripts, rewritten for the installed libraries."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("ftlib upgrade old_notebook.ipynb", "ftlib upgrade folder --fix")
STATUSES = {0: "nothing is left to do", 1: "something is left to change or to decide, or an error"}


def upgrade(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Notebooks, scripts, or folders of them.")],
    fix: Annotated[bool, typer.Option("--fix", help="Rewrite the files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Mend calls that the installed libraries no longer accept.

    Shows what would change in notebooks and scripts written for older releases of transformers, TRL, peft, datasets and
    others; --fix rewrites the files.
    """
    from ftlib.cli.output import print_upgrade
    from ftlib.upgrade import run_upgrade

    reports, status = run_upgrade(paths, fix=fix)
    if as_json:
        typer.echo(json.dumps([{**asdict(report), "path": str(report.path)} for report in reports]))
    else:
        print_upgrade(reports, fix=fix)
    raise typer.Exit(status)
