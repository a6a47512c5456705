"""Lemma 2 for the Bayes posterior (Section 4.2, Appendix A): its gap, its proof line by line, and where J = 0."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import sympy
import z3

from theory import lemma2
from theory.domains import Point, point, twelfths, wide
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
from theory.relations import Said, both, eq, ge, iff, le

HALF = Fraction(1, 2)


def model(pick: Pick) -> Any:
    """(prior, X): CoTs, and the probability of the right answer after each; J may be 0."""
    prior = wide(pick, 2, 4)
    return prior, twelfths(pick, len(prior))


def small_model(pick: Pick) -> Any:
    """(prior, X) with small denominators, X > 0."""
    prior = point(pick, 2, 3, weight=6)
    return prior, tuple(Fraction(pick(1, d), d) for d in (pick(1, 5) for _ in prior))


def mean(p: Any, x: Any) -> Fraction:
    return sum((a * b for a, b in zip(p, x, strict=True)), Fraction(0))


def bayes(prior: Any, x: Any) -> Point:
    value = mean(prior, x)
    return tuple(p * a / value for p, a in zip(prior, x, strict=True))


# L2: the gap


def pairs_form(square: int) -> sympy.Expr:
    """J times (E_post X - J), minus the sum over pairs of CoTs of pi pi' |X - X'|^square; 4 CoTs, any X."""
    head, x = sympy.symbols("p:3", positive=True), sympy.symbols("x:4", positive=True)
    pi = (*head, 1 - sum(head))
    value = sum(p * a for p, a in zip(pi, x, strict=True))
    left = sum(p * a**2 for p, a in zip(pi, x, strict=True)) - value**2
    pairs = itertools.combinations(range(4), 2)
    return sympy.expand(left - sum(pi[c] * pi[k] * (x[c] - x[k]) ** square for c, k in pairs))


def one_cot(power: int) -> sympy.Expr:
    """Of one CoT of weight p: sum pi X^2 sum pi minus (sum pi X)^2; `power` stands for the first 2."""
    p, x = sympy.symbols("p x")
    return sympy.expand((p * x**power) * p - (p * x) ** 2)


def one_cot_more(x_counts_in: bool) -> list[Any]:
    """z3: sum pi X^2 sum pi >= (sum pi X)^2 holds for n CoTs, but not with one more, of weight p and with X = x.

    Not `x_counts_in`: with x left out of sum pi X^2.
    """
    weight, first, second, p, x = z3.Reals("weight first second p x")
    more = p * x * x if x_counts_in else 0
    return [
        Given("probabilities are at least 0 and sum to 1", weight > 0, p >= 0),
        Given("X is a probability", first >= 0, second >= 0, x >= 0),
        Given("induction hypothesis", second * weight >= first * first),
        (second + more) * (weight + p) < (first + p * x) * (first + p * x),
    ]


def test_mean_square_is_no_less() -> None:
    identity(one_cot(2), "any one CoT: E X^2 = (E X)^2")
    proved(*one_cot_more(True), size="any number of CoTs, from n to n + 1: E X^2 >= (E X)^2")


def test_gap_is_a_sum_of_squares() -> None:
    identity(pairs_form(2), "4 CoTs: J (E_post X - J) is a sum of pi pi' (X - X')^2, so not negative")


def test_gap_control_other_power() -> None:
    no_identity(pairs_form(4))
    no_identity(one_cot(3))
    satisfiable(*one_cot_more(False))


def gap_error(instance: Any, power: int) -> Said | None:
    """The closed forms of posterior and gap against sums over CoTs, and 0 <= gap <= 1 - J, 0 for one X alone."""
    prior, x = instance
    if not any(x):
        return None
    value, post = mean(prior, x), bayes(prior, x)
    gap = mean(post, x) - value
    variance = mean(prior, [(a - value) ** 2 for a in x])
    chi2 = sum((q - p) ** 2 / p for p, q in zip(prior, post, strict=True))
    return both(
        eq(tuple(lemma2.posterior(prior, x)), post),
        both(
            eq(lemma2.gap(prior, x), gap), eq(gap, variance / value**power), eq(variance / value**power, value * chi2)
        ),
        both(le(0, gap), le(gap, 1 - value)),
        iff(eq(gap, 0), eq(min(x), max(x))),
    )


def gap_is_variance_over_value(instance: Any) -> Said | None:
    return gap_error(instance, 1)


def gap_is_variance_over_square(instance: Any) -> Said | None:
    return gap_error(instance, 2)


def test_gap_closed_form() -> None:
    for_all(gap_is_variance_over_value, model)


def test_gap_control_other_denominator() -> None:
    negative_control(gap_is_variance_over_square, model)


def test_gap_pinned() -> None:
    prior, x = (HALF, HALF), (Fraction(3, 4), Fraction(1, 4))
    assert tuple(lemma2.posterior(prior, x)) == (Fraction(3, 4), Fraction(1, 4))
    assert lemma2.gap(prior, x) == Fraction(1, 8)
    assert lemma2.gini(prior, x) == Fraction(1, 4)
    assert tuple(lemma2.iterated(prior, x, 2)) == (Fraction(9, 10), Fraction(1, 10))


# Appendix A's proof, line by line


def proof_lines(instance: Any, divisor: int = 1) -> Said | None:
    """Lines 389 to 402 of the proof, each side a sum over CoTs; `divisor` stands for Bayes' pi(a*|q)^divisor."""
    prior, x = instance
    if not any(x):
        return None
    joint = [p * a for p, a in zip(prior, x, strict=True)]
    value = sum(joint)
    given = [j / value**divisor for j in joint]
    first = sum(q * a for q, a in zip(given, x, strict=True))
    third = sum(p * a * a for p, a in zip(prior, x, strict=True)) / value
    jensen = ge(mean(prior, [a * a for a in x]), mean(prior, x) ** 2)
    return both(eq(sum(given), 1, varies=given), eq(first, third), eq(mean(prior, x), value), jensen, ge(third, value))


def proof_without_division(instance: Any) -> Said | None:
    """The proof with Bayes' denominator left out."""
    return proof_lines(instance, 0)


def test_proof_lines() -> None:
    for_all(proof_lines, model)


def test_proof_control_without_division() -> None:
    negative_control(proof_without_division, model)


# J = 0


def unsolved(pick: Pick) -> Any:
    """(prior, X, mu) with J = 0: the prior has no CoT with X > 0, a prompted sampler mu may have some."""
    prior, mu = point(pick, 2, 3, weight=6), point(pick, 4, 4, weight=6)
    prior = (*prior, *(Fraction(0) for _ in range(4 - len(prior))))
    return prior, tuple(Fraction(pick(0, 2), 2) if p == 0 else Fraction(0) for p in prior), mu


def unsolved_has_posterior(instance: Any) -> Said:
    """The posterior is a distribution."""
    prior, x, _ = instance
    try:
        return eq(sum(lemma2.posterior(prior, x)), 1)
    except ValueError:
        return eq(0, 1)


def test_unsolved_counterexample() -> None:
    prior = (HALF, HALF, Fraction(0), Fraction(0))
    counterexample(unsolved_has_posterior, unsolved, (prior, (Fraction(0),) * 4, (Fraction(1, 4),) * 4))


def unsolved_prompted(instance: Any) -> Said:
    """Lemma 2 for a prompted sampler, which nothing ties to the policy."""
    prior, x, mu = instance
    return both(eq(lemma2.prompted(prior, x, mu), mean(mu, x) - mean(prior, x)), ge(mean(mu, x) - mean(prior, x), 0))


def solved(pick: Pick) -> Any:
    """(prior, X, mu), J > 0."""
    prior, x = small_model(pick)
    return prior, x, point(pick, len(prior), len(prior), weight=6)


def test_unsolved_prompted() -> None:
    for_all(unsolved_prompted, unsolved)


def test_unsolved_control_solved() -> None:
    negative_control(unsolved_prompted, solved)
