"""Arguments of :func:`ftlib.estimate.estimation.estimate`, held to what it can work out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from ftlib.argument_checks import checked, text, unchecked
from ftlib.errors import ModelError
from ftlib.models.loading import NO_CONTEXT_LIMIT
from ftlib.nearest import one_of

_LONGEST_BY_DEFAULT = 2048


def _some(name: str, value: str | Sequence[str]) -> str | Sequence[str]:
    return value if len(value) else "attention"


names_are_text = checked(
    model=unchecked,
    frozen=unchecked,
    lora_targets=_some,
    **dict.fromkeys(("dtype", "weights", "precision", "optimizer", "device", "objective"), text),
)
"""Checks the arguments of :func:`ftlib.estimate.estimate`; which names there are is said by what takes them."""


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


def checked_generated(objective: str, generated: int | None, length: int) -> int:
    """Return how many tokens of a row are generated: 0 where none are."""
    if objective != "grpo":
        if generated is not None:
            raise ModelError(f"generated is grpo's: with objective {objective} nothing is generated; leave it out")
        return 0
    if generated is None or not 0 < generated < length:
        raise ModelError(
            f"objective grpo needs generated, the tokens of a row of {length} that are no prompt: "
            f"1 to {length - 1}, not {generated}"
        )
    return generated


def checked_length(context: int, length: int | None) -> int:
    """Return the tokens of a row: where nothing is said the model's context, 2,048 at most."""
    if length is None:
        return min(context, _LONGEST_BY_DEFAULT)
    if not 2 <= length <= context:
        most = "" if context == NO_CONTEXT_LIMIT else f" and at most the model's context of {context} tokens"
        raise ModelError(f"length must be at least 2{most}, not {length}")
    return length
