"""How far to trust a score from a sample of questions: bootstrap intervals and paired tests.

Every score here is worked out from a row of numbers for each answer, added up over all answers: of a mean, the value
itself; of BLEU, its counts of n-grams and words. So thousands of resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ftlib.argument_checks import at_least, checked
from ftlib.errors import DataError

Array = NDArray[np.float64]
Finish = Callable[[Array, int], Array]
RESAMPLES = 2000
"""How often rows are drawn anew, unless another number is asked for."""


class Interval(NamedTuple):
    """A score and the 95 % interval around it: ``low`` to ``high``."""

    value: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """What two runs on the same questions differ by: second minus first, its 95 % interval, and how likely by chance.

    ``p_value`` is the share of random exchanges of answers between the runs that differ by at least as much.
    """

    difference: float
    low: float
    high: float
    p_value: float


def mean(sums: Array, rows: int) -> Array:
    """Finish a score that is a mean: sums ``(..., 1)`` to values ``(...)``."""
    return np.asarray(sums[..., 0] / rows)


@checked(seed=at_least(0), resamples=at_least(1))
def bootstrap(statistics: Array, finish: Finish = mean, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Interval of a score by the percentile bootstrap: questions drawn again, with replacement (Efron, 1979).

    It tells how the score would vary with other questions of the same kind. It knows nothing of other seeds of the
    training, and of under about 20 questions it is too narrow.

    Args:
        statistics: ``(rows, k)``, a row for each answer.
        finish: Turns sums ``(..., k)`` and the number of rows into scores; default: the mean.
        seed: Seed of the draws.
        resamples: How many draws.

    Raises:
        DataError: There are no rows.

    >>> bootstrap(np.array([[1.0], [1.0], [1.0]]))
    Interval(value=1.0, low=1.0, high=1.0)

    Taught in: chapters/12_base_tuned_hosted.ipynb
    """
    rows = _counted(statistics)
    value = float(finish(statistics.sum(0), rows))
    low, high = np.percentile(finish(_times_drawn(rows, seed, resamples) @ statistics, rows), [2.5, 97.5])
    return Interval(value, float(low), float(high))


@checked(seed=at_least(0), resamples=at_least(1))
def paired_test(
    first: Array, second: Array, finish: Finish = mean, *, seed: int = 0, resamples: int = RESAMPLES
) -> PairedTest:
    """Compare two runs on the same questions.

    The interval is a paired bootstrap (Koehn, 2004): both runs on the same drawn questions. The p-value is from
    approximate randomisation (Noreen, 1989): if the runs were equally good, exchanging the two answers to any question
    would change nothing, so the difference is held against those of random exchanges.

    Args:
        first: ``(rows, k)``, as for :func:`bootstrap`.
        second: The same of the other run, the same questions in the same order.
        finish: As for :func:`bootstrap`.
        seed: Seed of the draws.
        resamples: How many draws, for each of the two.

    Raises:
        DataError: There are no rows, or not the same number.

    >>> paired_test(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]))
    PairedTest(difference=0.0, low=0.0, high=0.0, p_value=1.0)

    Taught in: chapters/12_base_tuned_hosted.ipynb
    """
    rows = _counted(first)
    if first.shape != second.shape:
        raise DataError(f"{rows} answers against {len(second)}: a paired test needs the same questions in both runs")
    drawn = _times_drawn(rows, seed, resamples)
    low, high = np.percentile(finish(drawn @ second, rows) - finish(drawn @ first, rows), [2.5, 97.5])
    difference = float(finish(second.sum(0), rows) - finish(first.sum(0), rows))
    exchanged = (np.random.default_rng(seed + 1).random((resamples, rows)) < 0.5).astype(np.float64)
    moved = exchanged @ (second - first)
    by_chance = finish(second.sum(0) - moved, rows) - finish(first.sum(0) + moved, rows)
    extreme = int((np.abs(by_chance) >= abs(difference) - 1e-12).sum())
    return PairedTest(difference, float(low), float(high), (extreme + 1) / (resamples + 1))


def _counted(statistics: Array) -> int:
    if statistics.ndim != 2 or not np.issubdtype(statistics.dtype, np.number):
        raise DataError(f"expected a row of numbers for each answer, (rows, k), found the shape {statistics.shape}")
    if not len(statistics):
        raise DataError("there are no answers to work out a score from: give at least one")
    return len(statistics)


def _times_drawn(rows: int, seed: int, resamples: int) -> Array:
    """How often each row is drawn in each resample, ``(resamples, rows)``."""
    drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=resamples)
    return drawn.astype(np.float64)
