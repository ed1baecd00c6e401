"""Graphics cards: what fits on which, what to change where it doesn't, how long it takes and how well it is used."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from ftlib.argument_checks import checked, each, refusal, unchecked
from ftlib.errors import ModelError
from ftlib.estimate.estimation import Estimate, PlannedPrecision, architecture, estimate
from ftlib.estimate.objectives import ROWS_EACH
from ftlib.nearest import one_of

_GB = 10**9
_TERA = 10**12
# Rules of thumb. A CUDA context with its libraries takes most of a GB, and tensors of changing sizes leave gaps.
_CONTEXT_BYTES = _GB
_SHARE_WITHOUT_GAPS = 0.95
_RANK = 8

Idea = list[dict[str, Any]]
"""A change in its variants, from mild to strong."""


@dataclass(frozen=True)
class GPU:
    """A graphics card, as its data sheet describes it.

    Attributes:
        name: Chip, and memory where the chip comes with several sizes.
        memory_bytes: Memory, in the decimal units of the data sheet (drivers report a little more or less).
        half_flops: Peak of its matrix units with 16-bit numbers, operations per second, without sparsity.
        float32_flops: Peak with float32 numbers, operations per second.
        has_bfloat16: It computes in bfloat16; if not, its 16-bit numbers are float16.
    """

    name: str
    memory_bytes: int
    half_flops: float
    float32_flops: float
    has_bfloat16: bool = True

    @property
    def usable_bytes(self) -> int:
        """What is left for tensors, by a rule of thumb: 5 % for gaps and 1 GB for CUDA and its libraries less."""
        return round(_SHARE_WITHOUT_GAPS * self.memory_bytes) - _CONTEXT_BYTES

    def peak_flops(self, precision: PlannedPrecision = "float32") -> float:
        """Operations per second at most, when matrices are multiplied in a precision."""
        return self.float32_flops if precision == "float32" else self.half_flops

    def seconds(self, flops: float, precision: PlannedPrecision = "float32", *, utilization: float = 0.3) -> float:
        """Time that a run takes, if it keeps a share of the card's peak busy: a guess, off by a factor of two.

        >>> GPUS[0].seconds(65e12 * 60, "bfloat16", utilization=0.5)
        120.0
        """
        return flops / (utilization * self.peak_flops(precision))


# NVIDIA's data sheets (T4, V100 SXM2, L4, A10, A100 SXM, L40S, H100 SXM and H200 SXM) and, for the GeForce cards,
# the white papers of their generations (Ampere GA102, appendix A; Ada, appendix A). Where a data sheet gives the
# 16-bit peak with sparsity, this is half of it; GeForce peaks are those with float32 accumulation.
GPUS = (
    GPU("T4", 16 * _GB, 65 * _TERA, 8.1 * _TERA, has_bfloat16=False),
    GPU("V100 32 GB", 32 * _GB, 125 * _TERA, 15.7 * _TERA, has_bfloat16=False),
    GPU("RTX 3090", 24 * _GB, 71 * _TERA, 35.6 * _TERA),
    GPU("RTX 4090", 24 * _GB, 165 * _TERA, 82.6 * _TERA),
    GPU("L4", 24 * _GB, 121 * _TERA, 30.3 * _TERA),
    GPU("A10", 24 * _GB, 125 * _TERA, 31.2 * _TERA),
    GPU("A100 40 GB", 40 * _GB, 312 * _TERA, 19.5 * _TERA),
    GPU("L40S", 48 * _GB, 362 * _TERA, 91.6 * _TERA),
    GPU("A100 80 GB", 80 * _GB, 312 * _TERA, 19.5 * _TERA),
    GPU("H100", 80 * _GB, 989 * _TERA, 67 * _TERA),
    GPU("H200", 141 * _GB, 989 * _TERA, 67 * _TERA),
)


@dataclass(frozen=True)
class Suggestion:
    """A change of the arguments that makes a run fit.

    Attributes:
        changes: Arguments of :func:`ftlib.estimate.estimation.estimate` and their new values; empty if it fits as it
        is.
        need: The estimate with them.
    """

    changes: dict[str, Any]
    need: Estimate


@checked()
def gpu(name: str) -> GPU:
    """Find a card by its name, or by the name that CUDA gives it.

    Raises:
        ModelError: It is not in the table.

    >>> gpu("NVIDIA A100-SXM4-80GB").memory_bytes
    80000000000
    """
    if card := _find(name):
        return card
    raise ModelError(f"no card named {name!r} in the table: {one_of(name, [card.name for card in GPUS])}")


@checked()
def fits(need: Estimate, card: GPU) -> bool:
    """Whether a run's peak memory fits on a card, with memory left for CUDA itself.

    >>> fits(estimate("EleutherAI/pythia-1b", length=512), gpu("T4"))
    False

    Taught in: chapters/16_best_practices_and_scale.ipynb
    """
    return need.peak.total <= card.usable_bytes


def _a_card(name: str, value: Any) -> Any:
    if not isinstance(value, GPU):
        raise refusal(name, "a card, such as gpu('T4')", value)
    return value


@checked(model=unchecked, cards=each(_a_card))
def suggest(model: str | Path | PretrainedConfig, cards: Sequence[GPU], **arguments: Any) -> list[Suggestion | None]:
    """Find for each card the changes that make a run fit and do the least harm.

    The first two leave the result as it is: they are tried alone, then together, before anything else. Each of the
    others is tried together with these, alone and then with those in front of it, in this order. What turns out not to
    be needed is taken back:

    1. smaller batches and more of them in a step: the same result;
    2. gradient checkpointing: the same result, and a third more to compute;
    3. LoRA of rank 8: other weights are trained;
    4. weights in bfloat16: they are rounded; not on a card that has no bfloat16;
    5. Adafactor: another optimizer;
    6. shorter rows, down to an eighth: less to learn from.

    Args:
        model: As for :func:`ftlib.estimate.estimation.estimate`.
        cards: Where it should fit.
        arguments: The run: arguments of :func:`ftlib.estimate.estimation.estimate`.

    Returns:
        One for each card; None where nothing of the above is enough.

    Raises:
        ModelError: As :func:`ftlib.estimate.estimation.estimate`.

    >>> suggest("EleutherAI/pythia-70m", [gpu("T4")], batch_size=32, length=512)[0].changes
    {'batch_size': 16, 'accumulation_steps': 2}

    Taught in: chapters/16_best_practices_and_scale.ipynb
    """
    config = model if isinstance(model, PretrainedConfig) else architecture(model)
    known: dict[Any, Estimate] = {}

    def with_changes(changes: dict[str, Any]) -> Suggestion:
        key = tuple(sorted(changes.items()))
        if key not in known:
            known[key] = estimate(config, **{**arguments, **changes})
        return Suggestion(changes, known[key])

    def search(card: GPU) -> Suggestion | None:
        harmless, others = _harmless(arguments), _others(arguments, length, has_bfloat16=card.has_bfloat16)
        changes = _least_changes(harmless, others, lambda changes: fits(with_changes(changes).need, card))
        return None if changes is None else with_changes(changes)

    rows = arguments.get("batch_size", 1) * arguments.get("accumulation_steps", 1)
    rows *= ROWS_EACH[arguments.get("objective", "sft")]
    length = with_changes({}).need.tokens_per_step // rows
    return [search(card) for card in cards]


def _find(name: str) -> GPU | None:
    words = _words(name)
    # All words of "A100 80 GB" must be there. Where several cards match, the one with the most words does best.
    found = [card for card in GPUS if _words(card.name) <= words]
    return max(found, key=lambda card: len(_words(card.name)), default=None)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+\d+\w*|[a-z]+|\d+", name.lower()))


def _harmless(arguments: dict[str, Any]) -> list[Idea]:
    """List changes that leave the result as it is."""
    batch, accumulation = arguments.get("batch_size", 1), arguments.get("accumulation_steps", 1)
    smaller = [size for size in range(batch - 1, 0, -1) if batch % size == 0]
    ideas: list[Idea] = [
        [{"batch_size": size, "accumulation_steps": accumulation * batch // size} for size in smaller],
        [{"gradient_checkpointing": True}] if not arguments.get("gradient_checkpointing") else [],
    ]
    return [idea for idea in ideas if idea]


def _others(arguments: dict[str, Any], length: int, *, has_bfloat16: bool) -> list[Idea]:
    """List the other changes, the least harmful first."""
    ideas: list[Idea] = [
        [{"lora_rank": _RANK}] if arguments.get("lora_rank") is None else [],
        [{"dtype": "bfloat16"}] if has_bfloat16 and arguments.get("dtype") != "bfloat16" else [],
        [{"optimizer": "adafactor"}] if arguments.get("optimizer", "adamw") == "adamw" else [],
        [{"length": length // part} for part in (2, 4, 8) if length // part > 1],
    ]
    return [idea for idea in ideas if idea]


def _least_changes(
    harmless: list[Idea], others: list[Idea], fit: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    alone = [list(ideas) for count in range(len(harmless) + 1) for ideas in combinations(harmless, count)]
    tries = alone.copy()
    for number in range(len(others)):
        for some in (others[number : number + 1], others[: number + 1]):
            tries += [[*ideas, *some] for ideas in reversed(alone)]
    for ideas in tries:
        changes = {name: value for idea in ideas for name, value in idea[-1].items()}
        if fit(changes):
            return _relaxed(changes, ideas, fit)
    return None


def _relaxed(changes: dict[str, Any], ideas: list[Idea], fit: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Take back, the last first, what is not needed, or not so strongly."""
    for idea in reversed(ideas):
        rest = {name: value for name, value in changes.items() if name not in idea[-1]}
        milder = ({**rest, **variant} for variant in ({}, *idea))
        changes = next(one for one in milder if fit(one))
    return {name: changes[name] for idea in ideas for name in idea[-1] if name in changes}
