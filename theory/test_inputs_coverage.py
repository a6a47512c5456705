"""What theory.coverage refuses, and a few numbers known beforehand."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import pytest

from theory.coverage import SIDE, bets_above, bootstrap_above, chance_above, miss, wealth

TENTHS = [Fraction(tenths, 10) for tenths in (1, 2, 3, 4, 5, 6, 7, 8, 9)]


def test_what_is_refused() -> None:
    for mean in (Fraction(0), Fraction(-1, 2)):
        with pytest.raises(ValueError, match=f"mean must be above 0, got {mean}"):
            wealth([Fraction(1, 2)], mean)
    for above in (bets_above, bootstrap_above):
        for p in (Fraction(0), Fraction(1), Fraction(-1, 2)):
            with pytest.raises(ValueError, match=f"p must lie between 0 and 1, got {p}"):
                above(3, 1, p)
        for n, k in ((0, 0), (3, -1), (3, 4)):
            with pytest.raises(ValueError, match=f"k from 0 to n; got n = {n}, k = {k}"):
                above(n, k, Fraction(1, 2))


def test_wealth_of_a_dozen_values() -> None:
    values, mean = [Fraction(i, 12) for i in range(1, 13)], Fraction(1, 3)
    by_bet = []
    for g in TENTHS:
        held = Fraction(1)
        for x in values:
            held *= 1 - g + g * x / mean
        by_bet.append(held)
    assert wealth(values, mean) == sum(by_bet) / 9


def test_bets_reach_a_bound_just_there() -> None:
    p = Fraction(3, 5)
    won = sum(((1 - g + g / p) ** 11 * (1 - g) for g in TENTHS), Fraction(0)) / 9
    assert bets_above(12, 11, p, 1 / won)
    assert not bets_above(12, 11, p, 1 / (won + Fraction(1, 10**9)))


def test_bootstrap_of_all_resamples() -> None:
    for k in range(6):
        means = [Fraction(sum(resample), 5) for resample in product([1] * k + [0] * (5 - k), repeat=5)]
        for p in (Fraction(x, 20) for x in range(1, 20)):
            assert bootstrap_above(5, k, p) == (sum(mean <= p for mean in means) < SIDE * len(means))


def test_bootstrap_of_a_binomial() -> None:
    n, k = 9, 6
    chances = [Fraction(comb(n, j)) * Fraction(k, n) ** j * Fraction(n - k, n) ** (n - j) for j in range(n + 1)]
    for j in range(n):
        # p just at j/n and just below the next one: both have j ones or fewer at most.
        for p in (Fraction(2 * j + 1, 2 * n), Fraction(j, n)):
            if p > 0:
                assert bootstrap_above(n, k, p) == (sum(chances[: j + 1]) < SIDE)
    # Both happen.
    assert bootstrap_above(n, k, Fraction(2, 9))
    assert not bootstrap_above(n, k, Fraction(3, 9))


def test_both_sides_are_missed() -> None:
    assert miss(9, Fraction(2, 7), lambda _n, _k, _p: True) == 2
    some = miss(9, Fraction(2, 7), lambda _n, k, _p: k == 9)
    assert some == Fraction(2, 7) ** 9 + Fraction(5, 7) ** 9


def test_chance_of_no_limit_above_is_an_exact_0() -> None:
    none = chance_above(9, Fraction(2, 7), lambda _n, _k, _p: False)
    assert (none, type(none)) == (0, Fraction)


def test_chance_is_1_if_every_limit_lies_above() -> None:
    assert chance_above(9, Fraction(2, 7), lambda _n, _k, _p: True) == 1
    assert chance_above(9, Fraction(2, 7), lambda _n, k, _p: k == 0) == Fraction(5, 7) ** 9
