"""Sentences on ideal samples: lines 72, 86, 144 and 150."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import z3

from theory import improvement, objectives, properties, shifts
from theory.domains import bits, point
from theory.evidence import Given, Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.relations import Said, both, eq, ge, gt, iff, le, lt
from theory.test_lemma2 import mean
from theory.test_properties import HALF, ONE, cots, small

# P12-must, line 86: both properties are necessary


def better_is_necessary(instance: Any) -> Said | None:
    """Literal: where weights +1 on c_1 and -1 on c_2 raise J, X_1 is no smaller than X_2."""
    prior, x = instance
    return ge(x[0], x[1]) if properties.pair_rate(prior, x, 0, 1) > 0 else None


def likelier_is_necessary(instance: Any) -> Said | None:
    """Literal: where +1 on a right trajectory and -1 on a wrong one raise J, the right one is no less likely."""
    pi, r, j = instance
    rate = improvement.tabular_gain(pi, r, j) - improvement.tabular_gain(pi, r, 1)
    return ge(pi[j], pi[1]) if rate > 0 else None


def test_better_is_not_necessary() -> None:
    pinned = ((Fraction(1, 4), HALF, Fraction(1, 4)), (Fraction(1, 4), Fraction(1, 3), ONE))
    assert properties.pair_rate(*pinned, 0, 1) == Fraction(1, 64)
    counterexample(better_is_necessary, lambda pick: (point(pick, 3, 3, 2), (*small(pick, 2), ONE)), pinned)


def right_and_wrong(pick: Pick) -> Any:
    """(pi, r, 0): the first trajectory alone is right."""
    pi = point(pick, 2, 3, 6)
    return pi, (1, 0, 0)[: len(pi)], 0


def test_likelier_is_not_necessary() -> None:
    counterexample(likelier_is_necessary, right_and_wrong, ((Fraction(1, 3), Fraction(2, 3)), (1, 0), 0))


# P-essential, lines 72 and 257: what negative samples alone can do


def suppressed(pick: Pick) -> Any:
    """(pi, r, t, factors): every e^z of a wrong trajectory gets a factor from t to 1; the first trajectory is right."""
    pi, t = point(pick, 2, 5), Fraction(pick(1, 11), 12)
    r = (1, *bits(pick, len(pi) - 1))
    return pi, r, t, tuple(ONE if x else t + (1 - t) * Fraction(pick(0, 3), 3) for x in r)


def negatives_alone(and_positives: bool) -> Statement:
    """Pushes down by factors of t or more raise J to at most J / t; a step t towards self-explanations adds t (1 - J).

    `and_positives`: the right trajectories are pushed up by 1 / t as well.
    """

    def statement(instance: Any) -> Said:
        pi, r, t, factors = instance
        factors = [1 / t if x and and_positives else f for f, x in zip(factors, r, strict=True)]
        value = mean(pi, r)
        after = mean(shifts.stepped(pi, factors), r)
        added = mean(objectives.em_step(pi, r, t), r) - value
        return both(le(after, value / t), eq(added, t * (1 - value)))

    return statement


def test_negatives_alone() -> None:
    for_all(negatives_alone(and_positives=False), suppressed)


def test_negatives_control_positives_too() -> None:
    negative_control(negatives_alone(and_positives=True), suppressed)


# P2-rel, line 144: no absolute quality


def has_no_partner(closed: bool) -> list[Any]:
    """z3: for some X_1 the partner X_1 / 2 is no worse, or (1 + X_1) / 2 no better. `closed`: X_1 may be 0 or 1."""
    x = z3.Real("x")
    inside = [x >= 0, x <= 1] if closed else [x > 0, x < 1]
    return [Given("X between 0 and 1", *inside), z3.Not(z3.And(x / 2 < x, x < (1 + x) / 2))]


def test_preferred_and_not() -> None:
    proved(*has_no_partner(closed=False), size="any X_1 between 0 and 1")


def test_preferred_control_ends() -> None:
    satisfiable(*has_no_partner(closed=True))


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
