"""Sentences on single steps: lines 84, 94, 110, 122 to 130 and 236."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from theory import improvement, lemma2, shifts
from theory.domains import bits, gradients, point, twelfths
from theory.evidence import Pick, Statement, counterexample, for_all, identity, negative_control, no_identity
from theory.policies import softmax
from theory.relations import Said, both, eq, ge, gt, iff, le, lt, when
from theory.test_lemma2 import mean

# E1-shifts, line 84: probability shifts and policy improvement


def pushed(pick: Pick) -> Any:
    """(pi, rewards in [0, 1], j, a factor for each e^z)."""
    pi = point(pick, 2, 5)
    return pi, twelfths(pick, len(pi)), pick(0, len(pi) - 1), tuple(Fraction(pick(1, 12), 4) for _ in pi)


def shifts_make_the_gain(of_all: bool) -> Statement:
    """J changes by sum_l r_l (change of pi_l), on a gradient step and on a push of any size, and by no more than TV.

    Not `of_all`: by the sample's own part of that sum.
    """

    def statement(instance: Any) -> Said:
        pi, r, j, factors = instance
        counted = [x if of_all or k == j else 0 for k, x in enumerate(r)]
        after = shifts.stepped(pi, factors)
        change = mean(after, r) - mean(pi, r)
        return both(
            eq(improvement.tabular_gain(pi, r, j), mean(shifts.gradient_step(pi, j), counted)),
            eq(change, mean(after - np.array(pi), counted)),
            le(abs(change), lemma2.tv(after, pi)),
        )

    return statement


def test_shifts_make_the_gain() -> None:
    for_all(shifts_make_the_gain(of_all=True), pushed, n=500)


def test_shifts_control_own_alone() -> None:
    negative_control(shifts_make_the_gain(of_all=False), pushed)


# E2-align, lines 94 and 116: the alignment of the true gradient and a sample's


def two_samples(pick: Pick) -> Any:
    """(pi, rewards 0 or 1): samples 0 and 1 are compared."""
    pi = point(pick, 3, 5)
    return pi, bits(pick, len(pi))


def two_samples_of_any_softmax(pick: Pick) -> Any:
    """(pi, rewards 0 or 1, logit gradients with one parameter), small."""
    pi = point(pick, 3, 3, 3)
    return pi, bits(pick, 3), gradients(pick, 3, 1)


def aligned_gains_more(instance: Any) -> Said | None:
    """Of two samples with gains above 0 the one whose score has the larger cosine with grad J gains more.

    Tabular, or with the logit gradients that the instance names.
    """
    pi, r, *z = instance
    policy = softmax(pi, *z)
    first, second = policy.gain(r, 0), policy.gain(r, 1)
    if first <= 0 or second <= 0:
        return None
    # Squares of the cosines, both times |grad J|^2.
    cosines = [gain**2 / policy.gram[j, j] for j, gain in enumerate((first, second))]
    return iff(gt(cosines[0], cosines[1]), gt(first, second))


def test_alignment_tabular() -> None:
    for_all(aligned_gains_more, two_samples, n=300)


def test_alignment_control_any_softmax() -> None:
    negative_control(aligned_gains_more, two_samples_of_any_softmax, n=300)


def test_alignment_counterexample() -> None:
    third = Fraction(1, 3)
    pinned = ((third,) * 3, (1, 0, 0), ((Fraction(2),), (Fraction(1),), (Fraction(-3),)))
    policy = softmax(pinned[0], pinned[2])
    # One parameter: both cosines are 1.
    assert [policy.gain(pinned[1], j) for j in (0, 1)] == [Fraction(4, 3), Fraction(2, 3)]
    counterexample(aligned_gains_more, two_samples_of_any_softmax, pinned)


# E5-fn3-sum, footnote 3, line 110: the score of a sample is the sum over its tokens and its answer


def score_error(answer: int) -> sympy.Expr:
    """The score of three tokens and an answer minus the sum of their scores; `answer` 0 leaves the answer's out.

    Each probability is any a + b theta: any parametrisation, to first order.
    """
    theta, a, b = sympy.Symbol("theta"), sympy.symbols("a:4", positive=True), sympy.symbols("b:4")
    parts = [x + y * theta for x, y in zip(a, b, strict=True)]
    product = sympy.prod(parts)
    scores = [sympy.diff(p, theta) / p for p in parts]
    return sympy.diff(product, theta) / product - sum(scores[:3]) - answer * scores[3]


def test_score_is_a_sum() -> None:
    identity(score_error(1), "three tokens and an answer, any parametrisation")


def test_score_control_without_the_answer() -> None:
    no_identity(score_error(0))


# E6-T1, line 122: T1 scales proportionally with pi_j


def path(pick: Pick) -> Any:
    """(law of the others, pi_j): only the logit of the sample moves."""
    return point(pick, 1, 4, 6), Fraction(pick(1, 5), 12)


def short_path(pick: Pick) -> Any:
    """As `path`, with one or two others."""
    return point(pick, 1, 2, 2), Fraction(pick(1, 5), 12)


def first_term(instance: Any) -> Any:
    """T1 of a right sample of probability x, the others in proportion to rho."""
    rho, x = instance
    return improvement.tabular_t1((x, *((1 - x) * a for a in rho)), (1, *(0 for _ in rho)), 0)


def doubles(instance: Any) -> Said:
    """Literal: twice the probability, twice T1."""
    rho, x = instance
    return eq(first_term((rho, 2 * x)), 2 * first_term((rho, x)))


def nearly_proportional(share: int) -> Statement:
    """T1 = (1 + m) x (1 - x)^2, m = sum rho^2: at most (1 + m) x, and less than that by a part of at most `share` x."""

    def statement(instance: Any) -> Said:
        rho, x = instance
        full, found = (1 + sum(a * a for a in rho)) * x, first_term(instance)
        return both(eq(found, full * (1 - x) ** 2), lt(found, full), ge(found, full * (1 - share * x)))

    return statement


def test_t1_is_not_proportional() -> None:
    third = Fraction(1, 3)
    assert [first_term(((Fraction(1),), x)) for x in (third, 2 * third)] == [Fraction(8, 27), Fraction(4, 27)]
    counterexample(doubles, short_path, ((Fraction(1),), third))


def test_t1_first_order() -> None:
    for_all(nearly_proportional(2), path)


def test_t1_control_closer() -> None:
    negative_control(nearly_proportional(1), path)


# E6-reward, lines 124 and 130: a likely sample with a high reward


def graded(pick: Pick) -> Any:
    """(pi, rewards in [0, 1])."""
    pi = point(pick, 2, 5)
    return pi, twelfths(pick, len(pi))


def likely_and_rewarded_gains_more(above_j: bool) -> Statement:
    """Sample 0, no less likely than 1 and no less rewarded, gains no less, if its reward is at least J.

    The difference of their gains is (pi_0 - pi_1)(r_0 - J) + pi_1 (r_0 - r_1). Not `above_j`: at any reward.
    """

    def statement(instance: Any) -> Said:
        pi, r = instance
        value = mean(pi, r)
        apart = improvement.tabular_gain(pi, r, 0) - improvement.tabular_gain(pi, r, 1)
        form = (pi[0] - pi[1]) * (r[0] - value) + pi[1] * (r[0] - r[1])
        ranked = pi[0] >= pi[1] and r[0] >= r[1] and (r[0] >= value or not above_j)
        return both(eq(apart, form), when(ranked, ge(form, 0)))

    return statement


def test_likely_and_rewarded_gains_more() -> None:
    for_all(likely_and_rewarded_gains_more(above_j=True), graded)


def test_reward_control_below_j() -> None:
    negative_control(likely_and_rewarded_gains_more(above_j=False), graded)


# E6-ood, line 236: out-of-distribution positives can be detrimental


def unlikely(pick: Pick) -> Any:
    """A probability from 1/1000 to 1/5."""
    return Fraction(1, pick(5, 1000))


def gain_of(which: int, x: Any) -> Any:
    """The gain of sample 0 or 1; pi = (x, 1 - 2x, x), the first two right."""
    return improvement.tabular_gain((x, 1 - 2 * x, x), (1, 1, 0), which)


def lowers(which: int) -> Statement:
    """The sample lowers J, at a rate of x at most."""
    return lambda x: both(lt(gain_of(which, x), 0), gt(gain_of(which, x), -x))


def test_unlikely_right_sample_lowers_j() -> None:
    for_all(lowers(0), unlikely)
    for x in (Fraction(1, 5), Fraction(1, 7), Fraction(1, 1000)):
        assert gain_of(0, x) == -x * (1 - 6 * x + 6 * x * x)


def test_unlikely_control_the_likely_one() -> None:
    negative_control(lowers(1), unlikely)
