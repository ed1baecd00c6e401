"""Options that several commands have, and how one is declared whose values the shell completes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ftlib.cli import completion


def completed_option(
    help: str, offered: Sequence[str] | Callable[[], list[str]], *flags: str, metavar: str = "NAME"
) -> Any:
    """Declare an option whose values the shell completes.

    Args:
        help: What the command's help says of it.
        offered: The values, or what names them when somebody asks.
        flags: How it is written; default: the parameter's name.
        metavar: Stands for the value in the help.
    """
    return typer.Option(*flags, metavar=metavar, help=help, autocompletion=_completion(offered))


def completed_argument(metavar: str, help: str, offered: Callable[[], list[str]]) -> Any:
    """Declare an argument whose values the shell completes; arguments as for :func:`completed_option`."""
    return typer.Argument(metavar=metavar, help=help, autocompletion=offered)


def _completion(offered: Sequence[str] | Callable[[], list[str]]) -> Callable[[], Sequence[str]]:
    return offered if callable(offered) else lambda: offered


DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda or mps; default: the best that is there.")
]
DtypeOption = Annotated[
    str,
    completed_option(
        "Of the weights: float32, or bfloat16 or float16 for half the memory.",
        completion.WEIGHT_DTYPES,
        "--dtype",
        metavar="TYPE",
    ),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Of the draw; default: another one each time.")
]
SplitOption = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Which split, where there are several.")
]
TemperatureOption = Annotated[
    float,
    typer.Option(
        "--temperature", metavar="X", min=0, help="0 takes the likeliest token each time; above, tokens are drawn."
    ),
]
