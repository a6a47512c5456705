"""Appendix B: which samples move the others most, and pushes up and down together against one alone."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sympy
import z3

from theory import shifts
from theory.domains import point
from theory.evidence import (
    Given,
    Pick,
    counterexample,
    for_all,
    identity,
    negative_control,
    no_identity,
    proved,
    satisfiable,
)
from theory.relations import Said, both, each, eq, gt, le, lt
from theory.test_shifts import HALF, pushed, shares, single, small

# B5: the product of the probabilities


def first_derivative(i: int, k: int, constant: int) -> sympy.Expr:
    """d pi_i / d z_k plus `constant` times pi_i pi_k, 4 symbolic logits."""
    z = sympy.symbols("z:4", real=True)
    pi = [sympy.exp(x) / sum(map(sympy.exp, z)) for x in z]
    return sympy.diff(pi[i], z[k]) + constant * pi[i] * pi[k]


def test_product_first_order() -> None:
    identity([first_derivative(0, 1, 1), first_derivative(2, 0, 1)], "L = 4")


def test_product_control_doubled() -> None:
    no_identity(first_derivative(0, 1, 2))


def symmetric(instance: Any) -> Said:
    """Pushing k changes pi_i as much as pushing i changes pi_k: both have the product pi_i pi_k."""
    pi, i, k, alpha = instance
    return eq(single(pi, k, alpha)[i], single(pi, i, alpha)[k])


THIRDS = ((Fraction(1, 3), Fraction(2, 3)), 0, 1, Fraction(2))


def test_product_counterexample() -> None:
    assert single(*THIRDS[:2], Fraction(2)) == [Fraction(1, 6), Fraction(-1, 6)]
    assert single(THIRDS[0], 1, Fraction(2)) == [Fraction(-2, 15), Fraction(2, 15)]
    counterexample(symmetric, small, THIRDS)


def finite_form(instance: Any, finite: bool = True) -> Said:
    """Of a push on k: pi_k (1 - pi_k) c for itself, -pi_i pi_k c for the others, c = (a - 1)/(1 + (a - 1) pi_k).

    Not `finite`: c = a - 1, the slope in the factor at 1.
    """
    pi, _, k, alpha = instance
    c = (alpha - 1) / (1 + (alpha - 1) * pi[k] * finite)
    return eq(single(pi, k, alpha), [pi[k] * (1 - p) * c if m == k else -p * pi[k] * c for m, p in enumerate(pi)])


def test_finite_form() -> None:
    for_all(finite_form, small)


def linear_form(instance: Any) -> Said:
    return finite_form(instance, finite=False)


def test_finite_control_linear() -> None:
    negative_control(linear_form, small)


def likelier_moves_third_more(instance: Any, in_total: bool = False) -> Said | None:
    """A push on the likelier of two samples changes every given third sample by more.

    `in_total`: all probabilities together, by the sum of all changes.
    """
    pi, i, k, alpha = instance
    if pi[i] >= pi[k]:
        return None
    by_k, by_i = single(pi, k, alpha), single(pi, i, alpha)
    if in_total:
        return gt(sum(map(abs, by_k)), sum(map(abs, by_i)))
    return each(gt(abs(by_k[m]), abs(by_i[m])) for m in range(len(pi)) if m not in (i, k))


def likelier_moves_more(instance: Any) -> Said | None:
    """It changes all probabilities together by more."""
    return likelier_moves_third_more(instance, in_total=True)


def test_likelier_counterexample() -> None:
    counterexample(likelier_moves_more, small, THIRDS)


def with_third(pick: Pick) -> Any:
    """(pi, i, k, alpha) with three or four samples."""
    return point(pick, 3, 4, weight=20), 0, 1, Fraction(pick(2, 4))


def test_likelier_moves_third_more() -> None:
    for_all(likelier_moves_third_more, with_third)


def test_likelier_control_in_total() -> None:
    negative_control(likelier_moves_more, with_third)


def above_peak(more: int) -> list[Any]:
    """z3: the own change x(1-x)(s^2-1)/(1+(s^2-1)x) of a push by alpha = s^2 exceeds (s - 1)/(s + more)."""
    s, x = z3.Reals("s x")
    top, bottom = x * (1 - x) * (s * s - 1), 1 + (s * s - 1) * x
    return [
        Given("probabilities are at least 0 and sum to 1", x >= 0, x <= 1),
        Given("a push by alpha", s > 1),
        top * (s + more) > (s - 1) * bottom,
    ]


def test_peak_of_own_change() -> None:
    proved(*above_peak(1), size="any alpha = s^2 > 1 and any pi_k")
    for root in (Fraction(3, 2), Fraction(2), Fraction(3)):
        at = 1 / (1 + root)
        assert single((at, 1 - at), 0, root**2)[0] == (root - 1) / (root + 1)
    assert single((Fraction(9, 10), Fraction(1, 10)), 0, Fraction(4))[0] == Fraction(27, 370)


def test_peak_control_lower() -> None:
    satisfiable(*above_peak(2))


# B6 to B8: both pushes against one


def not_below_sum(beta_range: Any) -> list[Any]:
    """z3: two pushes together change another sample by no less than the two alone do in sum.

    Its change over its probability is 1/w - 1 of both, 1/u - 1 and 1/v - 1 of each, w = u + v - 1; times w u v.
    """
    p, q, alpha, beta = z3.Reals("p q alpha beta")
    u, v = 1 + (alpha - 1) * p, 1 - (1 - beta) * q
    w = u + v - 1
    return [
        Given("probabilities are above 0 and sum to 1", p > 0, q > 0, p + q < 1),
        Given("a push up and one down at once", alpha > 1, beta_range(beta)),
        u * v + w * u * v >= (u + v) * w,
    ]


def test_joint_push_is_no_sum() -> None:
    proved(*not_below_sum(lambda beta: z3.And(beta > 0, beta < 1)), size="any other sample's change")


def test_joint_control_both_up() -> None:
    satisfiable(*not_below_sum(lambda beta: beta > 1))


def mixed_derivative(constant: int) -> sympy.Expr:
    """d2 pi_k / dz_i dz_j minus `constant` pi_i pi_j pi_k, 4 symbolic logits."""
    z = sympy.symbols("z:4", real=True)
    pi = [sympy.exp(x) / sum(map(sympy.exp, z)) for x in z]
    return sympy.diff(pi[2], z[0], z[1]) - constant * pi[0] * pi[1] * pi[2]


def test_joint_push_second_order() -> None:
    identity(mixed_derivative(2), "L = 4")


def test_joint_control_no_second_order() -> None:
    no_identity(mixed_derivative(0))


def no_more_than_larger(instance: Any, share: Fraction = Fraction(1)) -> Said:
    """Under both pushes another sample changes by no more than under the one that changes it more."""
    w, i, alpha, j, beta = instance
    pi, one = shares(w), Fraction(1)
    both, up, down = (shifts.push(pi, i, a, j, b) for a, b in ((alpha, beta), (alpha, one), (one, beta)))
    return each(le(abs(both[k]), share * max(abs(up[k]), abs(down[k]))) for k in range(len(pi)) if k not in (i, j))


def no_more_than_half_the_larger(instance: Any) -> Said:
    return no_more_than_larger(instance, HALF)


def pushed_with_others(pick: Pick) -> Any:
    return pushed(pick, 3)


def test_joint_push_moves_others_less() -> None:
    for_all(no_more_than_larger, pushed_with_others)


def test_joint_control_half() -> None:
    negative_control(no_more_than_half_the_larger, pushed_with_others)


def suppressed(pick: Pick) -> Any:
    """(pi, beta): sample 0 is the right one, sample 1 a wrong one that is pushed down by beta."""
    return point(pick, 2, 3, weight=12), Fraction(1, pick(2, 4))


def negative_only_barely_helps(instance: Any) -> Said | None:
    """By the factor: with J at most a tenth, a push down of a wrong sample at most doubles J."""
    pi, beta = instance
    if pi[0] > Fraction(1, 10):
        return None
    return le(shifts.push(pi, 0, Fraction(1), 1, beta)[0], pi[0])


def test_negative_only_counterexample() -> None:
    pinned = ((Fraction(1, 10), Fraction(9, 10)), Fraction(1, 3))
    assert shifts.push(pinned[0], 0, Fraction(1), 1, pinned[1])[0] == Fraction(3, 20)
    counterexample(negative_only_barely_helps, suppressed, pinned)


def negative_only_gain(instance: Any, by: int = 1) -> Said:
    """J' = J / (1 - (1 - beta) pi_j), so J grows by a factor that J does not enter; by less than J pi_j/(1 - pi_j).

    `by` 0 puts J in place of pi_j.
    """
    pi, beta = instance
    after = pi[0] / (1 - (1 - beta) * pi[by])
    change = shifts.push(pi, 0, Fraction(1), 1, beta)[0]
    return both(eq(change, after - pi[0]), both(lt(0, change), lt(change, pi[0] * pi[1] / (1 - pi[1]))))


def negative_only_gain_by_j(instance: Any) -> Said:
    return negative_only_gain(instance, 0)


def test_negative_only_gain() -> None:
    for_all(negative_only_gain, suppressed)
    # J = 1/100 beside one wrong sample of 98/100.
    pi = (Fraction(1, 100), Fraction(98, 100), Fraction(1, 100))
    assert pi[0] + shifts.push(pi, 0, Fraction(1), 1, Fraction(1, 100))[0] == Fraction(50, 149)


def test_negative_only_control_by_j() -> None:
    negative_control(negative_only_gain_by_j, suppressed)


def positive_only(condition: Any) -> list[Any]:
    """z3: a push up alone takes no more from another sample than the same push together with one on j does."""
    p, q, alpha, beta = z3.Reals("p q alpha beta")
    alone, both = 1 + (alpha - 1) * p, 1 + (alpha - 1) * p - (1 - beta) * q
    return [
        Given("probabilities are above 0 and sum to 1", p > 0, q > 0, p + q < 1),
        Given("the same push together with one down", alpha > 1, beta > 0, condition(beta)),
        both >= alone,
    ]


def test_positive_only_takes_more() -> None:
    proved(*positive_only(lambda beta: beta < 1), size="any other sample's change over its probability")


def two_pushes(pick: Pick) -> Any:
    """(pi, alpha, beta): sample 0 is pushed up, sample 1 down."""
    return point(pick, 2, 3, weight=6), Fraction(pick(2, 4)), Fraction(1, pick(2, 4))


def positive_only_moves_more(instance: Any) -> Said:
    """By total variation: a push up alone changes the policy by more than it does together with one down."""
    pi, alpha, beta = instance
    alone, both = (shifts.push(pi, 0, alpha, 1, factor) for factor in (Fraction(1), beta))
    return gt(sum(abs(alone)), sum(abs(both)))


def test_positive_only_moves_less_counterexample() -> None:
    pinned = ((HALF, HALF), Fraction(2), HALF)
    assert [shifts.push(pinned[0], 0, Fraction(2), 1, b)[0] for b in (1, HALF)] == [Fraction(1, 6), Fraction(3, 10)]
    counterexample(positive_only_moves_more, two_pushes, pinned)


def test_positive_only_control_both_up() -> None:
    satisfiable(*positive_only(lambda beta: beta > 1))
