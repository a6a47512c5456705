"""Intervals of rates, by what the binomial distribution says of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from expo.stats import bootstrap, bootstrap_rate


@pytest.mark.parametrize("n", [2, 10, 27, 200])
def test_where_no_problem_differs_the_interval_of_a_rate_is_the_exact_one(n: int) -> None:
    for value in (0.0, 1.0):
        rate = bootstrap_rate(np.full(n, value))
        exact = binomtest(int(value * n), n).proportion_ci(method="exact")
        assert (rate.mean, rate.low, rate.high) == (value, pytest.approx(exact.low), pytest.approx(exact.high))
        # The control: resampled, these problems would seem to be certain.
        assert bootstrap(np.full(n, value)).low == bootstrap(np.full(n, value)).high == value


def test_any_other_rate_is_resampled() -> None:
    values = np.array([0.0, 0.5, 1.0, 1.0])
    assert bootstrap_rate(values) == bootstrap(values)
    alike = bootstrap_rate(np.full(5, 0.5))
    assert (alike.low, alike.high) == (0.5, 0.5)
    assert (bootstrap_rate(np.array([1.0])).low, bootstrap_rate(np.array([])).n) == (0.0, 0)
