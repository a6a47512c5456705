"""Line 82: whether models are evaluated on Eq 1, where pass@4 is reported."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from theory import passk
from theory.domains import twelfths
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.relations import Said, both, eq, gt, iff
from theory.test_lemma2 import mean


def one_question_or_try(pick: Pick) -> Any:
    """(rates of one model, of another, k): one question, or one try at two or three of the same share."""
    n = pick(1, 3)
    return twelfths(pick, n), twelfths(pick, n), pick(1, 6) if n == 1 else 1


def two_questions(pick: Pick) -> Any:
    """The same for any number of tries at two questions."""
    return twelfths(pick, 2), twelfths(pick, 2), pick(1, 6)


def small_questions(pick: Pick) -> Any:
    """The same with small denominators and k = 4."""
    rates = [tuple(Fraction(pick(0, d), d) for d in (pick(1, 3), pick(1, 3))) for _ in range(2)]
    return rates[0], rates[1], 4


def evaluates(instance: Any) -> Said:
    """The model with the larger J is the one with the larger pass@k, and pass@1 is J."""
    first, second, k = instance
    shares = [Fraction(1, len(first))] * len(first)
    value, other = mean(first, shares), mean(second, shares)
    tried, other_tried = (passk.mixture(rates, shares, k) for rates in (first, second))
    return both(eq(passk.mixture(first, shares, 1), value), iff(gt(value, other), gt(tried, other_tried)))


def test_one_question_or_try() -> None:
    for_all(evaluates, one_question_or_try)


def test_evaluation_control_two_questions() -> None:
    negative_control(evaluates, two_questions)


def test_evaluation_counterexample() -> None:
    pinned = ((Fraction(1), Fraction(0)), (Fraction(1, 2), Fraction(1, 3)), 4)
    halves = [Fraction(1, 2)] * 2
    assert [passk.mixture(rates, halves, 1) for rates in pinned[:2]] == [Fraction(1, 2), Fraction(5, 12)]
    assert [passk.mixture(rates, halves, 4) for rates in pinned[:2]] == [Fraction(1, 2), Fraction(2255, 2592)]
    counterexample(evaluates, small_questions, pinned)
