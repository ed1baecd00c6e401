"""Which rows go together: into a batch with little padding, or into one packed row. Only their lengths count."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

from ftlib.argument_checks import at_least, checked, each
from ftlib.errors import DataError


@checked(lengths=each(at_least(0)), batch_size=at_least(1), seed=at_least(0))
def length_batches(lengths: Sequence[int], batch_size: int, *, seed: int) -> list[list[int]]:
    """Group row numbers so that rows of one batch are about equally long, in a random order of batches.

    Rows are shuffled first, sorted by length within stretches of 16 batches, and the batches are
    shuffled again: little padding, and still a different mix at each seed.

    >>> sorted(i for batch in length_batches([3, 9, 4, 8], 2, seed=0) for i in batch)
    [0, 1, 2, 3]
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(lengths)).tolist()
    stretch = batch_size * 16
    batches: list[list[int]] = []
    for start in range(0, len(order), stretch):
        part = sorted(order[start : start + stretch], key=lambda row: lengths[row])
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


@checked(lengths=each(at_least(0)), max_length=at_least(1))
def packing_plan(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Choose which rows share a packed row: the longest first, each into the fullest row that can still hold it.

    (Best-fit decreasing; at most 11/9 of the fewest rows possible, and four: Johnson, 1973.)

    Args:
        lengths: Tokens of each row.
        max_length: Tokens that a packed row can hold.

    Returns:
        Row numbers, grouped; every row once.

    Raises:
        DataError: A row is longer than ``max_length``.

    >>> packing_plan([3, 9, 4, 6], max_length=10)
    [[1], [3, 2], [0]]

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    plan: list[list[int]] = []
    free_tokens: list[tuple[int, int]] = []  # (how many, number of the packed row), ascending
    for row in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if lengths[row] > max_length:
            raise DataError(f"row {row} has {lengths[row]} tokens, a packed row holds {max_length}: truncate it first")
        place = bisect_left(free_tokens, (lengths[row], 0))
        if place == len(free_tokens):
            plan.append([])
            insort(free_tokens, (max_length, len(plan) - 1))
            place = len(free_tokens) - 1
        free, number = free_tokens.pop(place)
        plan[number].append(row)
        insort(free_tokens, (free - lengths[row], number))
    return plan
