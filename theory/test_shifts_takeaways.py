"""Appendix B's takeaways (line 410): pushes on an unlikely sample, and equal amounts up and down."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sympy

from theory import shifts
from theory.domains import point
from theory.evidence import Pick, counterexample, for_all, identity, negative_control, no_identity
from theory.relations import Said, both, each, eq, ge, gt, iff, le, lt
from theory.test_shifts import HALF, single, small

# B-take1: does a push on an unlikely sample leave the others alone?


def rare_limit(k: int) -> tuple[sympy.Expr, sympy.Expr]:
    """(limit, rho_k (m - rho_k)): the gradient step's change of sample k of 3 others, as the pushed one's x -> 0.

    The others have the shares rho of what is left, m = sum rho^2.
    """
    x, *head = sympy.symbols("x rho:2", positive=True)
    rho = (*head, 1 - sum(head))
    pi = [x, *((1 - x) * share for share in rho)]
    change = pi[k + 1] * (sum(p**2 for p in pi) - pi[k + 1] - x)
    return sympy.limit(sympy.expand(change), x, 0), rho[k] * (sum(share**2 for share in rho) - rho[k])


def rare_error(k: int, left: int) -> sympy.Expr:
    """The limit minus `left` times the formula; right for 1, and for 0 nothing would be left of the change."""
    limit, formula = rare_limit(k)
    return limit - left * formula


def test_gradient_step_on_rare_sample() -> None:
    identity([rare_error(k, 1) for k in range(3)], "three others with any shares")
    even = dict.fromkeys(sympy.symbols("rho:2", positive=True), sympy.Rational(1, 3))
    assert [formula.subs(even) for _, formula in map(rare_limit, range(3))] == [0, 0, 0]


def test_rare_control_nothing_left() -> None:
    no_identity(rare_error(0, 0))


def moves_others(instance: Any) -> Said | None:
    """A push by alpha = 2 on a sample up to 1/2 changes the others by a tenth in total, however unlikely it is.

    A tenth stands for any amount: `vanishes_with_probability` gives a sample for each.
    """
    pi, i, _, _ = instance
    if pi[i] > HALF:
        return None
    return ge(sum(abs(d) for m, d in enumerate(single(pi, i, Fraction(2))) if m != i), Fraction(1, 10))


def some_rare(pick: Pick) -> Any:
    """(pi, i, k, alpha) with two samples, as unlikely as 1/13."""
    pi = point(pick, 2, 2, weight=12)
    return pi, 0, 1, Fraction(2)


def test_push_of_rare_sample_counterexample() -> None:
    pinned = ((Fraction(1, 8), Fraction(7, 8)), 0, 1, Fraction(2))
    assert single(*pinned[:2], Fraction(2)) == [Fraction(7, 72), Fraction(-7, 72)]
    counterexample(moves_others, some_rare, pinned)


def vanishes_with_probability(instance: Any, power: int = 1) -> Said:
    """A push changes the others by at most (alpha - 1) pi_i in total."""
    pi, i, _, alpha = instance
    return le(sum(abs(d) for m, d in enumerate(single(pi, i, alpha)) if m != i), (alpha - 1) * pi[i] ** power)


def vanishes_with_square(instance: Any) -> Said:
    return vanishes_with_probability(instance, 2)


def test_push_vanishes_with_probability() -> None:
    for_all(vanishes_with_probability, small)


def test_vanishing_control_square() -> None:
    negative_control(vanishes_with_square, small)


# B-take2: equal amounts up and down


def equal_amounts(pick: Pick) -> Any:
    """(pi, i, j, alpha) with three samples at least, some of them alpha times as likely as others."""
    pi = point(pick, 3, 4, weight=6)
    return pi, 0, 1, Fraction(pick(2, 4))


def others_move(instance: Any) -> Said:
    """z_i up and z_j down by the same amount changes the other probabilities."""
    pi, i, j, alpha = instance
    return gt(abs(shifts.push(pi, i, alpha, j, 1 / alpha)[2:]).max(), 0)


def others_move_unless_swapped(instance: Any, power: int = 1) -> Said:
    """They stay if and only if pi_j = alpha^power pi_i, where the push swaps the two; they fall if pi_i is larger.

    Right for power 1.
    """
    pi, i, j, alpha = instance
    change = shifts.push(pi, i, alpha, j, 1 / alpha)
    side = alpha**power * pi[i] - pi[j]
    return both(
        each(both(iff(lt(d, 0), gt(side, 0)), iff(eq(d, 0), eq(side, 0))) for d in change[2:]),
        iff(eq(change[:2], [pi[j] - pi[i], pi[i] - pi[j]]), eq(side, 0)),
    )


def others_move_unless_equal(instance: Any) -> Said:
    """The condition of a gradient step, pi_i = pi_j."""
    return others_move_unless_swapped(instance, 0)


def gradient_pair_moves_others(instance: Any, by_factor: bool = False) -> Said:
    """Steps of weights +1 on log pi_i and -1 on log pi_j change other k by -pi_k (pi_i - pi_j).

    `by_factor`: by -pi_k (alpha pi_i - pi_j).
    """
    pi, i, j, alpha = instance
    change = shifts.gradient_step(pi, i) - shifts.gradient_step(pi, j)
    return eq(list(change[2:]), [-p * ((alpha if by_factor else 1) * pi[i] - pi[j]) for p in pi[2:]])


def gradient_pair_moves_others_by_factor(instance: Any) -> Said:
    """With the condition of a push by alpha, under which they stay where pi_j = alpha pi_i."""
    return gradient_pair_moves_others(instance, by_factor=True)


def test_equal_amounts_counterexample() -> None:
    quarter = Fraction(1, 4)
    pinned = ((quarter, HALF, quarter), 0, 1, Fraction(2))
    assert list(shifts.push(pinned[0], 0, Fraction(2), 1, HALF)) == [quarter, -quarter, 0]
    counterexample(others_move, equal_amounts, pinned)


def test_equal_amounts_unless_swapped() -> None:
    for_all(others_move_unless_swapped, equal_amounts)


def test_gradient_pair() -> None:
    for_all(gradient_pair_moves_others, equal_amounts)


def test_equal_amounts_control_other_condition() -> None:
    negative_control(others_move_unless_equal, equal_amounts)


def test_gradient_pair_control_condition_of_the_push() -> None:
    negative_control(gradient_pair_moves_others_by_factor, equal_amounts)
