"""The moments of a training step at which memory is fullest, each as formulas, and which of them can be the peak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from typing import Any, get_args

import numpy as np
from torch import Tensor

from book.fit.formulas import Formula, Moment, continued, letters_of, plus
from ftlib.estimate.memory_tracker import MemoryKind, MemoryTracker

MemoryChange = tuple[MemoryKind, str, int] | None
"""A kind of memory, a product of letters and its factor, below 0 where the bytes went; None is a look at the peak."""

# The largest batch and rank that the formulas are for, and the smallest row.
MOST_ROWS, MOST_RANK, LEAST_LENGTH = 1024, 256, 2


class RecordingTracker(MemoryTracker):
    """A tracker that remembers every change since it was made.

    Args:
        vocabulary: Entries of the output layer.
    """

    def __init__(self, vocabulary: int) -> None:
        """Start with nothing."""
        self._changes: list[MemoryChange] = []
        self._start = 0
        super().__init__(vocabulary)

    def start_measuring(self) -> None:
        """Forget which moments there were before; what exists stays counted."""
        super().start_measuring()
        self._start = len(self._changes)
        self._changes.append(None)

    def label(self, tensor: Tensor, kind: MemoryKind) -> None:
        """Say what a tensor is for."""
        super().label(tensor, kind)
        self._changes.append(None)  # a moment at which the peak is looked at

    def change(self, kind: MemoryKind, count: int) -> None:
        """Count bytes that came or went."""
        super().change(kind, count)
        letters, factor = letters_of(abs(count))
        self._changes.append((kind, letters, factor if count > 0 else -factor))

    def trace(self) -> Trace:
        """Return what happened since the measuring began."""
        live = _nothing()
        for kind, letters, factor in filter(None, self._changes[: self._start]):
            live[kind][letters] += factor
        return Trace(_copy(live), self._changes[self._start :])


@dataclass(frozen=True)
class Trace:
    """A step, as a tracker saw it.

    Attributes:
        start: What existed when the measuring began.
        changes: What came and went then, one after the other; None where the peak was looked at.
    """

    start: Moment
    changes: list[MemoryChange]

    def moments(self) -> dict[int, Moment]:
        """Return the moments at which memory was about to fall, by their positions among the changes."""
        live = _nothing()
        for kind, formula in self.start.items():
            live[kind].update(formula)
        found: dict[int, Moment] = {}
        looked_at: int | None = None
        for position, change in enumerate([*self.changes, ("weights", "", -1)]):
            if change is None:
                looked_at = position
                continue
            if change[2] < 0 and looked_at is not None:
                found[looked_at], looked_at = _copy(live), None
            live[change[0]][change[1]] += change[2]
        return found


def _nothing() -> dict[str, Counter[str]]:
    return {kind: Counter() for kind in get_args(MemoryKind)}


def _copy(live: dict[str, Counter[str]]) -> Moment:
    return {kind: formula for kind, count in live.items() if (formula := plus(count))}


def with_layers(few: Trace, more: Trace, *, layers: tuple[int, int, int]) -> list[Moment] | None:
    """Continue the steps of a model with few layers and of one with more to the layers that it has.

    The longer step is the shorter one with layers put in, once in the forward pass and once in the backward pass, in
    between the middle layers. What comes before and what comes after is the same in both, and memory grows evenly.

    Args:
        few: The step with ``layers[0]`` layers, four or more.
        more: With ``layers[1]``, half as many more.
        layers: The third is how many the model has.

    Returns:
        The moments of the first and last layers; None where one step is not the other one with layers put in.
    """
    positions = _positions(few.changes, more.changes)
    if positions is None:
        return None
    longer = more.moments()
    moments = [(moment, longer.get(positions[position])) for position, moment in few.moments().items()]
    grown = [_grown(moment, other, layers) for moment, other in moments if other is not None]
    return grown if len(grown) == len(moments) else None


def _grown(few: Moment, more: Moment, layers: tuple[int, int, int]) -> Moment:
    kinds = sorted(few.keys() | more.keys())
    return {kind: continued(few.get(kind, {}), more.get(kind, {}), layers=layers) for kind in kinds}


def _positions(few: list[MemoryChange], more: list[MemoryChange]) -> list[int] | None:
    """Return the position of each change of the shorter step in the longer one."""
    before = _common(few, more)
    after = min(_common(few[::-1], more[::-1]), len(few) - before)
    extra, middle = len(more) - len(few), few[before : len(few) - after]
    forward = [n for n in range(extra + 1) if more[before + n : before + n + len(middle)] == middle]
    if len(forward) != 1:
        return None
    first, last = before - forward[0], len(few) - after + extra - forward[0]
    positions = [n if n < first else n + forward[0] if n < last else n + extra for n in range(len(few))]
    return positions if [more[position] for position in positions] == few else None


def _common(one: list[MemoryChange], other: list[MemoryChange]) -> int:
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def total(moment: Moment) -> Formula:
    """Add up the kinds of a moment."""
    return plus(*moment.values())


def highest(moments: Sequence[Moment], context: int) -> list[Moment]:
    """Leave out the moments that are the fullest with no batch at all.

    A moment goes where another one is at least as full whatever the sizes (the earlier one, where they are equal), and
    where a mixture of two others is: between the first layer and the last, memory grows evenly. Sums of products are
    compared at the corners of what is allowed, each factor of a product on its own: what holds there holds between.

    Args:
        moments: Of one step, in the order of time.
        context: Tokens of the longest row.

    >>> few, many = {"weights": {"": 1}}, {"weights": {"": 1, "B": 2}}
    >>> highest([few, many, few], context=100)
    [{'weights': {'': 1, 'B': 2}}]
    """
    values = _at_corners([total(moment) for moment in moments], context)
    left = [n for n in range(len(moments)) if not _beaten(values, n)]
    for number in left.copy():
        others = [n for n in left if n != number]
        if any(_mixed(values, number, pair) for pair in combinations(others, 2)):
            left.remove(number)
    return [moments[number] for number in left]


def _at_corners(totals: Sequence[Formula], context: int) -> Any:
    """Return ``(moments, corners)``: bytes, where ``P`` is ``T`` and 0 to 31 more, and a second ``T`` is on its own."""
    products = sorted({letters for formula in totals for letters in formula})
    factors = np.array([[formula.get(letters, 0) for letters in products] for formula in totals], dtype=np.int64)
    lengths, ranks = (LEAST_LENGTH, context), (1, MOST_RANK)
    corners = list(product((1, MOST_ROWS), lengths, lengths, (0, 31), ranks, ranks))
    return factors @ np.array([[_corner(letters, *corner) for corner in corners] for letters in products])


def _corner(letters: str, rows: int, length: int, second: int, more: int, rank: int, other: int) -> int:
    result, lengths, ranks = 1, [second, length], [other, rank]
    for letter in letters:
        if letter == "B":
            result *= rows
        elif letter == "r":
            result *= ranks.pop()
        else:
            result *= lengths.pop() + {"T": 0, "U": 1, "P": more}[letter]
    return result


def _beaten(values: Any, number: int) -> bool:
    more = values - values[number]
    earlier = np.arange(len(values)) < number
    return bool(((more > 0).all(axis=1) | ((more >= 0).all(axis=1) & earlier)).any())


def _mixed(values: Any, number: int, pair: tuple[int, int]) -> bool:
    """Whether some mixture of two moments, one of them earlier, is as full as a third at every corner."""
    if min(pair) > number:
        return False
    first, second, third = values[pair[0]], values[pair[1]], values[number]
    slope, needed = first - second, third - second
    if (needed[slope == 0] > 0).any():
        return False
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = needed / slope
    if not (slope > 0).any() or shares[slope > 0].max() > shares[slope < 0].min(initial=1.0) + 1e-9:
        return False
    at = int(np.flatnonzero(slope > 0)[shares[slope > 0].argmax()])
    share = Fraction(int(needed[at]), int(slope[at]))  # exact, because the middle layers lie exactly between
    return 0 <= share <= 1 and all(share * int(rise) >= int(need) for rise, need in zip(slope, needed, strict=True))
