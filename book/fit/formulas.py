"""The memory of a step as formulas in rows, length and rank: one traced step stands for all batches.

:func:`ftlib.estimate.step_memory.step_memory` runs a step for one batch. Run with sizes whose prime factors occur
nowhere in the model, it shows what the bytes of each tensor are made of: ``2 * B * T * r`` is the only product that
gives such a number. What exists at each moment is then a sum of products, and the peak is the largest of a few sums.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

Formula = dict[str, int]
"""Bytes: a factor for each product of letters. ``{"": 8, "BT": 4}`` is 8 + 4 * rows * length.

``B`` are the rows, ``T`` the tokens of a row, ``U`` is one more, ``P`` is ``T`` rounded up to a multiple of 32 (what
attention on a GPU keeps for each row), and ``r`` is the rank of the adapters.
"""

Moment = dict[str, Formula]
"""What exists at a moment, by kind of memory."""

_BLOCK = 32


@dataclass(frozen=True)
class Sizes:
    """Values of the letters.

    Attributes:
        rows: ``B``.
        length: ``T``; gives ``U`` and ``P``, too.
        rank: ``r``.
    """

    rows: int
    length: int
    rank: int = 1

    def letters(self) -> dict[str, int]:
        """Return the value of each letter.

        >>> Sizes(rows=2, length=33).letters()
        {'B': 2, 'T': 33, 'U': 34, 'P': 64, 'r': 1}
        """
        rounded = -(-self.length // _BLOCK) * _BLOCK
        return {"B": self.rows, "T": self.length, "U": self.length + 1, "P": rounded, "r": self.rank}


# Each letter has a prime factor that no model's widths have: 1009, 977, 163 (of 978), 31 (of 992) and 41.
TRACED = Sizes(rows=1009, length=977, rank=41)
PRIMES = {"B": 1009, "T": 977, "U": 163, "P": 31, "r": 41}


def letters_of(count: int) -> tuple[str, int]:
    """Tell which product of letters a number of bytes is, seen with the sizes :data:`TRACED`.

    Returns:
        The letters, and the factor in front of them.

    >>> letters_of(4 * 1009 * 977 * 512)
    ('BT', 2048)
    """
    letters, values = "", TRACED.letters()
    for letter, prime in PRIMES.items():
        while count and count % prime == 0 and count % values[letter] == 0:
            letters, count = letters + letter, count // values[letter]
    return letters, count


def value(formula: Formula, sizes: Sizes) -> int:
    """Work out a formula.

    >>> value({"": 8, "BT": 4}, Sizes(rows=2, length=10))
    88
    """
    letters, total = sizes.letters(), 0
    for product_of, factor in formula.items():
        for letter in product_of:
            factor *= letters[letter]
        total += factor
    return total


def plus(*formulas: Formula) -> Formula:
    """Add formulas; what comes to 0 is left out.

    >>> plus({"B": 2, "": 1}, {"B": -2, "T": 3})
    {'': 1, 'T': 3}
    """
    total: Counter[str] = Counter()
    for formula in formulas:
        total.update(formula)
    return {letters: factor for letters, factor in sorted(total.items()) if factor}


def continued(few: Formula, more: Formula, *, layers: tuple[int, int, int]) -> Formula:
    """Continue a formula that grows evenly with the layers of a model.

    Args:
        few: With ``layers[0]`` layers.
        more: With ``layers[1]``.
        layers: The third is how many the model has.

    >>> continued({"": 10}, {"": 14, "B": 2}, layers=(4, 6, 8))
    {'': 18, 'B': 4}
    """
    start, second, wanted = layers
    step = plus(more, {letters: -factor for letters, factor in few.items()})
    grown = {letters: factor * (wanted - start) // (second - start) for letters, factor in step.items()}
    return plus(few, grown)
