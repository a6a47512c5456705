"""Both properties within a batch (line 154), and the learning signal of a policy's own CoTs (Table 1)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import z3

from theory.domains import point, wide
from theory.evidence import Given, Pick, Statement, counterexample, for_all, negative_control, proved, satisfiable
from theory.relations import Said, ge, gt

# P1-ensures, line 154: Property 1 "ensures the samples to have relatively high probability"


def batch(pick: Pick) -> Any:
    """(pi, n): the batch is the first n trajectories."""
    pi = wide(pick, 3, 6)
    return pi, pick(2, len(pi))


def small_pair(pick: Pick) -> Any:
    """(pi, 2), small."""
    return point(pick, 3, 4, 6), 2


def above_the_mean(every: bool) -> Statement:
    """A sample that is more in-distribution than every other of its batch has more than their mean probability.

    Not `every`: than one other.
    """

    def statement(instance: Any) -> Said | None:
        pi, n = instance
        first, *others = pi[:n]
        if not first > (max(others) if every else others[0]):
            return None
        return gt(first, sum(pi[:n]) / n)

    return statement


def not_above_the_mean(every: bool) -> list[Any]:
    """z3: a sample of probability x, more than each of n - 1 others, or than one, is not above the mean of all n.

    The others sum to y plus that one.
    """
    n, x, one, y = z3.Reals("n x one y")
    most = (n - 2) * x if every else n - 2
    return [
        Given("probabilities are above 0 and sum to 1", x > 0, one > 0, y >= 0, x + one + y <= 1),
        Given("more in-distribution than every other one of its batch", n >= 2, x > one),
        Given("terms added up", y <= most),
        n * x <= x + one + y,
    ]


def above_the_mean_of_all(instance: Any) -> Said | None:
    """Literal, by the policy: it has no less than the mean probability of all trajectories."""
    pi, _ = instance
    return ge(pi[1], Fraction(1, len(pi))) if pi[1] > pi[0] else None


def test_above_the_mean_of_the_batch() -> None:
    proved(*not_above_the_mean(every=True), size="any batch")


def test_above_the_mean_on_instances() -> None:
    for_all(above_the_mean(every=True), batch)


def test_above_the_mean_controls() -> None:
    satisfiable(*not_above_the_mean(every=False))
    negative_control(above_the_mean(every=False), batch)


def test_below_the_mean_of_all() -> None:
    counterexample(above_the_mean_of_all, small_pair, (tuple(Fraction(x, 7) for x in (1, 2, 4)), 2))
