"""Lemma 1 (line 120): what each reading of "in pi_j" makes of it, and what holds in every direction."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import sympy
import z3

from theory import lemma1
from theory.domains import point, wide
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
    satisfiable,
)
from theory.inputs import Array
from theory.relations import Said, both, eq, ge, gt, iff, lt, when
from theory.test_lemma1 import inner, pairs, quotient, small, with_donors

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


# What holds in every direction


def universal(low: Callable[[Any, int, int], Fraction]) -> Statement:
    """F falls if pi_j < `low`, and if nothing is taken from k and pi_j <= 1/2; it rises if pi_j > `high`.

    Each is counted at each length, so that each is reached there.
    """

    def statement(instance: Any) -> Said:
        pi, j, k, d = instance
        slope = lemma1.derivative(pi, j, k, d)
        falls = pi[j] < low(pi, j, k) or (d[k] == 0 and pi[j] <= HALF)
        rises = pi[j] > high(pi, j, k)
        return both(
            *(when(falls and len(pi) == n, lt(slope, 0)) for n in LENGTHS),
            *(when(rises and len(pi) == n, gt(slope, 0)) for n in LENGTHS),
        )

    return statement


def high(pi: Any, j: int, k: int) -> Fraction:
    """The larger of pi_k and 1/2 + the largest of the rest (if there is a rest)."""
    return max([pi[k], *(HALF + p for i, p in enumerate(pi) if i not in (j, k))])


def tight(least: Callable[[Any, int, int], Fraction]) -> Statement:
    """In every direction F falls if and only if pi_j < pi_k, and rises if and only if pi_j > `least`, which is `high`.

    The derivative is linear in the donors, so single donors decide. Each is counted at each length.
    """

    def statement(instance: Any) -> Said:
        pi, j, k = instance
        slopes = [lemma1.derivative(pi, j, k, lemma1.donors_single(pi, j, i)) for i in range(len(pi)) if i != j]
        falls = iff(lt(max(slopes), 0), lt(pi[j], pi[k]))
        rises = iff(gt(min(slopes), 0), gt(pi[j], least(pi, j, k)))
        return both(*(when(len(pi) == n, both(falls, rises)) for n in LENGTHS))

    return statement


LENGTHS = (2, 3, 4, 5)


def with_a_likely_one(pi: Any, j: int, times: int) -> tuple[Fraction, ...]:
    """The policy with trajectory j made so many times as likely beside the others."""
    w = [p * (times if i == j else 1) for i, p in enumerate(pi)]
    return tuple(Fraction(x / sum(w)) for x in w)


def pairs_with_a_likely_one(pick: Pick) -> Any:
    """As `pairs`, in half of them with pi_j up to 40 times as likely, or it is never above 1/2 + the rest at L = 5."""
    pi, j, k = pairs(pick)
    return with_a_likely_one(pi, j, pick(1, 40) if pick(0, 1) else 1), j, k


def with_donors_of_a_likely_one(pick: Pick) -> Any:
    """As `with_donors`, in half of them with pi_j up to 40 times as likely."""
    pi, j, k, d = with_donors(pick, empty=False)
    return with_a_likely_one(pi, j, pick(1, 40) if pick(0, 1) else 1), j, k, d


def any_rest(*guard: str) -> list[Any]:
    """Policies over any L with any donors, where the guards are met: a = pi_j, b = pi_k, M the largest of the rest.

    k gives the share d; the rest gives 1 - d, and s is their part of <d, pi>, above 0 and at most (1 - d) M. The last
    guard is the negated conclusion.
    """
    a, b, most, d, s = z3.Reals("a b M d s")
    slope = 2 * a - 1 - 2 * (d * b + s) + d
    known = {
        "pi_j <= 1/2": 2 * a <= 1,
        "pi_j < pi_k": a < b,
        "pi_j > pi_k": a > b,
        "pi_j is above both pi_k and 1/2 + the largest of the rest": z3.And(a > b, 2 * a > 1 + 2 * most),
        "nothing is taken from k": d == 0,
        "all from k": d == 1,
        "all from the largest of the rest": z3.And(d == 0, s == most),
    }
    conclusion = {
        "does not fall": slope >= 0,
        "does not rise": slope <= 0,
        "falls at pi_k or above": z3.And(slope < 0, a >= b),
        "rises at pi_k or below": z3.And(slope > 0, a <= b),
        "rises at 1/2 + M or below": z3.And(slope > 0, 2 * a <= 1 + 2 * most),
    }
    policy = [a > 0, b > 0, most >= 0, a + b + most <= 1, z3.Implies(most == 0, a + b == 1)]
    donors = [d >= 0, d <= 1, s >= 0, s <= (1 - d) * most, z3.Implies(d < 1, s > 0)]
    *conditions, last = guard
    return [
        Given("probabilities are above 0 and sum to 1", *policy, *donors),
        *(Given(condition, known[condition]) for condition in conditions),
        conclusion[last],
    ]


def test_every_direction() -> None:
    proved(*any_rest("pi_j < pi_k", "does not fall"), size="any L: falls below pi_k")
    proved(*any_rest("pi_j <= 1/2", "nothing is taken from k", "does not fall"), size="any L: falls up to 1/2")
    above = "pi_j is above both pi_k and 1/2 + the largest of the rest"
    proved(*any_rest(above, "does not rise"), size="any L: rises above both")


def test_every_direction_on_instances() -> None:
    for_all(universal(lambda pi, _j, k: pi[k]), with_donors_of_a_likely_one)


def test_every_direction_tight() -> None:
    proved(*any_rest("all from k", "falls at pi_k or above"), size="any L: falls in every direction below pi_k alone")
    proved(*any_rest("all from k", "rises at pi_k or below"), size="any L: rises in every direction above pi_k alone")
    largest = "all from the largest of the rest"
    proved(*any_rest(largest, "rises at 1/2 + M or below"), size="any L: and above 1/2 + M alone")


def test_every_direction_tight_on_instances() -> None:
    for_all(tight(high), pairs_with_a_likely_one)


def test_every_direction_controls() -> None:
    satisfiable(*any_rest("pi_j <= 1/2", "does not fall"))
    satisfiable(*any_rest("pi_j > pi_k", "does not rise"))
    negative_control(universal(lambda _pi, _j, _k: HALF), with_donors_of_a_likely_one)


def test_every_direction_tight_controls() -> None:
    # Directions that take nothing from k, or from the largest of the rest, do not decide.
    satisfiable(*any_rest("nothing is taken from k", "falls at pi_k or above"))
    satisfiable(*any_rest("all from k", "rises at 1/2 + M or below"))
    negative_control(tight(lambda _pi, _j, _k: HALF), pairs_with_a_likely_one)


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
