"""Lemma 1 (line 120): what each reading of "in pi_j" makes of it, and how samples of one policy compare."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import sympy

from theory import lemma1
from theory.domains import point, wide
from theory.evidence import Pick, Statement, counterexample, for_all, identity, negative_control, no_identity
from theory.inputs import Array
from theory.relations import Said, both, eq, ge, gt, iff, lt
from theory.test_lemma1 import inner, pairs, quotient, small

HALF = Fraction(1, 2)


# Readings: where the mass comes from

Donors = Callable[[Any, int, int], Array]


def below_half(donors: Donors) -> Statement:
    """Lemma 1 as printed: F falls with pi_j if and only if pi_j < 1/2."""

    def statement(instance: Any) -> Said:
        pi, j, k = instance
        return iff(lt(lemma1.derivative(pi, j, k, donors(pi, j, k)), 0), lt(pi[j], HALF))

    return statement


def row(donors: Donors, slope: Callable[[Any, int, int], Any]) -> Statement:
    """A reading's own closed form of dF/dpi_j."""

    def statement(instance: Any) -> Said:
        pi, j, k = instance
        return eq(lemma1.derivative(pi, j, k, donors(pi, j, k)), slope(pi, j, k))

    return statement


def equal(pi: Any, j: int, _: int) -> Array:
    return lemma1.donors_equal(pi, j)


def in_proportion(pi: Any, j: int, _: int) -> Array:
    return lemma1.donors_proportional(pi, j)


def from_k(pi: Any, j: int, k: int) -> Array:
    return lemma1.donors_single(pi, j, k)


def third_place(pi: Any, j: int, k: int) -> int:
    return next(i for i in range(len(pi)) if i not in (j, k))


def from_a_third(pi: Any, j: int, k: int) -> Array:
    return lemma1.donors_single(pi, j, third_place(pi, j, k))


def three(pick: Pick) -> Any:
    """As `pairs`, at least 3 trajectories."""
    pi = wide(pick, 3, 5)
    j = pick(0, len(pi) - 1)
    return pi, j, (j + pick(1, len(pi) - 1)) % len(pi)


# (a) all others stay as they are


def partial_errors(half: int) -> list[sympy.Expr]:
    """The formal partial of F in pi_0, four free symbols, minus (2 pi_0 - `half`)."""
    p = sympy.symbols("p:4")
    return [sympy.diff(sum(x * x for x in p) - p[0] - p[1], p[0]) - (2 * p[0] - half)]


def any_writing(instance: Any) -> Said:
    """Literal: the partial is below 0 if and only if pi_j < 1/2, however the same function on the simplex is written.

    Writing 0 is S2 - pi_j - pi_k; writing 1 puts the sum of the others minus 1 for -pi_j - pi_k.
    """
    pi, j, k, writing = instance

    def f(t: Fraction) -> Fraction:
        x = [p + t * (i == j) for i, p in enumerate(pi)]
        square = sum(a * a for a in x)
        return square + sum(x) - x[j] - x[k] - 1 if writing else square - x[j] - x[k]

    assert f(Fraction(0)) == lemma1.cross_term(pi, j, k)
    return iff(lt(quotient(f), 0), lt(pi[j], HALF))


def test_formal_partial() -> None:
    identity(partial_errors(1), "L = 4, all other probabilities fixed")


def test_formal_partial_depends_on_writing() -> None:
    pinned = ((Fraction(1, 3), Fraction(2, 3)), 0, 1, 1)
    counterexample(any_writing, lambda pick: (*small(pick), pick(0, 1)), pinned)


def test_formal_partial_control() -> None:
    no_identity(partial_errors(2)[0])


# (c) from k alone, and from another one alone


def test_from_k_fails() -> None:
    third = Fraction(1, 3)
    counterexample(below_half(from_k), small, ((third, third, third), 0, 1))


def test_from_k() -> None:
    for_all(row(from_k, lambda pi, j, k: 2 * (pi[j] - pi[k])), pairs)


def only_below_half(donors: Donors) -> Statement:
    """Where F falls, pi_j < 1/2."""

    def statement(instance: Any) -> Said | None:
        pi, j, k = instance
        return lt(pi[j], HALF) if lemma1.derivative(pi, j, k, donors(pi, j, k)) < 0 else None

    return statement


def test_from_k_only_below_half() -> None:
    for_all(only_below_half(from_k), pairs)


def test_from_k_control() -> None:
    negative_control(row(from_k, lambda pi, j, _k: 2 * pi[j] - 1), pairs)


def test_from_k_only_control_in_proportion() -> None:
    # All others give, each in proportion to its probability, as in reading (b).
    negative_control(only_below_half(in_proportion), pairs)


def test_from_a_third_fails() -> None:
    quarter = Fraction(1, 4)

    def domain(pick: Pick) -> Any:
        return point(pick, 3, 4, 6), 0, 1

    counterexample(below_half(from_a_third), domain, ((HALF, quarter, quarter), 0, 1))
    assert lemma1.derivative((HALF, quarter, quarter), 0, 1, (0, 0, 1)) == -HALF


def test_from_a_third() -> None:
    for_all(row(from_a_third, lambda pi, j, k: 2 * (pi[j] - pi[third_place(pi, j, k)]) - 1), three)


def test_from_a_third_control() -> None:
    negative_control(row(from_a_third, lambda pi, j, _k: 2 * pi[j] - 1), three)


# (e) the same amount from all


def scaled(factor: int) -> Callable[[Any, int, int], Any]:
    return lambda pi, j, _: Fraction(len(pi), len(pi) - 1) * (2 * pi[j] - factor)


def test_equal_amounts() -> None:
    for_all(below_half(equal), pairs)
    for_all(row(equal, scaled(1)), pairs)


def test_equal_amounts_control_from_k() -> None:
    negative_control(below_half(from_k), pairs)


def test_equal_amounts_control_slope() -> None:
    negative_control(row(equal, scaled(2)), pairs)


# (d) gradient ascent on log pi_j


def ascent(others: int) -> Statement:
    """The closed form of dF/deta agrees with difference quotients along d pi / d eta; pi_j grows.

    The step on the logits is e_j - `others` pi: 1 for gradient ascent on log pi_j; with 0 the logit z_j moves alone.
    """

    def statement(instance: Any) -> Said:
        pi, j, k = instance
        v = [Fraction(i == j) - others * p for i, p in enumerate(pi)]
        mean = sum(p * x for p, x in zip(pi, v, strict=True))
        change = [p * (x - mean) for p, x in zip(pi, v, strict=True)]

        def f(t: Fraction) -> Fraction:
            x = [p + t * c for p, c in zip(pi, change, strict=True)]
            return sum(a * a for a in x) - x[j] - x[k]

        return both(eq(lemma1.sft_derivative(pi, j, k), quotient(f)), gt(change[j], 0))

    return statement


def below_half_by_ascent(instance: Any) -> Said:
    """Lemma 1 as printed, pi_j raised by gradient ascent on log pi_j."""
    pi, j, k = instance
    return iff(lt(lemma1.sft_derivative(pi, j, k), 0), lt(pi[j], HALF))


def test_ascent_fails() -> None:
    sixth = Fraction(1, 6)
    counterexample(below_half_by_ascent, small, ((HALF, sixth, 2 * sixth), 0, 1))
    assert lemma1.sft_derivative((HALF, sixth, 2 * sixth), 0, 1) == Fraction(-11, 162)


def ascent_falls_below_half(instance: Any) -> Said | None:
    """Its 'if' alone."""
    return lt(lemma1.sft_derivative(*instance), 0) if instance[0][0] < HALF else None


def ascent_falls_only_below_half(instance: Any) -> Said | None:
    """Its 'only if', strictly above 1/2."""
    return ge(lemma1.sft_derivative(*instance), 0) if instance[0][0] > HALF else None


def test_ascent_has_no_threshold() -> None:
    s = Fraction(1, 7)
    counterexample(ascent_falls_below_half, small, ((3 * s, 2 * s, s, s), 0, 1))
    counterexample(ascent_falls_only_below_half, small, ((4 * s, s, 2 * s), 0, 1))
    assert lemma1.sft_derivative((3 * s, 2 * s, s, s), 0, 1) == Fraction(2, 2401)
    assert lemma1.sft_derivative((4 * s, s, 2 * s), 0, 1) == Fraction(-6, 343)
    # The other sign at the same pi_j.
    assert lemma1.sft_derivative((3 * s, s, 3 * s), 0, 1) < 0 < lemma1.sft_derivative((4 * s, 3 * s), 0, 1)


def test_ascent_closed_form() -> None:
    for_all(ascent(1), pairs)


def test_ascent_control_below_half() -> None:
    negative_control(below_half_by_ascent, pairs)


def test_ascent_control_one_logit() -> None:
    negative_control(ascent(0), pairs)


# Across the samples of one policy


def across(sign: int) -> Statement:
    """F_ik - F_jk = -(pi_i - pi_j): the less likely sample has the larger cross term, at any probability."""

    def statement(instance: Any) -> Said:
        pi, j, k = instance
        i = third_place(pi, j, k)
        return eq(inner(pi, i, k) - inner(pi, j, k), sign * (pi[i] - pi[j]))

    return statement


def test_across_samples() -> None:
    for_all(across(-1), three)


def test_across_samples_control_other_sign() -> None:
    negative_control(across(1), three)
