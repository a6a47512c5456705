"""Lemma 2 for self-explanations sampled at a temperature other than 1 (line 441): answers alone, or every token."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from theory import lemma2
from theory.domains import Point, point
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.relations import Said, both, eq, ge
from theory.test_lemma2 import HALF, bayes, mean, model, small_model


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
