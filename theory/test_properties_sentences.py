"""Sentences on ideal samples: lines 72, 86, 144 and 150."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import z3

from theory import improvement, lemma2, properties, shifts
from theory.domains import bits, gradients, point
from theory.evidence import Given, Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.policies import softmax
from theory.relations import Said, both, either, eq, ge, gt, iff, le, lt, when
from theory.test_lemma2 import mean
from theory.test_properties import HALF, ONE, cots, small

# P12-must, line 86: both properties are necessary


def better_is_necessary(instance: Any) -> Said | None:
    """Literal: where weights +1 on c_1 and -1 on c_2 raise J, X_1 is no smaller than X_2."""
    prior, x = instance
    return ge(x[0], x[1]) if properties.pair_rate(prior, x, 0, 1) > 0 else None


def likely_is_necessary(instance: Any) -> Said:
    """Literal: a right trajectory of probability 1/100 or less raises J at 1/100 or less, alone or with a wrong one."""
    return either(*(le(rate, Fraction(1, 100)) for rate in up_and_down(*instance)))


def up_and_down(pi: Any, r: Any) -> tuple[Any, Any]:
    """The rates of J on a step with +1 on the first trajectory, and with -1 on the last as well."""
    up, down = (improvement.tabular_gain(pi, r, at) for at in (0, len(pi) - 1))
    return up, up - down


def test_better_is_not_necessary() -> None:
    pinned = ((Fraction(1, 4), HALF, Fraction(1, 4)), (Fraction(1, 4), Fraction(1, 3), ONE))
    assert properties.pair_rate(*pinned, 0, 1) == Fraction(1, 64)
    counterexample(better_is_necessary, lambda pick: (point(pick, 3, 3, 2), (*small(pick, 2), ONE)), pinned)


def unlikely_and_another(pick: Pick) -> Any:
    """(pi, r): a right trajectory of probability 1/100 or less, another right one, and a wrong one."""
    chance, wrong = Fraction(1, pick(100, 10_000)), Fraction(pick(1, 9), 10)
    return (chance, 1 - chance - wrong, wrong), (1, 1, 0)


def test_likely_is_not_necessary() -> None:
    r, wrong = (1, 1, 0), Fraction(7, 10)
    pinned = ((Fraction(1, 100), Fraction(29, 100), wrong), r)
    assert up_and_down(*pinned) == (Fraction(4753, 50_000), Fraction(217, 1000))
    counterexample(likely_is_necessary, unlikely_and_another, pinned)
    # As its probability falls to 0 beside another right one, 21/250 and J pi_- are left.
    for n in (100, 10**6, 10**9):
        chance = Fraction(1, n)
        up, pair = up_and_down((chance, 1 - wrong - chance, wrong), r)
        assert up > Fraction(21, 250)
        assert pair == wrong * chance + (1 - wrong) * wrong


# P-essential, lines 72 and 257: what a negative sample gains beside a positive one


def right_and_wrong_ones(pick: Pick) -> Any:
    """(pi, logit gradients, r): the first trajectory is right, the last one wrong."""
    pi = point(pick, 2, 5)
    return pi, gradients(pick, len(pi), 2), (1, *bits(pick, len(pi) - 2), 0)


def positives_gain_more(own: bool) -> Statement:
    """Mean gains: |grad J|^2 / J by a self-explanation pushed up, |grad J|^2 / (1 - J) by a wrong sample pushed down.

    Weights 1 and -1, any parametrisation, the wrong sample from the policy; so the former is larger iff
    J < 1/2. Not `own`: all wrong trajectories are drawn equally often.
    """

    def statement(instance: Any) -> Said:
        pi, z, r = instance
        policy, value = softmax(pi, z), mean(pi, r)
        wrong = [(p if own else ONE) * (1 - x) for p, x in zip(pi, r, strict=True)]
        gains = [policy.gain(r, j) for j in range(len(pi))]
        up, down = mean(lemma2.posterior(pi, r), gains), -mean(wrong, gains) / sum(wrong)
        square = policy.gradient(r) @ policy.gradient(r)
        return both(
            eq(up * value, square),
            eq(down * (1 - value), square),
            when(square > 0, iff(gt(up, down), lt(value, HALF))),
        )

    return statement


def test_positives_gain_more() -> None:
    for_all(positives_gain_more(own=True), right_and_wrong_ones)
    # Not of bounded pushes on all trajectories: wrong ones down by t or right ones up by 1/t give one policy.
    pi, t = (Fraction(1, 100), Fraction(99, 100)), Fraction(1, 3)
    assert shifts.stepped(pi, (ONE, t))[0] == shifts.stepped(pi, (1 / t, ONE))[0] == Fraction(1, 34)


def test_positives_control_even_sampler() -> None:
    negative_control(positives_gain_more(own=False), right_and_wrong_ones)


# P2-rel, line 144: no absolute quality


def has_no_value_beside(closed: bool) -> list[Any]:
    """z3: for some X_1 the value X_1 / 2 is not below it, or (1 + X_1) / 2 not above. `closed`: X_1 may be 0 or 1."""
    x = z3.Real("x")
    inside = [x >= 0, x <= 1] if closed else [x > 0, x < 1]
    return [Given("X between 0 and 1", *inside), z3.Not(z3.And(x / 2 < x, x < (1 + x) / 2))]


def test_preferred_and_not() -> None:
    """Both values are between 0 and 1."""
    proved(*has_no_value_beside(closed=False), size="any X_1 between 0 and 1")


def test_preferred_control_ends() -> None:
    satisfiable(*has_no_value_beside(closed=True))


# P2-wrong, line 150: the wrong samples to push


def pushes(pick: Pick) -> Any:
    """(prior, X, alpha, beta): a push up on the first CoT, or one down."""
    prior, x = cots(pick)
    return prior, x, 1 + Fraction(pick(1, 30), 10), Fraction(pick(1, 19), 20)


def wrong_to_push(by_j: bool) -> Statement:
    """Pushing up the first CoT lowers J if and only if X < J; pushing it down lowers J if and only if X > J.

    Not `by_j`: the second CoT's X in place of J.
    """

    def statement(instance: Any) -> Said:
        prior, x, alpha, beta = instance
        level = mean(prior, x) if by_j else x[1]
        up = properties.logit_gain(prior, x, 0, alpha, 1, ONE)
        down = properties.logit_gain(prior, x, 1, ONE, 0, beta)
        return both(iff(lt(up, 0), lt(x[0], level)), iff(lt(down, 0), gt(x[0], level)))

    return statement


def test_wrong_to_push() -> None:
    for_all(wrong_to_push(by_j=True), pushes, n=500)


def test_wrong_control_by_partner() -> None:
    negative_control(wrong_to_push(by_j=False), pushes)
