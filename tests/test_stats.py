"""Intervals of rates, by what the binomial distribution says of them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from expo.stats import Interval, bootstrap, bootstrap_rate, finite_sample, missed_kind
from theory import coverage


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


def missed(n: int, interval: Callable[[np.ndarray], Interval]) -> float:
    """How often, at worst, the interval of n draws that are 0 or 1 misses their probability of being 1."""
    ends = [interval(np.repeat([1.0, 0.0], [k, n - k])) for k in range(n + 1)]
    p = np.linspace(0.005, 0.995, 199)
    outside = np.array([(e.low > p) | (e.high < p) for e in ends])
    return float((binom.pmf(np.arange(n + 1)[:, None], n, p) * outside).sum(0).max())


@pytest.mark.parametrize("n", [6, 12, 60])
def test_the_finite_sample_interval_has_its_level_at_every_n(n: int) -> None:
    assert missed(n, finite_sample) <= 0.05
    # The controls: the bootstrap has not, nor has its repair where all problems are alike.
    assert missed(n, bootstrap) > 0.5
    assert missed(n, bootstrap_rate) > 0.06


def test_the_finite_sample_interval_is_that_of_the_bets_of_the_theory() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 5, 12, 40):
        for values in (rng.integers(0, 13, n), rng.integers(0, 2, n) * 12, np.full(n, 5)):
            exact, ends = [Fraction(int(v), 12) for v in values], finite_sample(values / 12)
            for side, low in ((exact, ends.low), ([1 - x for x in exact], 1 - ends.high)):
                assert low == pytest.approx(0, abs=1e-9) or coverage.wealth(side, Fraction(low)) >= 39.999
                assert coverage.wealth(side, Fraction(low) + Fraction(1, 10**6)) < 40


def test_the_finite_sample_interval_needs_bounds_and_no_order() -> None:
    values = np.array([0.4, -0.2, 0.9, 0.0, 0.3])
    ends = finite_sample(values, -1, 1)
    assert ends.low < ends.mean < ends.high
    assert ends.mean == pytest.approx(values.mean())
    turned = finite_sample(-values[::-1], -1, 1)
    assert (-turned.high, -turned.low) == pytest.approx((ends.low, ends.high), abs=1e-8)
    # Told of wider bounds it is wider.
    assert finite_sample(values, -2, 2).low < ends.low
    for beyond in (1.01, -1.01, np.nan):
        with pytest.raises(ValueError, match="between -1 and 1"):
            finite_sample(np.append(values, beyond), -1, 1)
    assert finite_sample(np.array([])).n == 0
    assert (finite_sample(np.zeros(9)).low, finite_sample(np.ones(9)).high) == (0.0, 1.0)


@pytest.mark.parametrize("n", [1, 12, 40, 60, 200])
def test_half_of_all_draws_miss_a_kind_that_is_one_problem_in_so_many(n: int) -> None:
    one_in = missed_kind(n)
    assert 2 * (one_in - 1) ** n >= one_in**n
    assert 2 * (one_in - 2) ** n < (one_in - 1) ** n


def test_metrics_says_how_large_a_difference_must_be_and_what_is_missed() -> None:
    text = (Path(__file__).parent.parent / "docs" / "METRICS.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    of = {row[0].split()[0]: row[1:] for row in rows}
    n, kinds, least = of["problems"], of["half"], of["least"]
    assert len(n) == len(kinds) == len(least) > 3
    for problems, one_in, difference in zip(map(int, n), map(int, kinds), map(float, least), strict=True):
        assert missed_kind(problems) == one_in
        assert finite_sample(np.full(problems, difference + 0.006), -1, 1).low > 0
        assert finite_sample(np.full(problems, difference - 0.006), -1, 1).low < 0
