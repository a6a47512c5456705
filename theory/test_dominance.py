"""Line 116: does T1 dominate the gain?"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import z3

from theory import improvement
from theory.domains import bits, gradients, point
from theory.evidence import (
    Given,
    Pick,
    Statement,
    counterexample,
    for_all,
    negative_control,
    proved,
    satisfiable,
)
from theory.policies import Policy, softmax
from theory.relations import Said, both, eq, ge, gt, iff, le, lt

FIFTHS = (Fraction(1, 5), Fraction(3, 5), Fraction(1, 5))


def right_sample(pick: Pick) -> Any:
    """(pi, r, j) with r_j = 1."""
    pi = point(pick, 2, 5)
    j = pick(0, len(pi) - 1)
    r = bits(pick, len(pi))
    return pi, (*r[:j], 1, *r[j + 1 :]), j


def wrong_sample(pick: Pick) -> Any:
    """(pi, r, j) with r_j = 0."""
    pi, r, j = right_sample(pick)
    return pi, (*r[:j], 0, *r[j + 1 :]), j


def small(pick: Pick) -> Any:
    """As `right_sample`, small: where counterexamples are looked for."""
    pi = point(pick, 2, 3, 8)
    j = pick(0, len(pi) - 1)
    r = bits(pick, len(pi))
    return pi, (*r[:j], 1, *r[j + 1 :]), j


def small_wrong(pick: Pick) -> Any:
    """As `small`, with r_j = 0."""
    pi, r, j = small(pick)
    return pi, (*r[:j], 0, *r[j + 1 :]), j


def skewed(pick: Pick) -> Any:
    """(pi, r, 0): three trajectories, the first right, one of the others likely."""
    w = (1, pick(1, 6), pick(1, 20))
    return tuple(Fraction(x, sum(w)) for x in w), (1, *bits(pick, 2)), 0


# In general


def dominates(instance: Any) -> Said:
    """Literal: |T2| <= T1."""
    return le(abs(improvement.tabular_t2(*instance)), improvement.tabular_t1(*instance))


def never_lowers(instance: Any) -> Said:
    """Literal: a step with a right sample does not lower J."""
    return ge(improvement.tabular_gain(*instance), 0)


def within_twice(instance: Any) -> Said:
    """Literal: the gain is at most twice T1, as it is where T1 dominates."""
    return le(improvement.tabular_gain(*instance), 2 * improvement.tabular_t1(*instance))


def test_dominance_fails() -> None:
    counterexample(dominates, small, (FIFTHS, (1, 1, 0), 0))


def test_right_sample_lowers_j() -> None:
    counterexample(never_lowers, small, (FIFTHS, (1, 1, 0), 0))
    assert improvement.tabular_t1(FIFTHS, (1, 1, 0), 0) == Fraction(26, 125)
    assert improvement.tabular_t2(FIFTHS, (1, 1, 0), 0) == Fraction(-27, 125)


def test_gain_far_above_t1() -> None:
    pi = (Fraction(1, 22), Fraction(4, 22), Fraction(17, 22))
    counterexample(within_twice, skewed, (pi, (1, 1, 0), 0))
    assert improvement.tabular_t1(pi, (1, 1, 0), 0) == Fraction(373, 5324)
    assert improvement.tabular_t2(pi, (1, 1, 0), 0) == Fraction(98, 1331)


# Where it holds


def only_right(instance: Any) -> Said:
    """T2 = 0, for any logit gradients."""
    pi, z, r, j = instance
    return eq(improvement.t2(softmax(pi, z), r, j), 0, varies=instance)


def with_gradients(pick: Pick) -> Any:
    """(pi, logit gradients, r, j) with r_j = 1."""
    pi, r, j = right_sample(pick)
    return pi, gradients(pick, len(pi)), r, j


def with_only_one_right(pick: Pick) -> Any:
    """As `with_gradients`, j alone is right."""
    pi, z, _, j = with_gradients(pick)
    return pi, z, tuple(int(i == j) for i in range(len(pi))), j


def test_only_right_sample() -> None:
    for_all(only_right, with_only_one_right)


def test_only_right_control_another_right_sample() -> None:
    negative_control(only_right, with_gradients)


def near_mode(slack: Fraction) -> Statement:
    """(p - pi_j)(pi_j + pi_max) <= slack pi_j (1 - 2 pi_j), pi_max that of the likeliest other, gives |T2| <= T1."""

    def statement(instance: Any) -> Said | None:
        pi, r, j = instance
        p = sum(x for x, y in zip(pi, r, strict=True) if y)
        most = max(x for i, x in enumerate(pi) if i != j)
        if not (p - pi[j]) * (pi[j] + most) <= slack * pi[j] * (1 - 2 * pi[j]):
            return None
        return dominates(instance)

    return statement


def near_mode_fails(factor: int) -> list[Any]:
    """Negation for any L: x = pi_j, g the mass of the other right ones, h and s the squares of these and of all others.

    Each of the others is at most pi_max, so h <= pi_max g and s <= pi_max (1 - x).
    """
    x, g, h, s, most = z3.Reals("x g h s pi_max")
    first = x * (1 - 2 * x + x * x + s)
    second = g * (x * x + s - x) - h
    near = g * (x + most) <= factor * x * (1 - 2 * x)
    return [
        Given("probabilities are above 0 and sum to 1", x > 0, x < 1, g >= 0, g <= 1 - x),
        Given("pi_max is the largest of the other probabilities", most >= 0, h <= most * g, s <= most * (1 - x)),
        Given("a sum of squares", h >= 0, h <= s),
        Given("(p - pi_j)(pi_j + pi_max) <= pi_j (1 - 2 pi_j)", near),
        z3.Or(second > first, -second > first),
    ]


def test_near_mode() -> None:
    proved(*near_mode_fails(1), size="any L")


def test_near_mode_on_instances() -> None:
    for_all(near_mode(Fraction(1)), right_sample)


def test_near_mode_control_wider() -> None:
    satisfiable(*near_mode_fails(2))
    negative_control(near_mode(Fraction(8)), right_sample)


def labels(policy: Policy, j: int, chance: Any) -> tuple[Fraction, Fraction]:
    """Mean and variance of T2 over all labels of l != j, right with probability chance[l] each, independent."""
    n = len(chance)
    mean = square = Fraction(0)
    for r in product((0, 1), repeat=n):
        if r[j]:
            w = Fraction(1)
            for i, y in enumerate(r):
                w *= 1 if i == j else chance[i] if y else 1 - chance[i]
            x = improvement.t2(policy, r, j)
            mean, square = mean + w * x, square + w * x * x
    return mean, square - mean * mean


def random_labels(pick: Pick) -> Any:
    """(pi, logit gradients, j, p): 2 to 4 trajectories, labels right with probability p."""
    pi = point(pick, 2, 4)
    return pi, gradients(pick, len(pi)), pick(0, len(pi) - 1), Fraction(pick(1, 11), 12)


def mean_over_labels(even: bool) -> Statement:
    """E T2 = -p T1 and Var T2 = p (1 - p) sum over l != j of pi_l^2 <s_j, s_l>^2, for any logit gradients.

    `even`: every label has the same chance p; otherwise p is the mean of chances that grow with pi_l.
    """

    def statement(instance: Any) -> Said:
        pi, z, j, p = instance
        policy = softmax(pi, z)
        mean, variance = labels(policy, j, [p] * len(pi) if even else [p * x for x in pi])
        inner = policy.gram[j]
        spread = sum((x * y) ** 2 for i, (x, y) in enumerate(zip(pi, inner, strict=True)) if i != j)
        first = improvement.t1(policy, (1,) * len(pi), j)
        return both(
            eq(mean, -(p if even else p / len(pi)) * first),
            *([eq(variance, p * (1 - p) * spread)] if even else []),
        )

    return statement


def test_random_labels() -> None:
    for_all(mean_over_labels(even=True), random_labels)


def test_random_labels_control_likelier_is_righter() -> None:
    negative_control(mean_over_labels(even=False), random_labels)


# Wrong samples


def pushing_down_helps(instance: Any) -> Said | None:
    """Literal: pushing down a wrong sample does not lower J."""
    return le(improvement.tabular_gain(*instance), 0)


def lowers_iff(factor: int) -> Statement:
    """Pushing down a wrong sample raises J if and only if pi_j > S2_F - factor (1 - p) / p S2_S."""

    def statement(instance: Any) -> Said | None:
        pi, r, j = instance
        p = sum(x for x, y in zip(pi, r, strict=True) if y)
        if not p:
            return None
        right = sum(x * x for x, y in zip(pi, r, strict=True) if y)
        wrong = sum(x * x for x, y in zip(pi, r, strict=True) if not y)
        return iff(lt(improvement.tabular_gain(pi, r, j), 0), gt(pi[j], wrong - factor * (1 - p) / p * right))

    return statement


def test_wrong_sample_has_no_t1() -> None:
    half = Fraction(1, 2)
    counterexample(dominates, small_wrong, ((half, half), (1, 0), 1))
    assert improvement.tabular_t2((half, half), (1, 0), 1) == Fraction(-1, 4)


def test_pushing_down_can_lower_j() -> None:
    counterexample(pushing_down_helps, small_wrong, (FIFTHS, (0, 0, 1), 0))
    assert improvement.tabular_gain(FIFTHS, (0, 0, 1), 0) == Fraction(1, 125)


def test_pushing_down_condition() -> None:
    for_all(lowers_iff(1), wrong_sample)


def test_pushing_down_control_without_the_right_samples() -> None:
    negative_control(lowers_iff(0), wrong_sample)


def test_batches_agree_with_exact_numbers() -> None:
    pi = np.array([[0.25, 0.5, 0.25], [0.5, 0.125, 0.375]])
    r = np.array([[1, 1, 0], [1, 0, 0]])
    exact = [[Fraction(x) for x in row] for row in pi]
    for f in (improvement.tabular_t1, improvement.tabular_t2, improvement.tabular_gain):
        assert f(pi, r, 0).tolist() == [float(f(p, tuple(y), 0)) for p, y in zip(exact, r.tolist(), strict=True)]
    assert improvement.t1(softmax(pi), r, 0).tolist() == improvement.tabular_t1(pi, r, 0).tolist()
    assert improvement.t2(softmax(pi), r, 0).tolist() == improvement.tabular_t2(pi, r, 0).tolist()
