"""Lines 116 to 124: does the gain follow pi_j?"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sympy

from theory import improvement
from theory.domains import bits, point
from theory.evidence import Pick, Statement, counterexample, for_all, identity, negative_control, no_identity
from theory.relations import Said, both, eq, gt, iff, le, lt, when
from theory.test_dominance import skewed


def minimal(instance: Any) -> Said:
    """Literal: the gain scales with pi_j: at most 2 pi_j, since |s_j|^2 <= 2."""
    pi, r, j = instance
    return le(abs(improvement.tabular_gain(pi, r, j)), 2 * pi[j])


def vanishes(instance: Any) -> Said:
    """Literal: the gain of a right sample tends to 0 with pi_j (others in fixed proportion)."""
    pi, r = instance
    return eq(improvement.tabular_gain((Fraction(0), *pi), (1, *r), 0), 0)


def others(pick: Pick) -> Any:
    """(pi, r) of the other trajectories."""
    pi = point(pick, 2, 4, 6)
    return pi, bits(pick, len(pi))


def tends_to(factor: int) -> Statement:
    """That limit is p (1 - p) [(1 - p) m_F - factor p m_S], m_F and m_S the odds that two wrong (right) ones agree."""

    def statement(instance: Any) -> Said | None:
        pi, r = instance
        p = sum(x for x, y in zip(pi, r, strict=True) if y)
        if p in (0, 1):
            return None
        right = sum((x / p) ** 2 for x, y in zip(pi, r, strict=True) if y)
        wrong = sum((x / (1 - p)) ** 2 for x, y in zip(pi, r, strict=True) if not y)
        gain = improvement.tabular_gain((Fraction(0), *pi), (1, *r), 0)
        return eq(gain, p * (1 - p) * ((1 - p) * wrong - factor * p * right))

    return statement


def test_unlikely_sample_gains_more() -> None:
    pi = (Fraction(1, 11), Fraction(1, 11), Fraction(9, 11))
    counterexample(minimal, skewed, (pi, (1, 1, 0), 0))


def test_gain_does_not_vanish() -> None:
    third = Fraction(1, 3)
    counterexample(vanishes, others, ((third, 2 * third), (1, 0)))
    assert improvement.tabular_gain((0, third, 2 * third), (1, 1, 0), 0) == Fraction(2, 27)


def test_limit_of_the_gain() -> None:
    for_all(tends_to(1), others)


def test_limit_control_without_the_right_samples() -> None:
    negative_control(tends_to(0), others)


def t1_ranks(instance: Any) -> Said | None:
    """Literal: of two right samples in one policy the one with the larger T1 gains more."""
    pi, r, j, k = instance
    if not (r[j] and r[k]) or all(r):
        return None
    first = improvement.tabular_t1(pi, r, j) - improvement.tabular_t1(pi, r, k)
    return iff(gt(first, 0), gt(improvement.tabular_gain(pi, r, j), improvement.tabular_gain(pi, r, k)))


def small_pair(pick: Pick) -> Any:
    """(pi, r, 0, 1): three or four trajectories."""
    pi = point(pick, 3, 4, 8)
    return pi, bits(pick, len(pi)), 0, 1


def test_t1_ranks_the_other_way() -> None:
    pi = (Fraction(1, 4), Fraction(1, 2), Fraction(1, 4))
    counterexample(t1_ranks, small_pair, (pi, (1, 1, 0), 0, 1))


def monotone(instance: Any) -> Said | None:
    """Literal: likelier gains more. Two trajectories, the first right, at probabilities x < y."""
    x, y = instance
    if not x < y:
        return None
    return lt(improvement.tabular_gain((x, 1 - x), (1, 0), 0), improvement.tabular_gain((y, 1 - y), (1, 0), 0))


def peak(rho: Any, r: Any, of_t1: bool = False) -> Fraction:
    """Where the gain of a right sample peaks on the path: (1 - 2 kappa)/3; T1 peaks at 1/3, as if kappa were 0."""
    right_share = sum((a for a, y in zip(rho, r, strict=True) if y), Fraction(0))
    right, wrong = (sum((a * a for a, y in zip(rho, r, strict=True) if y == which), Fraction(0)) for which in (1, 0))
    kappa = (right_share * wrong - (1 - right_share) * right) / ((1 - right_share) * (1 + right + wrong))
    return Fraction(1 - 2 * (0 if of_t1 else kappa)) / 3


def up_to_the_peak(of_t1: bool) -> Statement:
    """The gain grows along the path on which z_j alone moves, up to its peak, and falls beyond.

    `of_t1`: up to the peak of T1, whatever the others are.
    """

    def statement(instance: Any) -> Said | None:
        rho, r, x, y = instance
        if not x < y or all(r) or x < peak(rho, r, of_t1) < y:
            return None
        first, second = (improvement.tabular_gain((t, *((1 - t) * a for a in rho)), (1, *r), 0) for t in (x, y))
        return both(
            when(y <= peak(rho, r, of_t1), lt(first, second)),
            when(y > peak(rho, r, of_t1), gt(first, second)),
        )

    return statement


def path(pick: Pick) -> Any:
    """(law of the others, their rewards, x, y): two values of pi_j on the path."""
    rho = point(pick, 1, 4)
    return rho, bits(pick, len(rho)), Fraction(pick(1, 59), 60), Fraction(pick(1, 59), 60)


def gain_errors(times: int) -> list[sympy.Expr]:
    """The gain on the path minus (1 - rho_S)(1 + m)(1 - x)^2 (x + kappa), and its slope minus (1 - rho_S)(1 + m)(1 - x)
    times 1 - 2 kappa - `times` x, which is right for 3; x = pi_j.

    Any L: rho_S is the share of right ones among the others, a and b the sums of the squared shares of the right and of
    the wrong ones, m = a + b.
    """
    x, share, a, b = sympy.symbols("x rho_S a b", positive=True)
    p, right, wrong = x + (1 - x) * share, x**2 + (1 - x) ** 2 * a, (1 - x) ** 2 * b
    gain = x * (1 - p) - (1 - p) * right + p * wrong
    scale = (1 - share) * (1 + a + b)
    kappa = (share * b - (1 - share) * a) / scale
    return [
        gain - scale * (1 - x) ** 2 * (x + kappa),
        sympy.diff(gain, x) - scale * (1 - x) * (1 - 2 * kappa - times * x),
    ]


def peak_errors(at: sympy.Rational) -> list[sympy.Expr]:
    """T1 = (1 + m) x (1 - x)^2 on the path, any L, m = sum rho^2: its slope at `at`, its value there - 4/27 (1 + m)."""
    x, m = sympy.symbols("x m", positive=True)
    first = x * (1 - 2 * x + x * x + (1 - x) ** 2 * m)
    shape = sympy.expand(first - (1 + m) * x * (1 - x) ** 2)
    return [shape, sympy.diff(first, x).subs(x, at), first.subs(x, at) - sympy.Rational(4, 27) * (1 + m)]


def test_likelier_can_gain_less() -> None:
    counterexample(
        monotone,
        lambda pick: (Fraction(pick(1, 11), 12), Fraction(pick(1, 11), 12)),
        (Fraction(1, 3), Fraction(2, 3)),
    )


def test_gain_on_the_path() -> None:
    identity(gain_errors(3), "any L, by the shares of right and wrong ones")


def test_peak_of_t1() -> None:
    identity(peak_errors(sympy.Rational(1, 3)), "any L, by the sum of the squared shares")


def test_peak_on_instances() -> None:
    for_all(up_to_the_peak(of_t1=False), path)
    # One right and two wrong to three: below 1/3, at 2/7.
    rho, r = (Fraction(1, 3), Fraction(2, 3)), (1, 0)
    assert peak(rho, r) == Fraction(2, 7)
    gains = [
        improvement.tabular_gain((x, *((1 - x) * a for a in rho)), (1, *r), 0)
        for x in (Fraction(17, 60), Fraction(19, 60))
    ]
    assert gains == [Fraction(275501, 1458000), Fraction(274003, 1458000)]


def test_gain_control_other_peak() -> None:
    no_identity(gain_errors(2)[1])


def test_peak_control_at_a_half() -> None:
    no_identity(peak_errors(sympy.Rational(1, 2))[1])


def test_peak_control_that_of_t1() -> None:
    negative_control(up_to_the_peak(of_t1=True), path)
