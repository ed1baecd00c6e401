"""What the page "Will it fit?" works out from its table, in Python: its script follows these lines.

The sums of the table give the same bytes as :func:`ftlib.estimate`, which takes a step for each question.
"""

from __future__ import annotations

from typing import Any, get_args

from book.fit.formulas import Moment, Sizes, value
from book.fit.table import PRECISIONS, setting
from ftlib.estimate.memory_tracker import Memory, MemoryKind


def peak(model: dict[str, Any], settings: dict[str, Any]) -> Memory:
    """Find the fullest moment of a step, the first of equals.

    Args:
        model: Its part of the table (``book.fit.table.model_table``).
        settings: As ``book.generators.fit_examples.DEFAULTS``.

    Raises:
        KeyError: The table doesn't have this way to train.
    """
    device, precision, adapters = settings["device"], settings["precision"], settings["adapters"]
    update = model["updates"][f"{PRECISIONS[precision]['dtype']} {adapters} {settings['optimizer']}"]
    steps = model["steps"][setting(device, precision, adapters, checkpointing=settings["checkpointing"])]
    moments = [{**moment, "optimizer": update["kept"]} for moment in steps] + update["moments"]
    return max((_worked_out(moment, _sizes(settings)) for moment in moments), key=lambda memory: memory.total)


def counts(model: dict[str, Any], settings: dict[str, Any]) -> dict[str, int]:
    """Work out parameters and operations.

    Args:
        model: As for :func:`peak`.
        settings: As for :func:`peak`.

    Returns:
        ``parameters``, ``trainable``, ``flops`` (of a token), ``per_step`` and ``per_run``.
    """
    found = {name: value(formula, _sizes(settings)) for name, formula in model["sizes"][settings["adapters"]].items()}
    repeated = found.pop("repeated") if settings["checkpointing"] else 0
    per_step = settings["rows"] * settings["length"] * (found["flops"] + repeated)
    names = ("parameters", "trainable", "flops")
    return {**{name: found[name] for name in names}, "per_step": per_step, "per_run": per_step * settings["steps"]}


def _sizes(settings: dict[str, Any]) -> Sizes:
    return Sizes(rows=settings["rows"], length=settings["length"], rank=settings["rank"])


def _worked_out(moment: Moment, sizes: Sizes) -> Memory:
    return Memory(**{kind: value(moment.get(kind, {}), sizes) for kind in get_args(MemoryKind)})
