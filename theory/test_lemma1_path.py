"""Lemma 1 where only the logit z_j moves: the threshold and its band."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import sympy
import z3

from theory import lemma1
from theory.domains import point, points, wide
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
from theory.policies import softmax
from theory.relations import Said, both, eq, ge, iff, le, lt

HALF = Fraction(1, 2)


def on_path(rho: Any, x: Fraction) -> tuple[Fraction, ...]:
    """The policy with pi_j = x and the others in proportion rho; j stands first, k second."""
    return (x, *((1 - x) * a for a in rho))


def value(rho: Any, x: Fraction) -> Fraction:
    """F on the path, from scores."""
    s = softmax(on_path(rho, x)).scores
    return Fraction((s[0] * s[1]).sum())


def place(pick: Pick) -> Any:
    """(rho, x): the law of the others, pi_j."""
    return wide(pick, 1, 4, 30, zeros=True), Fraction(pick(1, 59), 60)


def small(pick: Pick) -> Any:
    """(pi, 0, 1), small: where counterexamples are looked for."""
    return point(pick, 2, 4, 9), 0, 1


# The threshold


def slope(pi: Any, j: int, k: int) -> Any:
    return lemma1.derivative(pi, j, k, lemma1.donors_proportional(pi, j))


def falls_below_half(instance: Any) -> Said:
    """Lemma 1 as printed: F falls with pi_j if and only if pi_j < 1/2."""
    return iff(lt(slope(*instance), 0), lt(instance[0][instance[1]], HALF))


def falls_if_below_half(instance: Any) -> Said | None:
    """Its 'if' alone."""
    return lt(slope(*instance), 0) if instance[0][instance[1]] < HALF else None


def falls_only_below_half(instance: Any) -> Said | None:
    """Its 'only if', strictly above 1/2."""
    return ge(slope(*instance), 0) if instance[0][instance[1]] > HALF else None


def threshold(factor: int) -> Statement:
    """F falls iff pi_j < tau; its slope is (1 + rho_k) - 2 (1 - pi_j)(1 + m), from differences on the path."""

    def statement(instance: Any) -> Said:
        rho, x = instance
        pi, h, m = on_path(rho, x), Fraction(1, 100), sum(a * a for a in rho)
        found = (value(rho, x + h) - value(rho, x - h)) / (2 * h)
        row = (1 + rho[0]) - 2 * (1 - x) * (1 + factor * m)
        return both(
            both(eq(slope(pi, 0, 1), found), eq(found, row)),
            iff(lt(found, 0), lt(x, lemma1.threshold(pi, 0, 1))),
            eq(lemma1.threshold(pi, 0, 1), (1 + 2 * m - rho[0]) / (2 * (1 + m))),
        )

    return statement


def logit_errors(factor: int) -> list[sympy.Expr]:
    """(dF / dz_0) / (dpi_0 / dz_0) for a softmax over three logits, minus the slope above."""
    w = sympy.symbols("w:3", positive=True)
    total = sum(w)
    pi = [x / total for x in w]
    F = sum(p * p for p in pi) - pi[0] - pi[1]
    # d/dz = w d/dw for w = exp(z).
    left = sympy.diff(F, w[0]) / sympy.diff(pi[0], w[0])
    rho = [w[1] / (w[1] + w[2]), w[2] / (w[1] + w[2])]
    return [left - ((1 + rho[0]) - 2 * (1 - pi[0]) * (1 + factor * (rho[0] ** 2 + rho[1] ** 2)))]


def test_logit_path_fails() -> None:
    sixth = Fraction(1, 6)
    counterexample(falls_below_half, small, ((HALF, sixth, 2 * sixth), 0, 1))
    assert slope((HALF, sixth, 2 * sixth), 0, 1) == Fraction(-2, 9)


def test_logit_path_rises_below_half() -> None:
    ninth = Fraction(1, 9)
    counterexample(falls_if_below_half, small, ((4 * ninth, 3 * ninth, ninth, ninth), 0, 1))
    assert slope((Fraction(7, 15), Fraction(6, 15), Fraction(2, 15)), 0, 1) == Fraction(1, 60)


def test_logit_path_falls_above_half() -> None:
    ninth = Fraction(1, 9)
    counterexample(falls_only_below_half, small, ((5 * ninth, ninth, 3 * ninth), 0, 1))
    assert slope((5 * ninth, ninth, 3 * ninth), 0, 1) == Fraction(-7, 36)


def test_logit_slope() -> None:
    identity(logit_errors(1), "L = 3, any logits")


def test_threshold() -> None:
    for_all(threshold(1), place)


def test_logit_slope_control() -> None:
    no_identity(logit_errors(2)[0])


def test_threshold_control() -> None:
    negative_control(threshold(2), place)


# Its band


TAU, ROOT2, ROOT3 = z3.Reals("tau root2 root3")
ROOTS = Given("a square root", ROOT2 > 0, ROOT2 * ROOT2 == 2, ROOT3 > 0, ROOT3 * ROOT3 == 3)


def beyond(negation: Any, length: int = 0) -> list[Any]:
    """A law of the others with rho_k and m, and the negated conclusion, which may use tau and the root of 2 or of 3.

    m > rho_k^2, and at most rho_k^2 + (1 - rho_k)^2: the rest of the mass on one. For `length` 3 it is exactly that.
    """
    rho_k, m = z3.Reals("rho_k m")
    most = rho_k * rho_k + (1 - rho_k) * (1 - rho_k)
    return [
        Given("probabilities are above 0 and sum to 1", rho_k > 0, rho_k < 1),
        Given("a sum of squares", m > rho_k * rho_k, m <= most),
        *([Given("L = 3", m == most)] if length == 3 else []),
        Given("the threshold tau", TAU * 2 * (1 + m) == 1 + 2 * m - rho_k),
        ROOTS,
        negation,
    ]


def test_band() -> None:
    proved(*beyond(4 * TAU <= 3 - ROOT2), size="any L >= 3: tau > (3 - sqrt 2)/4")
    proved(*beyond(4 * TAU >= 3), size="any L >= 3: tau < 3/4")
    proved(*beyond(12 * TAU < 9 - 2 * ROOT3, length=3), size="any law of the others: tau >= (9 - 2 sqrt 3)/12")


def test_band_on_instances() -> None:
    for_all(within(Fraction(396, 1000), Fraction(3, 4)), cornered)


def test_band_is_approached() -> None:
    satisfiable(*beyond(z3.Q(39645, 100_000) > TAU))
    satisfiable(*beyond(z3.Q(7499, 10_000) < TAU))
    satisfiable(*beyond(z3.Q(4614, 10_000) > TAU, length=3))


def within(low: Fraction, high: Fraction) -> Statement:
    """F falls at every pi_j <= low and rises at every pi_j >= high."""

    def statement(instance: Any) -> Said | None:
        rho, x = instance
        if low < x < high:
            return None
        return iff(lt(slope(on_path(rho, x), 0, 1), 0), le(x, low))

    return statement


def cornered(pick: Pick) -> Any:
    """(rho, x) with laws near both ends of the band: k at about 2/5 of the rest, or nearly nothing beside one other."""
    if pick(0, 1):
        n = pick(1, 12)
        return (Fraction(2, 5), *(Fraction(3, 5 * n) for _ in range(n))), Fraction(pick(1, 99), 100)
    return (Fraction(1, 200), Fraction(199, 200)), Fraction(pick(1, 99), 100)


def test_band_control_below_half() -> None:
    negative_control(within(HALF, HALF), cornered)


def even_rest(beside: Any) -> list[Any]:
    """n >= 1 others alike, rho_k = m = 1/n, with tau not 1/2; `beside` more on k."""
    n, rho_k, m = z3.Reals("n rho_k m")
    return [
        Given("an even rest", n >= 1, n * m == 1, rho_k == m + beside, rho_k <= 1),
        Given("the threshold tau", TAU * 2 * (1 + m) == 1 + 2 * m - rho_k),
        2 * TAU != 1,
    ]


def test_threshold_control_uneven_rest() -> None:
    satisfiable(*even_rest(z3.Q(1, 10)))


def half_of_an_even_rest(n: int, more: Fraction = Fraction(0)) -> Said:
    """The threshold beside n others alike; k has a share of `more` in place of as much of the even ones."""
    rho = [(1 - more) / n] * n
    rho[0] += more
    return eq(lemma1.threshold(on_path(tuple(rho), HALF), 0, 1), HALF, varies=n)


def half_of_an_uneven_rest(n: int) -> Said:
    return half_of_an_even_rest(n, Fraction(1, 10))


def test_threshold_of_two_and_of_an_even_rest() -> None:
    proved(*even_rest(0), size="any number of others alike")


def test_threshold_of_an_even_rest_on_instances() -> None:
    for_all(half_of_an_even_rest, lambda pick: pick(1, 40))


def test_threshold_control_uneven_rest_on_instances() -> None:
    negative_control(half_of_an_uneven_rest, lambda pick: pick(1, 40))


def at_threshold(shift: float) -> Array:
    """|slope| at tau + shift, 200,000 policies over 4 trajectories."""
    pi = points(200_000, 4, 3, 1.5)
    tau = lemma1.threshold(pi, 0, 1) + shift
    moved = np.concatenate([tau[:, None], pi[:, 1:] * ((1 - tau) / (1 - pi[:, 0]))[:, None]], -1)
    return np.abs(lemma1.derivative(moved, 0, 1, lemma1.donors_proportional(moved, 0)))


def allowed() -> Array:
    """40 roundings of numbers up to 4, larger by 1 / (1 - pi_j) where the others are scaled up."""
    return 160 * 2.0**-53 / (1 - points(200_000, 4, 3, 1.5)[:, 0])


def test_slope_is_0_at_the_threshold() -> None:
    sweep(at_threshold(0), allowed(), "40 roundings of numbers up to 4 over 1 - pi_j")


def test_threshold_control_beside_it() -> None:
    refuted_by_sweep(at_threshold(1e-6), allowed())
