"""Line 116: the smallest policy in which a right sample gains more than twice T1, all smaller ones tried."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from theory import improvement
from theory.evidence import Pick, counterexample
from theory.test_dominance import within_twice


def parts(total: int, most: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as a sum of whole numbers from 1 to `most`, whatever their order."""
    if total == 0:
        yield ()
    for first in range(min(total, most), 0, -1):
        for rest in parts(total - first, first):
            yield (first, *rest)


def policies(d: int) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """All policies of probabilities in d-ths, none 0, with a right sample: its d-ths, those of other right ones, of
    wrong ones."""
    for own in range(1, d):
        for right in range(d - own + 1):
            for others in parts(right, right):
                for wrong in parts(d - own - right, d):
                    yield own, others, wrong


def terms(d: int, own: int, others: tuple[int, ...], wrong: tuple[int, ...]) -> tuple[int, int]:
    """d^3 T1 and d^3 T2 of that right sample."""
    right = sum(x * x for x in others)
    square = own * own + right + sum(x * x for x in wrong)
    return own * (d * d - 2 * own * d + square), sum(others) * (square - own * d) - right * d


def by_library(d: int, own: int, others: tuple[int, ...], wrong: tuple[int, ...]) -> tuple[Fraction, Fraction]:
    """The same by the library's forms."""
    right, left = (Fraction(sum(x * x for x in held), d * d) for held in ((own, *others), wrong))
    t1, t2 = improvement.from_sums(Fraction(own, d), 1, Fraction(own + sum(others), d), right, left)
    return d**3 * t1, d**3 * t2


def above_twice(d: int) -> list[Any]:
    """The policies in d-ths whose right sample gains more than twice T1, that is, has T2 > T1."""
    both = ((policy, terms(d, *policy)) for policy in policies(d))
    return [policy for policy, (t1, t2) in both if t2 > t1]


def alike(pick: Pick) -> Any:
    """(pi, r, 0): one to nine right trajectories of the same probability, and a wrong one."""
    n, wrong = pick(1, 9), pick(1, 20)
    return (*(Fraction(1, n + wrong),) * n, Fraction(wrong, n + wrong)), (*(1,) * n, 0), 0


def test_gain_above_twice_t1() -> None:
    pi = (*(Fraction(1, 15),) * 6, Fraction(9, 15))
    counterexample(within_twice, alike, (pi, (1,) * 6 + (0,), 0))
    assert improvement.tabular_t1(pi, (1,) * 6 + (0,), 0) == Fraction(94, 1125)
    assert improvement.tabular_gain(pi, (1,) * 6 + (0,), 0) == Fraction(21, 125)
    assert all(terms(8, *policy) == by_library(8, *policy) for policy in policies(8))
    # Not by a search: it is the only one in 15ths, and there is none in fewer parts, of any number of trajectories.
    assert [above_twice(d) for d in range(2, 16)] == [[]] * 13 + [[(1, (1,) * 5, (9,))]]
