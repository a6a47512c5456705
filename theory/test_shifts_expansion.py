"""Appendix B to first and second order, and sharp bounds on what the expansions miss.

Along a direction v of the logits, f(t) = pi_m; R = max v - min v. Since pi stays a distribution on the whole way, a
bound on f'' at every distribution bounds the rest of the first-order expansion by half of it, and one on f''' that of
the second-order expansion by a sixth.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
import z3

from theory import improvement, shifts
from theory.domains import points, wide
from theory.evidence import (
    Given,
    Pick,
    for_all,
    identity,
    negative_control,
    no_identity,
    proved,
    refuted_by_sweep,
    satisfiable,
    sweep,
)
from theory.relations import Said, both, each, eq, le

N = 100_000
# exp, product, sum of 4, quotient, difference: at most 16 roundings of numbers up to 3, the largest R.
ROUNDING = 16 * 3 * 2.0**-53
WHY = "at most 16 roundings of numbers up to 3"


def derivatives(v: Any, mean: Any) -> dict[int, Any]:
    """First to third derivative of a probability along v over the probability: v its own, mean[n - 1] that of v^n."""
    c, variance = v - mean[0], mean[1] - mean[0] ** 2
    third = mean[2] - 3 * mean[0] * mean[1] + 2 * mean[0] ** 3
    return {1: c, 2: c**2 - variance, 3: c**3 - 3 * c * variance - third}


def derivative_error(order: int, form: int) -> sympy.Expr:
    """Derivative of a probability along v over the probability, by sympy, minus the closed form of order `form`.

    The probability is w e^(tv) / N(t), N the sum of all such terms; N^(n) / N is the mean of v^n under pi.
    """
    t, v, *mean = sympy.symbols("t v m1:4", real=True)
    total = sympy.Function("N")(t)
    change = sympy.diff(sympy.exp(t * v) / total, t, order) * total / sympy.exp(t * v)
    for n in (3, 2, 1):
        change = change.subs(sympy.Derivative(total, (t, n)), mean[n - 1] * total)
    return sympy.expand(change - derivatives(v, mean)[form])


def test_derivatives() -> None:
    identity([derivative_error(n, n) for n in (1, 2, 3)], "any L, first to third derivative by the moments of v")


def test_derivatives_control_first_for_second() -> None:
    no_identity(derivative_error(2, 1))


def direction(pick: Pick) -> Any:
    """(pi, v): a policy and a direction of whole numbers."""
    pi = wide(pick, 2, 4, zeros=True)
    return pi, tuple(Fraction(pick(-6, 6)) for _ in pi)


def second_bounded(instance: Any, numerator: int = 108) -> Said:
    """The closed forms against sums, and 108 f''^2 <= R^4 for every probability: |f''| <= R^2 / (6 sqrt 3)."""
    pi, v = instance
    mean = sum(p * a for p, a in zip(pi, v, strict=True))
    variance = sum(p * (a - mean) ** 2 for p, a in zip(pi, v, strict=True))
    second = [p * ((a - mean) ** 2 - variance) for p, a in zip(pi, v, strict=True)]
    reach = max(v) - min(v)
    return both(
        eq(list(shifts.first_order(pi, v)), [p * (a - mean) for p, a in zip(pi, v, strict=True)]),
        eq(list(shifts.second_order(pi, v)), second),
        each(le(numerator * s**2, reach**4) for s in second),
    )


def second_bounded_closer(instance: Any) -> Said:
    """A tenth more than is true: 131 f''^2 <= R^4."""
    return second_bounded(instance, 131)


def merged(times: int) -> sympy.Expr:
    """f'' minus x(1-x)((1-2x) mu^2 - `times` var): pi_m = x with v_m = 0, mean mu and variance var of the others."""
    x, mu, others = sympy.symbols("x mu var", real=True)
    second = derivatives(0, [(1 - x) * mu, (1 - x) * (others + mu**2), 0])[2]
    return sympy.expand(x * second - x * (1 - x) * ((1 - 2 * x) * mu**2 - times * others))


def beyond_bound(least_root: int) -> list[Any]:
    """z3: |f''| > R^2 / (6 root) with R = 1, root^2 = `least_root`.

    The others lie in [-b, 1-b] with mean u - b and a variance of at most u(1-u), the most in an interval of length 1.
    """
    x, u, b, variance, root = z3.Reals("x u b variance root")
    second = x * (1 - x) * ((1 - 2 * x) * (u - b) ** 2 - variance)
    return [
        Given("probabilities are at least 0 and sum to 1", x >= 0, x <= 1),
        Given("v scaled to [0, 1]", u >= 0, u <= 1, b >= 0, b <= 1),
        Given("a variance on an interval", variance >= 0, variance <= u * (1 - u)),
        Given("a square root", root > 0, root * root == least_root),
        z3.Or(6 * root * second > 1, 6 * root * second < -1),
    ]


def test_second_derivative_bound() -> None:
    identity(merged(1), "any L: f'' by the mean and variance of the others")
    proved(*beyond_bound(3), size="any L, by the mean and variance of the others")


def test_second_derivative_bound_on_instances() -> None:
    for_all(second_bounded, direction)


def test_second_derivative_control_closer() -> None:
    satisfiable(*beyond_bound(4))
    negative_control(second_bounded_closer, direction)


def test_merged_control_variance_twice() -> None:
    no_identity(merged(2))


def one_against(reach: Any, share: Any) -> sympy.Expr:
    """f'' of the pushed one of two samples, x(1-x)(1-2x) R^2, minus share * R^2 / (6 sqrt 3), at x = (3 - sqrt 3)/6."""
    x = (3 - sympy.sqrt(3)) / 6
    return x * (1 - x) * (1 - 2 * x) * reach**2 - share * reach**2 / (6 * sympy.sqrt(3))


def test_second_derivative_bound_is_sharp() -> None:
    identity(one_against(sympy.Symbol("R", positive=True), 1), "any R, two samples, pi_i = (3 - sqrt 3)/6")
    assert improvement.remainder_bound([Fraction(0), Fraction(2)]) == 4 / (12 * np.sqrt(3))


def test_sharp_control_half() -> None:
    no_identity(one_against(sympy.Symbol("R", positive=True), sympy.Rational(1, 2)))


@functools.cache
def steps() -> tuple[Any, Any, Any]:
    """(pi, v, change) of N finite logit steps on 4 samples; a half push one sample alone, R up to 3."""
    rng = np.random.default_rng(7)
    pi, v = points(N, 4, 7, spread=1.0), rng.uniform(-1.5, 1.5, (N, 4))
    v[: N // 2] = 0
    v[: N // 2, 0] = rng.uniform(0.1, 3, N // 2)
    return pi, v, shifts.stepped(pi, np.exp(v)) - pi


def first_error(share: float = 1) -> Any:
    """What the first-order change of the worst probability misses, minus `share` times the bound; shape (N,)."""
    pi, v, change = steps()
    return np.abs(change - shifts.first_order(pi, v)).max(-1) - share * improvement.remainder_bound(v)


def test_first_order_remainder() -> None:
    sweep(first_error(), ROUNDING, WHY)


def test_first_order_control_tenth_closer() -> None:
    refuted_by_sweep(first_error(0.9), ROUNDING)


def third(x: Any) -> Any:
    """f''' of the pushed sample of a single push with R = 1."""
    return x * (1 - x) * (1 - 6 * x + 6 * x * x)


def third_error(pushed: int) -> sympy.Expr:
    """The third derivative's closed form for v = 1 on one sample, 0 on others, times its probability, minus `third`.

    Of the pushed sample, whose own v is 1; of another one for `pushed` 0.
    """
    x = sympy.Symbol("x", real=True)
    return sympy.expand(x * derivatives(pushed, [x, x, x])[3] - third(x))


def third_beyond(n: int) -> list[Any]:
    """z3: |f'''| > 1/n."""
    x = z3.Real("x")
    inside = Given("probabilities are at least 0 and sum to 1", x >= 0, x <= 1)
    return [inside, z3.Or(third(x) > z3.Q(1, n), third(x) < -z3.Q(1, n))]


def test_third_derivative_of_one_push() -> None:
    identity(third_error(1), "any pi_k of a single push")
    proved(*third_beyond(8), size="any pi_k of a single push")
    assert third(Fraction(1, 2)) == -Fraction(1, 8)


def test_third_control_of_another_sample() -> None:
    no_identity(third_error(0))


def test_third_control_ninth() -> None:
    satisfiable(*third_beyond(9))


def second_error(share: float = 1) -> Any:
    """What the second-order change of the worst probability misses, minus `share` times R^3 / 48; shape (N,)."""
    pi, v, change = steps()
    missed = np.abs(change - shifts.first_order(pi, v) - shifts.second_order(pi, v) / 2).max(-1)
    return missed - share * (v.max(-1) - v.min(-1)) ** 3 / 48


def test_second_order_remainder() -> None:
    # Its terms go up to R^2.
    sweep(second_error(), 3 * ROUNDING, "at most 16 roundings of numbers up to 9")


def test_second_order_control_tenth_closer() -> None:
    refuted_by_sweep(second_error(0.9), 3 * ROUNDING)
