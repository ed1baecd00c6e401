"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from ftlib.cli import completion

DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda or mps; default: the best that is there.")
]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="TYPE",
        help="Of the weights: float32, or bfloat16 or float16 for half the memory.",
        autocompletion=lambda: completion.WEIGHT_DTYPES,
    ),
]
