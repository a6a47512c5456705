"""pass@k: its estimator, the estimator's variance, and mixtures of questions."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Any

from theory import passk
from theory.domains import point
from theory.evidence import Pick, for_all, negative_control
from theory.relations import Said, both, eq, gt, le


def counts(pick: Pick) -> Any:
    """(n, k, p): samples, tries, probability of a right one."""
    n = pick(1, 8)
    return n, pick(1, n), Fraction(pick(0, 12), 12)


def chances(n: int, p: Fraction) -> list[Fraction]:
    """Bin(n, p)."""
    return [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]


def mean(instance: Any, estimator: Any) -> Fraction:
    """Mean of an estimator over the number of right samples."""
    n, k, p = instance
    return sum((x * estimator(n, c, k) for c, x in enumerate(chances(n, p))), Fraction(0))


def unbiased(instance: Any) -> Said:
    """The mean of the estimator is 1 - (1-p)^k; it is the share of all k-subsets with a right sample."""
    n, k, p = instance
    c = round(n * p)
    subsets = [any(i < c for i in subset) for subset in combinations(range(n), k)]
    return both(
        eq(passk.pass_at_k(n, c, k), Fraction(sum(subsets), len(subsets))),
        eq(mean(instance, passk.pass_at_k), 1 - (1 - p) ** k),
    )


def plug_in_unbiased(instance: Any) -> Said:
    """The mean of 1 - (1 - c/n)^k is 1 - (1-p)^k."""
    return eq(mean(instance, passk.plug_in), 1 - (1 - instance[2]) ** instance[1])


def plug_in_low(instance: Any) -> Said:
    """The mean of 1 - (1 - c/n)^k is at most 1 - (1-p)^k, and below it but for k = 1 and sure questions."""
    _, k, p = instance
    gap = 1 - (1 - p) ** k - mean(instance, passk.plug_in)
    return eq(gap, 0) if k == 1 or p in (0, 1) else gt(gap, 0)


def test_unbiased() -> None:
    for_all(unbiased, counts)


def test_plug_in_is_low() -> None:
    for_all(plug_in_low, counts)
    assert passk.plug_in(4, 1, 2) == Fraction(7, 16)


def test_unbiased_control_plug_in() -> None:
    negative_control(plug_in_unbiased, counts)


def spreads(instance: Any, factor: int = 1) -> Said:
    """The variance formula is the variance, and at most k/n m (1-m) / `factor` for the mean m."""
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
    shares = point(pick, 1, 4)
    return [Fraction(pick(0, 12), 12) for _ in shares], shares, pick(1, 6)


def curve(instance: Any, k: int) -> Fraction:
    """pass@k of the questions, by the sum."""
    p, shares, _ = instance
    value: Fraction = sum((w * (1 - (1 - x) ** k) for x, w in zip(p, shares, strict=True)), Fraction(0))
    assert passk.mixture(p, shares, k) == value
    return value


def limited(instance: Any) -> Said:
    """pass@k grows with k, ever slower, and pass@2k <= 1 - (1 - pass@k)^2."""
    k = instance[2]
    now, one, two, double = (curve(instance, x) for x in (k, k + 1, k + 2, 2 * k))
    return both(le(now, one), le(two - one, one - now), le(double, 1 - (1 - now) ** 2))


def limited_as_one_question(instance: Any) -> Said:
    """pass@2k = 1 - (1 - pass@k)^2, as for a single question."""
    return eq(curve(instance, 2 * instance[2]), 1 - (1 - curve(instance, instance[2])) ** 2)


def test_mixture() -> None:
    for_all(limited, mixtures)


def test_mixture_control_one_question() -> None:
    negative_control(limited_as_one_question, mixtures)


def many_tries(pick: Pick) -> Any:
    """(p of several hard questions, their shares): solved once in 20 to 400 tries, or never."""
    shares = point(pick, 2, 4)
    return [Fraction(pick(0, 20), 400) for _ in shares], shares


def unsolved(instance: Any) -> Any:
    """The shares of questions that 8 and that 64 tries leave unsolved, on average."""
    p, shares = instance
    return 1 - passk.mixture(p, shares, 8), 1 - passk.mixture(p, shares, 64)


def few_tries_leave_more(instance: Any) -> Said:
    """f <= E (1-p)^8 <= f^(1/8) for f = E (1-p)^64."""
    eight, f = unsolved(instance)
    return both(le(f, eight), le(eight**8, f))


def few_tries_leave_exactly(instance: Any) -> Said:
    """E (1-p)^8 = f^(1/8), as for a single question."""
    eight, f = unsolved(instance)
    return eq(eight**8, f)


def test_groups_without_a_right_answer() -> None:
    for_all(few_tries_leave_more, many_tries)
    # Printed at level 5: pass@64 of 4%, that is f from 0.955 to 0.965.
    assert 0.9955 < 0.965 ** (1 / 8) < 0.9957


def test_groups_control_one_question() -> None:
    negative_control(few_tries_leave_exactly, many_tries)
