"""The Monte-Carlo slope of J along a sample's gradient: unbiased, and 0 wherever no rollout is right."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import numpy as np

from theory.domains import bits, gradients, point
from theory.evidence import Pick, Statement, for_all, negative_control
from theory.policies import softmax
from theory.relations import Said, both, eq, ge


def rollouts(pick: Pick) -> Any:
    """(pi, logit gradients, rewards, n): 2 or 3 trajectories, 2 to 4 rollouts."""
    pi = point(pick, 2, 3, 9)
    return pi, gradients(pick, len(pi), 2), bits(pick, len(pi)), pick(2, 4)


def estimates(instance: Any, baseline: bool) -> Any:
    """The slope along the first trajectory's gradient as n rollouts estimate it: (estimate, probability) of each draw.

    With the mean reward as a baseline it is the sample covariance of reward and inner product.
    """
    pi, z, r, n = instance
    inner = softmax(pi, z).gram[0]
    for drawn in product(range(len(pi)), repeat=n):
        rewards, values = np.array([Fraction(r[i]) for i in drawn]), inner[list(drawn)]
        centre, over = (rewards.sum() / n, n - 1) if baseline else (Fraction(0), n)
        yield ((rewards - centre) * values).sum() / over, prod((pi[i] for i in drawn), start=Fraction(1))


def silent(baseline: bool, fewer: int = 0) -> Statement:
    """The estimate's mean is <grad J, s>, and it is 0 with probability at least (1-p)^n, p = J.

    With a baseline that is (1-p)^n + p^n: all right rollouts say as little as all wrong ones. `fewer`: rollouts less.
    """

    def statement(instance: Any) -> Said | None:
        pi, z, r, n = instance
        p = sum((x for x, right in zip(pi, r, strict=True) if right), Fraction(0))
        if p in (0, 1):
            return None
        drawn = list(estimates(instance, baseline))
        mean = sum((value * chance for value, chance in drawn), Fraction(0))
        zero = sum((chance for value, chance in drawn if value == 0), Fraction(0))
        bound = (1 - p) ** (n - fewer) + (p ** (n - fewer) if baseline else 0)
        return both(eq(mean, softmax(pi, z).gain(r, 0)), ge(zero, bound))

    return statement


def test_plain_slope() -> None:
    for_all(silent(baseline=False), rollouts, 200)
    # A question that 1 of 100 rollouts gets right, by 64 of them.
    assert round(0.99**64, 2) == 0.53


def test_slope_with_a_baseline() -> None:
    for_all(silent(baseline=True), rollouts, 200)


def test_slope_control_one_rollout_less() -> None:
    negative_control(silent(baseline=False, fewer=1), rollouts, 200)
    negative_control(silent(baseline=True, fewer=1), rollouts, 200)
