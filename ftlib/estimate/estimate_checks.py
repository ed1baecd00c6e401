"""Arguments of :func:`ftlib.estimate.estimation.estimate`, held to what it can work out."""

from __future__ import annotations

from typing import Any, get_args

from ftlib.errors import ModelError
from ftlib.nearest import one_of


def check_positive(**positive: int) -> None:
    """Refuse numbers below 1."""
    for name, value in positive.items():
        if value < 1:
            raise ModelError(f"{name} must be at least 1, not {value}")


def check_choices(**choices: tuple[str, Any]) -> None:
    """Refuse values that are none of those of a ``Literal``."""
    for name, (value, allowed) in choices.items():
        if value not in get_args(allowed):
            raise ModelError(f"unknown {name} {value!r}; {one_of(value, get_args(allowed))}")


def checked_share(target_share: float | None) -> float:
    """Return the share of the tokens that get logits: all of them where nothing is said."""
    share = 1.0 if target_share is None else target_share
    if not 0 < share <= 1:
        raise ModelError(f"target_share must be above 0 and at most 1, not {share}")
    return share
