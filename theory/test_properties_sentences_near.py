"""Sentences on samples that are nearly as likely as the likeliest: lines 130 and 160."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import z3

from theory import improvement, properties
from theory.domains import point
from theory.evidence import Given, Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.policies import factorised
from theory.relations import Said, both, ge, gt
from theory.test_dominance import right_sample
from theory.test_lemma2 import mean
from theory.test_properties import HALF, ONE

# P1-near and P12-enough: a sample that is nearly as likely as the likeliest, lines 130 and 160


def small_right_sample(pick: Pick) -> Any:
    """(pi, r, 0): three trajectories, the first two right."""
    w = (pick(1, 3), pick(1, 6), pick(1, 2))
    return tuple(Fraction(x, sum(w)) for x in w), (1, 1, 0), 0


def half_as_likely(instance: Any) -> Said | None:
    """Literal: a right sample with half the probability of the likeliest of all, at least, does not lower J."""
    pi, r, j = instance
    return ge(improvement.tabular_gain(pi, r, j), 0) if 2 * pi[j] >= max(pi) else None


def near_likeliest_right(share: Callable[[Fraction], Fraction]) -> Statement:
    """A right sample with pi_j >= `share`(p) times the largest probability of a right one gains p S2_F at least.

    A logit for each trajectory; p < 1, so the gain is above 0. Right for a share of p.
    """

    def statement(instance: Any) -> Said | None:
        pi, r, j = instance
        p, most = mean(pi, r), max(x for x, y in zip(pi, r, strict=True) if y)
        if p == 1 or pi[j] < share(p) * most:
            return None
        wrong = sum(x * x for x, y in zip(pi, r, strict=True) if not y)
        return both(ge(improvement.tabular_gain(pi, r, j), p * wrong), gt(p * wrong, 0))

    return statement


def one_right(times: int = 1) -> list[Any]:
    """z3: of one right trajectory pi^2 <= pi_max pi, of a probability up to `times` pi_max, does not hold."""
    most, x = z3.Reals("pi_max x")
    return [Given("probabilities are at least 0 and sum to 1", x >= 0, x <= times * most), x * x > most * x]


def one_right_more(times: int = 1) -> list[Any]:
    """z3: of n right trajectories, each up to `times` pi_max, sum pi^2 <= pi_max sum pi, but not with one more."""
    most, squares, total, x = z3.Reals("pi_max squares total x")
    return [
        Given("probabilities are at least 0 and sum to 1", total >= 0, squares >= 0, x >= 0, x <= times * most),
        Given("induction hypothesis", squares <= most * total),
        squares + x * x > most * (total + x),
    ]


def gain_below(share: Any) -> list[Any]:
    """z3: x >= `share` p pi_max, yet the gain (1 - p)(x - S2_S) + p S2_F is below p S2_F.

    S2_S <= pi_max p, as by induction.
    """
    most, right, wrong, p, x = z3.Reals("pi_max right wrong p x")
    return [
        Given("probabilities are above 0 and sum to 1", p > 0, p < 1, x > 0, x <= most, most <= p),
        Given("a sum of squares", right >= x * x, right <= most * p, wrong >= 0),
        Given("p times the largest probability of a right", x >= share * p * most),
        (1 - p) * (x - right) + p * wrong < p * wrong,
    ]


def test_near_the_likeliest_counterexample() -> None:
    pi = (Fraction(3, 10), Fraction(6, 10), Fraction(1, 10))
    assert improvement.tabular_gain(pi, (1, 1, 0), 0) == Fraction(-3, 500)
    counterexample(half_as_likely, small_right_sample, (pi, (1, 1, 0), 0))


def test_near_the_likeliest_right() -> None:
    proved(*one_right(), size="any one right trajectory")
    proved(*one_right_more(), size="any number of right trajectories, from n to n + 1: S2_S <= pi_max p")
    proved(*gain_below(1), size="any L")


def test_near_the_likeliest_right_on_instances() -> None:
    for_all(near_likeliest_right(lambda p: p), right_sample)


def test_near_the_likeliest_control_half() -> None:
    satisfiable(*gain_below(z3.Q(1, 2)))
    satisfiable(*one_right(times=2))
    satisfiable(*one_right_more(times=2))
    negative_control(near_likeliest_right(lambda p: p / 2), right_sample)


def nearly_sure(pick: Pick) -> Any:
    """(prior, X): three CoTs, two answers each; the second CoT is always right, the first nearly always."""
    w = (5, pick(3, 5), pick(1, 2))
    return tuple(Fraction(x, sum(w)) for x in w), (1 - Fraction(1, pick(4, 9)), ONE, Fraction(1, pick(2, 4)))


def likeliest_and_better(instance: Any) -> Said | None:
    """Literal: (c_1, a*) is the likeliest of all samples and X_1 > J; a step on it does not lower J."""
    prior, x = instance
    samples = [p * a for p, y in zip(prior, x, strict=True) for a in (y, 1 - y)]
    if samples[0] < max(samples) or x[0] <= mean(prior, x):
        return None
    return ge(sum(properties.sample_rates(prior, [(y, 1 - y) for y in x], 0, 0)), 0)


def test_likeliest_and_better_counterexample() -> None:
    pinned = ((HALF, Fraction(2, 5), Fraction(1, 10)), (Fraction(7, 8), ONE, Fraction(1, 3)))
    parts = properties.sample_rates(pinned[0], [(y, 1 - y) for y in pinned[1]], 0, 0)
    assert (mean(*pinned), sum(parts)) == (Fraction(209, 240), Fraction(-37, 64_000))
    counterexample(likeliest_and_better, nearly_sure, pinned)
    # More wrong answers make the answer's part of the rate smaller; with 19 equal ones X_1 need not be as large.
    x = (Fraction(17, 20), ONE, Fraction(0))
    answers = [(y, *((1 - y) / 19 for _ in range(19))) for y in x]
    tenths = (HALF, Fraction(2, 5), Fraction(1, 10))
    assert sum(properties.sample_rates(tenths, answers, 0, 0)) == Fraction(-261, 76_000)


def answered(pick: Pick) -> Any:
    """(prior, answers, c): 2 to 4 CoTs with 2 or 3 answers each, the right one first; X may be 0 or 1."""
    prior, wrong = point(pick, 2, 4), pick(1, 2)
    x = [Fraction(pick(0, 12), 12) for _ in prior]
    return prior, tuple((y, *((1 - y) / wrong for _ in range(wrong))) for y in x), pick(0, len(prior) - 1)


def ahead_by_enough(share: int) -> Statement:
    """With pi_c (X_c - J) >= `share` pi_max E max(X - J, 0) a step on (c, a*) does not lower J.

    pi_max is that of the likeliest CoT with X > J; the policy writes a CoT, then an answer. Right for a share of 1.
    """

    def statement(instance: Any) -> Said | None:
        prior, answers, c = instance
        x = factorised(prior, answers).x
        value = mean(prior, x)
        above = [(p, y - value) for p, y in zip(prior, x, strict=True) if y > value]
        if not above or prior[c] * (x[c] - value) < share * max(p for p, _ in above) * sum(p * y for p, y in above):
            return None
        return ge(sum(properties.sample_rates(prior, answers, c, 0)), 0)

    return statement


def one_cot(times: int = 1) -> list[Any]:
    """z3: of one CoT pi^2 e <= pi_max pi max(e, 0), e = X - J, does not hold; pi <= `times` pi_max where e > 0."""
    most, x, e = z3.Reals("pi_max x e")
    return [
        Given("probabilities are at least 0 and sum to 1", most >= 0, x >= 0),
        Given("pi_max is the largest probability of a CoT with X > J", z3.Implies(e > 0, x <= times * most)),
        x * x * e > most * x * z3.If(e > 0, e, 0),
    ]


def one_cot_more(times: int = 1) -> list[Any]:
    """z3: of n CoTs sum pi^2 e <= pi_max sum pi max(e, 0), e = X - J, but not with one more.

    pi <= `times` pi_max where e > 0.
    """
    most, squares, total, x, e = z3.Reals("pi_max squares total x e")
    return [
        Given("probabilities are at least 0 and sum to 1", most >= 0, total >= 0, x >= 0),
        Given("pi_max is the largest probability of a CoT with X > J", z3.Implies(e > 0, x <= times * most)),
        Given("induction hypothesis", squares <= most * total),
        squares + x * x * e > most * (total + x * z3.If(e > 0, e, 0)),
    ]


def rate_below(share: Any) -> list[Any]:
    """z3: x (X - J) >= `share` pi_max E max(X - J, 0), yet the rate of J is below 0, after that induction.

    q is the sum of the squares of the answers' probabilities after the CoT, at least X^2.
    """
    most, squares, total, x, right, value, q = z3.Reals("pi_max squares total x X J q")
    e, answer = right - value, x * right * (1 - 2 * right + q)
    return [
        Given("probabilities are at least 0 and sum to 1", x > 0, x <= 1, most >= 0, value > 0, total >= 0),
        Given("X is a probability", right >= 0, right <= 1),
        Given("a sum of squares", q >= right * right, squares <= most * total),
        Given("pi_c (X_c - J) >= pi_max E max(X - J, 0)", x * e >= share * most * total),
        x * e - squares + answer < 0,
    ]


def test_ahead_by_enough() -> None:
    proved(*one_cot(), size="any one CoT")
    proved(*one_cot_more(), size="any number of CoTs, from n to n + 1")
    proved(*rate_below(1), size="any number of CoTs and of answers")


def test_ahead_by_enough_on_instances() -> None:
    for_all(ahead_by_enough(1), answered, n=500)


def test_ahead_control_above_j() -> None:
    satisfiable(*rate_below(0))
    satisfiable(*one_cot(times=2))
    satisfiable(*one_cot_more(times=2))
    negative_control(ahead_by_enough(0), answered)
