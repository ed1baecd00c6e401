import numpy as np
import pytest

from ftlib.errors import DataError
from ftlib.evaluation.confidence import bootstrap, paired_test


def column(*values):
    return np.array(values, dtype=float).reshape(-1, 1)


def test_the_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=(400, 1))
    found = bootstrap(values)
    error = values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_a_ratio_of_sums_is_no_mean_of_ratios():
    """One token at 4 nats and three at 0 are 1 nat a token."""
    statistics = np.array([[4.0, 1.0], [0.0, 3.0]])
    assert bootstrap(statistics, lambda sums, rows: sums[..., 0] / sums[..., 1]).value == 1.0


def test_a_seed_gives_the_same_interval_again():
    values = column(0, 1, 1, 0, 1)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)


def test_chance_differs_as_much_as_equal_runs_do():
    first = np.random.default_rng(1).normal(size=(200, 1))
    second = np.random.default_rng(2).normal(size=(200, 1))
    found = paired_test(first, second)
    assert found.p_value > 0.05
    assert found.low < 0 < found.high
    better = paired_test(first, first + 0.2)
    assert better.p_value < 0.001
    assert (better.difference, better.low, better.high) == pytest.approx((0.2, 0.2, 0.2))


def test_a_pair_of_answers_cannot_prove_anything():
    """By hand: of two exchanges, both or neither leave a difference of 1: half of all."""
    assert paired_test(column(0, 0), column(1, 1)).p_value == pytest.approx(0.5, abs=0.05)


def test_nothing_and_unequal_runs_are_refused():
    with pytest.raises(DataError, match="no answers"):
        bootstrap(column())
    with pytest.raises(DataError, match="2 answers against 1"):
        paired_test(column(1, 2), column(1))
