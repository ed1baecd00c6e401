"""``ftlib doctor``: can the course run here?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

EXAMPLES = ("ftlib doctor", "ftlib doctor --json", "HF_HUB_OFFLINE=1 ftlib doctor")
STATUSES = {0: "the course can run", 1: "something that it needs is missing or broken"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Check whether the course can run here, and what with.

    What is installed and what is missing, the device, the speed of a matrix product on it, whether the Hub of Hugging
    Face can be reached, which keys are set (never what they are), and whether nano is as it was shipped.
    """
    from ftlib.cli.diagnosis import can_run, examine

    checks = examine()
    if as_json:
        typer.echo(json.dumps({"can_run": can_run(checks), "checks": [asdict(check) for check in checks]}))
    else:
        from ftlib.cli.output import print_doctor

        print_doctor(checks)
    raise typer.Exit(0 if can_run(checks) else 1)
