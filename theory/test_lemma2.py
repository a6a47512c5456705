"""Lemma 2 for the Bayes posterior (Section 4.2, Appendix A), and what follows from it."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
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
from theory.relations import Said, both, each, eq, ge, iff, le

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
    """J times (E_post X - J), less the sum over pairs of CoTs of pi pi' |X - X'|^square; 4 CoTs, any X."""
    head, x = sympy.symbols("p:3", positive=True), sympy.symbols("x:4", positive=True)
    pi = (*head, 1 - sum(head))
    value = sum(p * a for p, a in zip(pi, x, strict=True))
    left = sum(p * a**2 for p, a in zip(pi, x, strict=True)) - value**2
    pairs = itertools.combinations(range(4), 2)
    return sympy.expand(left - sum(pi[c] * pi[k] * (x[c] - x[k]) ** square for c, k in pairs))


def one_cot_more(x_counts_in: bool) -> list[Any]:
    """z3: sum pi X^2 sum pi >= (sum pi X)^2 holds for n CoTs, but not with one more, of weight p and with X = x.

    For one CoT both sides are equal. Not `x_counts_in`: with x left out of sum pi X^2.
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
    proved(*one_cot_more(True), size="any number of CoTs, from n to n + 1: E X^2 >= (E X)^2")


def test_gap_is_a_sum_of_squares() -> None:
    identity(pairs_form(2), "4 CoTs: J (E_post X - J) is a sum of pi pi' (X - X')^2, so not negative")


def test_gap_control_other_power() -> None:
    no_identity(pairs_form(4))
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


# Stochastic dominance, win rate, iteration, single pairs


def dominates(mu: Any, prior: Any, x: Any) -> Said:
    """X is at least t under mu as often as under the prior, for every t."""
    return each(ge(mean(mu, [a >= t for a in x]), mean(prior, [a >= t for a in x])) for t in x)


def posterior_dominates(instance: Any) -> Said | None:
    prior, x = instance
    return dominates(lemma2.posterior(prior, x), prior, x) if any(x) else None


def complement_dominates(instance: Any) -> Said | None:
    """The posterior given a wrong answer instead."""
    prior, x = instance
    return dominates(lemma2.posterior(prior, [1 - a for a in x]), prior, x) if min(x) < 1 else None


def test_posterior_dominates() -> None:
    for_all(posterior_dominates, model)


def test_dominance_control_wrong_answers() -> None:
    negative_control(complement_dominates, model)


def wins(prior: Any, x: Any, sign: int) -> Fraction:
    """How often a self-explanation's X is above (sign 1) or below (-1) that of a CoT of the policy's own."""
    pairs = itertools.product(zip(bayes(prior, x), x, strict=True), zip(prior, x, strict=True))
    return sum((q * p for (q, a), (p, b) in pairs if sign * (a - b) > 0), Fraction(0))


def win_rate_is_gini(instance: Any, halves: int = 2) -> Said | None:
    """A self-explanation wins at least as often as it loses, by E|X - X'| / (2 J), which is 0 for one X alone.

    `halves` stands for the 2.
    """
    prior, x = instance
    if not any(x):
        return None
    more = wins(prior, x, 1) - wins(prior, x, -1)
    return both(eq(2 * lemma2.gini(prior, x), halves * more), ge(more, 0), iff(eq(more, 0), eq(min(x), max(x))))


def win_rate_is_twice_gini(instance: Any) -> Said | None:
    """The mean difference relative to J, without the half that makes it a Gini coefficient."""
    return win_rate_is_gini(instance, 1)


def test_win_rate_is_gini() -> None:
    for_all(win_rate_is_gini, model)


def test_win_rate_control_doubled() -> None:
    negative_control(win_rate_is_twice_gini, model)


def never_worse(instance: Any) -> Said:
    """Property 2 for a single pair: the self-explanation's X is not below that of the other CoT."""
    prior, x = instance
    return eq(wins(prior, x, -1), 0)


def test_single_pair_counterexample() -> None:
    prior, x = (HALF, HALF), (Fraction(1), HALF)
    assert wins(prior, x, -1) == Fraction(1, 6)
    assert wins(prior, x, 1) == Fraction(1, 3)
    counterexample(never_worse, small_model, (prior, x))


def iteration_ascends(instance: Any, right: bool = True) -> Said | None:
    """Each iterate is the posterior of the one before, given a right (or a wrong) answer; E_mu X never falls."""
    prior, x = instance
    chance = [a if right else 1 - a for a in x]
    if not any(chance):
        return None
    chain = [tuple(prior)]
    for _ in range(4):
        chain.append(bayes(chain[-1], chance))
    return both(
        each(eq(lemma2.iterated(prior, chance, n), chain[n]) for n in range(4)),
        each(le(a, b) for a, b in itertools.pairwise(mean(mu, x) for mu in chain)),
    )


def iteration_ascends_on_wrong_answers(instance: Any) -> Said | None:
    return iteration_ascends(instance, right=False)


def test_iteration_ascends() -> None:
    for_all(iteration_ascends, model)


def test_iteration_control_wrong_answers() -> None:
    negative_control(iteration_ascends_on_wrong_answers, model)


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


# Sampling at another temperature


def two_answers(pick: Pick) -> Any:
    """(prior, answers, k): temperature 1/k, a right and a wrong answer after each CoT."""
    prior, x = model(pick)
    return prior, tuple((a, 1 - a) for a in x), pick(2, 4)


def many_answers(pick: Pick) -> Any:
    """(prior, answers, k): two CoTs with 2 to 4 answers each, the right one first."""
    prior = point(pick, 2, 2, weight=6)
    return prior, tuple(point(pick, 2, 4, weight=6) for _ in prior), pick(2, 4)


def at_temperature(answers: Any, k: int) -> Point:
    """The right answer's probability after each CoT, at temperature 1/k."""
    return tuple(lemma2.tempered(a, Fraction(1, k))[0] for a in answers)


def tempered_throughout(instance: Any, throughout: bool = True) -> Said | None:
    """Answers at temperature 1/k, CoTs at 1: their posterior against J, with X at temperature 1/k on both sides.

    The closed forms of `tempered` and `gap` against powers and sums. Not `throughout`: X is that at temperature 1.
    """
    prior, answers, k = instance
    drawn = at_temperature(answers, k)
    x = drawn if throughout else [a[0] for a in answers]
    if not any(x):
        return None
    powers, given = tuple(a[0] ** k / sum(b**k for b in a) for a in answers), bayes(prior, drawn)
    gap = eq(lemma2.gap(prior, drawn), mean(given, drawn) - mean(prior, drawn))
    return both(eq(drawn, powers), both(gap, ge(mean(given, x), mean(prior, x))))


def tempered_sampler_measured_at_one(instance: Any) -> Said | None:
    """Answers alone at temperature 1/k: their posterior against J at temperature 1."""
    return tempered_throughout(instance, throughout=False)


def every_token_tempered(instance: Any, own_too: bool = False) -> Said | None:
    """CoTs (of one token) and answers at temperature 1/k: their posterior against J at temperature 1.

    `own_too`: against the policy's own CoTs at temperature 1/k. X is that at temperature 1.
    """
    prior, answers, k = instance
    x = [a[0] for a in answers]
    if not any(x):
        return None
    cots = lemma2.tempered(prior, Fraction(1, k))
    drawn = lemma2.posterior(cots, at_temperature(answers, k))
    return ge(mean(drawn, x), mean(cots if own_too else prior, x))


def own_tempered_too(instance: Any) -> Said | None:
    return every_token_tempered(instance, own_too=True)


def test_temperature_two_answers() -> None:
    for_all(tempered_sampler_measured_at_one, two_answers)


def test_temperature_of_own_cots_too() -> None:
    for_all(own_tempered_too, two_answers)


def test_temperature_control_of_explanations_alone() -> None:
    negative_control(every_token_tempered, two_answers)


def small_two_answers(pick: Pick) -> Any:
    """As `two_answers`, with small denominators."""
    prior, x = small_model(pick)
    return prior, tuple((a, 1 - a) for a in x), pick(2, 4)


def test_temperature_of_every_token_counterexample() -> None:
    third = Fraction(1, 3)
    pinned = ((third, 2 * third), ((2 * third, third), (HALF, HALF)), 2)
    cots, x = lemma2.tempered(pinned[0], HALF), [2 * third, HALF]
    assert list(cots) == [Fraction(1, 5), Fraction(4, 5)]
    assert mean(lemma2.posterior(cots, at_temperature(pinned[1], 2)), x) == Fraction(23, 42)
    assert mean(pinned[0], x) == Fraction(5, 9)
    counterexample(every_token_tempered, small_two_answers, pinned)


def test_temperature_throughout() -> None:
    for_all(tempered_throughout, many_answers)


def test_temperature_control_many_answers() -> None:
    negative_control(tempered_sampler_measured_at_one, many_answers)
    negative_control(own_tempered_too, many_answers)


def test_temperature_counterexample() -> None:
    quarter = Fraction(1, 4)
    pinned = ((HALF, HALF), ((Fraction(1, 3), Fraction(2, 3)), (quarter,) * 4), 2)
    assert at_temperature(pinned[1], 2) == (Fraction(1, 5), quarter)
    counterexample(tempered_sampler_measured_at_one, many_answers, pinned)


def test_temperature_of_floats() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])
    want = p**2.5 / (p**2.5).sum(-1, keepdims=True)
    assert np.abs(lemma2.tempered(p, 0.4) - want).max() < 1e-15
    assert list(lemma2.tempered([1e-3] * 1000, 0.001)) == [1e-3] * 1000
    assert list(lemma2.tempered([HALF, HALF], 1)) == [HALF, HALF]
