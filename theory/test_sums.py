"""Finite sums by their terms: an expression passes if and only if it is the sum of its terms."""

from __future__ import annotations

import itertools

import sympy

from theory.sums import summed

X, Y, P, Q, C = sympy.symbols("x y p q c")
SUMS = {P: X * Y, Q: X * X}


def test_a_linear_form_is_the_sum_of_its_terms() -> None:
    assert not any(summed(C * P - 2 * Q, C * X * Y - 2 * X**2, SUMS))
    # Two trajectories, by hand.
    a, b, r, s = sympy.symbols("a b r s")
    whole = (C * P - 2 * Q).subs({P: a * r + b * s, Q: a * a + b * b})
    assert sympy.expand(whole - sum(C * x * y - 2 * x * x for x, y in ((a, r), (b, s)))) == 0


def test_what_is_no_such_form_leaves_something() -> None:
    # Another term, a constant, a product of sums, a square of either.
    forms = ((P + Q, X * Y), (P + C, X * Y + C), (P * Q, X**3 * Y), (P**2, X**2 * Y**2), (Q**2, X**4))
    for total, term in forms:
        assert any(summed(total, term, SUMS)), total


def test_of_ten_sums_none_is_passed_over() -> None:
    names = sympy.symbols("s:10")
    sums = {s: X**i for i, s in enumerate(names)}
    assert not any(summed(sum(names), sum(sums.values()), sums))
    for one, other in itertools.combinations_with_replacement(names, 2):
        assert any(summed(one * other, sums[one] * sums[other], sums)), (one, other)
