"""pass@k: its estimator, the estimator's variance, and mixtures of questions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Any

from theory import passk
from theory.domains import size, wide
from theory.evidence import Pick, Statement, for_all, negative_control
from theory.relations import Relation, Said, both, eq, gt, le

# Of (n, c, k): samples, right ones among them, tries.
Estimator = Callable[[int, int, int], Fraction]


def counts(pick: Pick) -> Any:
    """(n, k, p): samples, tries, probability of a right one."""
    n = size(pick, 1, 8)
    return n, pick(1, n), Fraction(pick(0, 12), 12)


def chances(n: int, p: Fraction) -> list[Fraction]:
    """Bin(n, p)."""
    return [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]


def mean(instance: Any, estimator: Estimator) -> Fraction:
    """Mean of an estimator over the number of right samples."""
    n, k, p = instance
    return sum((x * estimator(n, c, k) for c, x in enumerate(chances(n, p))), Fraction(0))


def share_of_subsets(estimator: Estimator) -> Statement:
    """The estimator is the share of all k-subsets of the samples with a right one among them."""

    def statement(instance: Any) -> Said:
        n, k, p = instance
        c = round(n * p)
        subsets = [any(i < c for i in subset) for subset in combinations(range(n), k)]
        return eq(estimator(n, c, k), Fraction(sum(subsets), len(subsets)))

    return statement


def unbiased(estimator: Estimator) -> Statement:
    """The mean of the estimator is 1 - (1-p)^k."""

    def statement(instance: Any) -> Said:
        _, k, p = instance
        return eq(mean(instance, estimator), 1 - (1 - p) ** k)

    return statement


def low(estimator: Estimator) -> Statement:
    """The mean of the estimator is at most 1 - (1-p)^k, and below it but for k = 1 and sure questions."""

    def statement(instance: Any) -> Said:
        _, k, p = instance
        gap = 1 - (1 - p) ** k - mean(instance, estimator)
        return eq(gap, 0) if k == 1 or p in (0, 1) else gt(gap, 0)

    return statement


def test_unbiased() -> None:
    for_all(share_of_subsets(passk.pass_at_k), counts)
    for_all(unbiased(passk.pass_at_k), counts)


def test_plug_in_is_low() -> None:
    for_all(low(passk.plug_in), counts)
    assert passk.plug_in(4, 1, 2) == Fraction(7, 16)


def test_unbiased_control_plug_in() -> None:
    negative_control(share_of_subsets(passk.plug_in), counts)
    negative_control(unbiased(passk.plug_in), counts)


def test_low_control_subsets() -> None:
    # The estimator of `test_unbiased` in place of the plug-in one.
    negative_control(low(passk.pass_at_k), counts)


def spreads(instance: Any, factor: int = 1) -> Said:
    """The variance formula is the variance, and at most k/n mean (1 - mean) / `factor`."""
    n, k, p = instance
    m = 1 - (1 - p) ** k
    second = mean(instance, lambda *a: passk.pass_at_k(*a) ** 2)
    return both(
        eq(second - m * m, passk.variance(n, p, k)), le(passk.variance(n, p, k), Fraction(k, n) * m * (1 - m) / factor)
    )


def spreads_less(instance: Any) -> Said:
    """As `spreads`, with half of that bound."""
    return spreads(instance, 2)


def test_variance() -> None:
    for_all(spreads, counts)
    assert passk.variance(4, Fraction(1, 3), 2) == Fraction(26, 243)


def test_variance_control_half_the_bound() -> None:
    negative_control(spreads_less, counts)


def mixtures(pick: Pick) -> Any:
    """(p of several questions, their shares, k)."""
    shares = wide(pick, 1, 4, zeros=True)
    return [Fraction(pick(0, 12), 12) for _ in shares], shares, pick(1, 6)


def curve(instance: Any, k: int) -> Fraction:
    """pass@k of the questions, by the sum."""
    p, shares, _ = instance
    value: Fraction = sum((w * (1 - (1 - x) ** k) for x, w in zip(p, shares, strict=True)), Fraction(0))
    assert passk.mixture(p, shares, k) == value
    return value


def limited(relation: Callable[[Any, Any], Relation]) -> Statement:
    """pass@k grows with k, ever slower, and pass@2k <= 1 - (1 - pass@k)^2.

    `relation` is that of the last part: `le`; or `eq`, as for a single question.
    """

    def statement(instance: Any) -> Said:
        k = instance[2]
        now, one, two, double = (curve(instance, x) for x in (k, k + 1, k + 2, 2 * k))
        return both(le(now, one), le(two - one, one - now), relation(double, 1 - (1 - now) ** 2))

    return statement


def test_mixture() -> None:
    for_all(limited(le), mixtures)


def test_mixture_control_one_question() -> None:
    negative_control(limited(eq), mixtures)


def many_tries(pick: Pick) -> Any:
    """(p of several hard questions, their shares): solved once in 20 to 400 tries, or never."""
    shares = wide(pick, 2, 4)
    return [Fraction(pick(0, 20), 400) for _ in shares], shares


def unsolved(instance: Any) -> Any:
    """The shares of questions that 8 and that 64 tries leave unsolved, on average."""
    p, shares = instance
    return 1 - passk.mixture(p, shares, 8), 1 - passk.mixture(p, shares, 64)


def few_tries_leave_more(relation: Callable[[Any, Any], Relation]) -> Statement:
    """u <= E (1-p)^8 <= u^(1/8) for u = E (1-p)^64.

    `relation` is that of the second part: `le`; or `eq`, as for a single question.
    """

    def statement(instance: Any) -> Said:
        eight, u = unsolved(instance)
        return both(le(u, eight), relation(eight**8, u))

    return statement


def test_groups_without_a_right_answer() -> None:
    for_all(few_tries_leave_more(le), many_tries)
    # Printed at level 5: pass@64 of 4%, that is u from 0.955 to 0.965.
    assert 0.9955 < 0.965 ** (1 / 8) < 0.9957


def test_groups_control_one_question() -> None:
    negative_control(few_tries_leave_more(eq), many_tries)
