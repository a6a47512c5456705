"""Eq 2: what the first-order expansion of Delta J leaves out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import sympy
import z3

from theory import improvement
from theory.domains import bits, point, points, twelfths, wide
from theory.evidence import (
    Given,
    Pick,
    Statement,
    counterexample,
    for_all,
    identity,
    negative_control,
    no_identity,
    proved,
    refuted_by_sweep,
    satisfiable,
    sweep,
)
from theory.inputs import Array
from theory.relations import Said, both, eq, gt, le


def step(pick: Pick) -> Any:
    """(pi, r, v): a policy, rewards in [0, 1], whole logit steps."""
    pi = wide(pick, 2, 5, zeros=True)
    return pi, twelfths(pick, len(pi)), tuple(Fraction(pick(-5, 5)) for _ in pi)


def binary_step(pick: Pick) -> Any:
    """(pi, r, v): three trajectories, rewards 0 or 1, small whole logit steps in units of log 2."""
    pi = point(pick, 3, 3, 4)
    return pi, bits(pick, 3), tuple(pick(-3, 3) for _ in pi)


def series(pi: Any, r: Any, v: Any) -> tuple[Fraction, Fraction]:
    """First and second derivative of J at t = 0 for logits z + t v, from power series cut after t^2."""
    w = [[p, p * x, p * x * x / 2] for p, x in zip(pi, v, strict=True)]
    n = [sum(row[i] * y for row, y in zip(w, r, strict=True)) for i in range(3)]
    d = [sum(row[i] for row in w) for i in range(3)]
    # Coefficients c of n / d, from n = c d.
    c0 = n[0] / d[0]
    c1 = (n[1] - c0 * d[1]) / d[0]
    c2 = (n[2] - c0 * d[2] - c1 * d[1]) / d[0]
    return c1, 2 * c2


def aligned(pi: Any, r: Any, v: Any) -> Any:
    """grad J . v = sum_l pi_l (r_l - p) v_l."""
    p = sum(x * y for x, y in zip(pi, r, strict=True))
    return sum(x * (y - p) * s for x, y, s in zip(pi, r, v, strict=True))


def first_order_sign(instance: Any) -> Said | None:
    """Literal: a positive first-order term means that J rises on the step log 2 * v."""
    pi, r, v = instance
    if not aligned(pi, r, v) > 0:
        return None
    moved = [p * Fraction(2) ** x for p, x in zip(pi, v, strict=True)]
    return gt(
        sum(m * y for m, y in zip(moved, r, strict=True)) / sum(moved), sum(x * y for x, y in zip(pi, r, strict=True))
    )


def test_eq2_sign_fails() -> None:
    third = Fraction(1, 3)
    pinned = ((third, third, third), (1, 0, 0), (0, -2, 1))
    counterexample(first_order_sign, binary_step, pinned)


def first_derivative(sign: int) -> Statement:
    """The slope of J along v is grad J . v."""

    def statement(instance: Any) -> Said:
        return eq(series(*instance)[0], sign * aligned(*instance))

    return statement


def test_eq2_first_order() -> None:
    for_all(first_derivative(1), step)


def test_eq2_control_descent() -> None:
    negative_control(first_derivative(-1), step)


def second_derivative_error(power: int) -> sympy.Expr:
    """d^2 J / dt^2 by sympy minus Cov(r, (v - mean v)^2), the mean to this power; any L, by moments.

    J = A(t) / N(t), sums of w r e^(tv) and of w e^(tv): A^(n) / N is the mean of r v^n, N^(n) / N that of v^n.
    """
    t, r, rv, rvv, v, vv = sympy.symbols("t r rv rvv v vv", real=True)
    A, N = (sympy.Function(name)(t) for name in "AN")
    found = sympy.diff(A / N, t, 2)
    for n, (a, b) in ((2, (rvv, vv)), (1, (rv, v))):
        found = found.subs({sympy.Derivative(A, (t, n)): a * N, sympy.Derivative(N, (t, n)): b * N})
    covariance = rvv - 2 * v**power * rv + v**2 * r - r * (vv - v**2)
    return sympy.expand(found.subs(A, r * N) - covariance)


def groups_error(sign: int) -> sympy.Expr:
    """Cov(r, (v - mean v)^2) minus p (1 - p) [(1 - 2p) D^2 + s_S^2 + `sign` s_F^2]; any L, rewards 0 or 1.

    S has the mass p, the mean a and the variance s, F the mean b and the variance f.
    """
    p, a, b, s, f = sympy.symbols("p a b s f", real=True)
    mean = p * a + (1 - p) * b
    right, wrong = p * (s + (a - mean) ** 2), (1 - p) * (f + (b - mean) ** 2)
    return sympy.expand(right - p * (right + wrong) - p * (1 - p) * ((1 - 2 * p) * (a - b) ** 2 + s + sign * f))


def second_derivative(times: int) -> Statement:
    """The closed form agrees with the power series: it is 2 times the coefficient of t^2. With 1, it is that itself."""

    def statement(instance: Any) -> Said:
        return eq(improvement.second_derivative(*instance), times * series(*instance)[1] / 2)

    return statement


def bounded(limit: int) -> Statement:
    """|d^2 J / dt^2| <= R^2 / sqrt(limit), squared so that it stays rational; and R^2 <= 2 |v|^2."""

    def statement(instance: Any) -> Said:
        pi, r, v = instance
        spread = (max(v) - min(v)) ** 2
        return both(
            le(limit * improvement.second_derivative(pi, r, v) ** 2, spread**2), le(spread, 2 * sum(x * x for x in v))
        )

    return statement


def splits_in_groups(sign: int) -> Statement:
    """For rewards 0 or 1 it is p (1 - p) [(1 - 2p) D^2 + s_S^2 + `sign` s_F^2]: D the difference of means, s^2
    variances; the sign is -1."""

    def statement(instance: Any) -> Said | None:
        pi, r, v = instance
        r = tuple(int(x > Fraction(1, 2)) for x in r)
        p = sum(x for x, y in zip(pi, r, strict=True) if y)
        if p in (0, 1):
            return None

        def moments(reward: int, mass: Fraction) -> tuple[Fraction, Fraction]:
            held = [(x / mass, s) for x, y, s in zip(pi, r, v, strict=True) if y == reward]
            mean = sum((x * s for x, s in held), Fraction(0))
            return mean, sum((x * (s - mean) ** 2 for x, s in held), Fraction(0))

        (a, s), (b, t) = moments(1, p), moments(0, 1 - p)
        found = improvement.second_derivative(pi, r, v)
        return eq(found, p * (1 - p) * ((1 - 2 * p) * (a - b) ** 2 + s + sign * t))

    return statement


def curvature_beyond(limit: int) -> list[Any]:
    """Negation of the bound for R = 1 (v in [0, 1]), through means a, b and variances s, t inside S and F, any L.

    A variance on [0, 1] with mean a is at most a (1 - a); s only adds and t only takes away, so s = a (1 - a) and t = 0
    are the worst. Only the upper side: swapping S and F turns the sign.
    """
    x, a, b, k = z3.Reals("x a b k")
    return [
        Given("probabilities are at least 0 and sum to 1", x >= 0, x <= 1),
        Given("v scaled to [0, 1]", a >= 0, a <= 1, b >= 0, b <= 1),
        Given("a square root", k > 0, limit * k * k == 1),
        x * (1 - x) * ((1 - 2 * x) * (a - b) ** 2 + a * (1 - a)) > k,
    ]


def range_beyond(times: int) -> list[Any]:
    """Negation of R^2 <= `times` |v|^2, for any L: |v|^2 is at least the squares of the largest and the least v."""
    most, least, square = z3.Reals("most least square")
    return [Given("a sum of squares", square >= most**2 + least**2), (most - least) ** 2 > times * square]


def test_second_derivative() -> None:
    identity(second_derivative_error(1), "any L, any rewards, by moments of r and v")


def test_second_derivative_on_instances() -> None:
    for_all(second_derivative(2), step)


def test_second_derivative_control_first_power() -> None:
    no_identity(second_derivative_error(2))


def test_second_derivative_control_coefficient() -> None:
    negative_control(second_derivative(1), step)


def test_second_derivative_in_groups() -> None:
    identity(groups_error(-1), "any L, by means and variances in S and F")


def test_second_derivative_in_groups_on_instances() -> None:
    for_all(splits_in_groups(-1), step)


def test_groups_control_other_sign() -> None:
    no_identity(groups_error(1))
    negative_control(splits_in_groups(1), step)


def test_second_derivative_bound() -> None:
    proved(*curvature_beyond(108), size="any L, rewards 0 or 1")
    proved(*range_beyond(2), size="any v: R^2 <= 2 |v|^2")


def test_second_derivative_bound_on_instances() -> None:
    # Rewards in [0, 1].
    for_all(bounded(108), step)


def test_second_derivative_control_smaller() -> None:
    satisfiable(*curvature_beyond(110))
    satisfiable(*range_beyond(1))
    negative_control(bounded(400), step)


def remainders(pi: Array, r: Array, v: Array) -> Array:
    """|Delta J - grad J . v| of logit steps v, batches on the first axis."""
    moved = pi * np.exp(v)
    p = (pi * r).sum(-1)
    new = (moved * r).sum(-1) / moved.sum(-1)
    return np.abs(new - p - (pi * (r - p[:, None]) * v).sum(-1))


def steps(n: int) -> tuple[Array, Array, Array]:
    """Policies over 4 trajectories, rewards in [0, 1] (half of them 0 or 1), steps of up to a few logits."""
    rng = np.random.default_rng(2)
    r = rng.random((n, 4))
    r[: n // 2] = r[: n // 2].round()
    return points(n, 4, 1, 1.5), r, rng.normal(0, 1, (n, 4)) * rng.choice([0.01, 0.3, 2.0], (n, 1))


def two_arms(n: int) -> tuple[Array, Array, Array]:
    """Where the bound is sharp: two trajectories, the right one at (3 - sqrt 3)/6, small steps."""
    x = np.full(n, (3 - np.sqrt(3)) / 6)
    v = np.stack([np.linspace(1e-3, 1e-2, n), np.zeros(n)], -1)
    return np.stack([x, 1 - x], -1), np.tile([1.0, 0.0], (n, 1)), v


def rounding(v: Array) -> Array:
    """Fewer than 64 roundings of numbers up to 1 + max |v|."""
    return 64 * 2.0**-53 * (1 + np.abs(v).max(-1))


def test_remainder_bound() -> None:
    pi, r, v = steps(200_000)
    sweep(remainders(pi, r, v), improvement.remainder_bound(v) + rounding(v), "R^2/(12 sqrt 3) and 64 roundings")


def test_remainder_control_smaller() -> None:
    pi, r, v = two_arms(100_000)
    refuted_by_sweep(remainders(pi, r, v), 0.99 * improvement.remainder_bound(v) + rounding(v))


def test_remainder_control_no_second_order() -> None:
    pi, r, v = steps(100_000)
    refuted_by_sweep(remainders(pi, r, v), rounding(v))


def test_batches() -> None:
    pi, r, v = np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]), np.array([[1, 0, 1], [0, 0, 1]]), np.array([0, 3, -3])
    exact = [[Fraction(x) for x in row] for row in pi]
    held = [float(series(p, y, [Fraction(int(x)) for x in v])[1]) for p, y in zip(exact, r.tolist(), strict=True)]
    assert improvement.second_derivative(pi, r, v).tolist() == held


def test_remainder_bound_pinned() -> None:
    assert improvement.remainder_bound([[0, 3, -3], [1, 1, 1]]).tolist() == [36 / (12 * np.sqrt(3)), 0]
