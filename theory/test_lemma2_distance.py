"""How far the Bayes posterior of self-explanations is from the policy's own CoTs (Eq 7, Section 4.2)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from theory import lemma2
from theory.domains import point, points
from theory.evidence import Pick, counterexample, for_all, negative_control, refuted_by_sweep, sweep
from theory.relations import Said, both, eq, le, when
from theory.test_lemma2 import HALF, mean, model

N = 100_000
# Above it |log X| is under 7, by which the rounding of logarithms is measured.
LOWEST_X = 1e-3


def near_when_easy(instance: Any, easy: bool = True) -> Said | None:
    """The total variation of posterior and prior is at most delta where J >= 1 - delta.

    Not `easy`: on every question.
    """
    prior, x, delta = instance
    value = mean(prior, x)
    if value == 0 or (easy and value < 1 - delta):
        return None
    return le(lemma2.tv(lemma2.posterior(prior, x), prior), delta)


def near_always(instance: Any) -> Said | None:
    """The same for every question."""
    return near_when_easy(instance, easy=False)


def model_and_delta(pick: Pick) -> Any:
    """(prior, X, delta), delta what is called near."""
    return *model(pick), Fraction(pick(1, 11), 12)


def distance_formula(instance: Any, halves: int = 2) -> Said | None:
    """E|X - J| / (2 J) <= 1 - J, with equality where X is 0 or 1; the gap is at most the distance times the range.

    `halves` stands for the 2.
    """
    prior, x = instance
    value = mean(prior, x)
    if value == 0:
        return None
    distance = lemma2.tv(lemma2.posterior(prior, x), prior)
    formula = mean(prior, [abs(a - value) for a in x]) / (halves * value)
    return both(
        both(eq(distance, formula), le(formula, 1 - value)),
        when(set(x) <= {0, 1}, eq(distance, 1 - value)),
        le(lemma2.gap(prior, x), distance * (max(x) - min(x))),
    )


def twice_the_distance(instance: Any) -> Said | None:
    """The sum of all differences, without the half of total variation."""
    return distance_formula(instance, 1)


def test_posterior_near_when_easy() -> None:
    for_all(near_when_easy, model_and_delta)


def test_posterior_near_control_any_question() -> None:
    negative_control(near_always, model_and_delta)


def sure_or_not(pick: Pick) -> Any:
    """(prior, X, 1/2) with small denominators, X may be 0."""
    prior = point(pick, 2, 3, weight=6)
    return prior, tuple(Fraction(pick(0, 2), 2) for _ in prior), HALF


def test_posterior_far_counterexample() -> None:
    pinned = ((Fraction(1, 3), Fraction(2, 3)), (Fraction(1), Fraction(0)), HALF)
    assert lemma2.tv(lemma2.posterior(*pinned[:2]), pinned[0]) == Fraction(2, 3)
    counterexample(near_always, sure_or_not, pinned)


def model_or_certain(pick: Pick) -> Any:
    """As `model`; in one of four every answer is certain, X 0 or 1."""
    prior, x = model(pick)
    return (prior, tuple(Fraction(round(a)) for a in x)) if pick(1, 4) == 1 else (prior, x)


def test_distance_formula() -> None:
    for_all(distance_formula, model_or_certain)


def test_distance_control_doubled() -> None:
    negative_control(twice_the_distance, model_or_certain)


def divergences(seed: int) -> tuple[Any, Any]:
    """KL(posterior || prior) and log(1/J) of float models with 4 CoTs."""
    prior = points(N, 4, seed)
    x = np.random.default_rng(seed).uniform(LOWEST_X, 1, (N, 4)) ** 3
    x = np.maximum(x, LOWEST_X)
    return lemma2.kl(lemma2.posterior(prior, x), prior), -np.log((prior * x).sum(-1))


def divergence_error(share: float = 1) -> Any:
    """By how much the divergence exceeds `share` times log(1/J), shape (N,)."""
    divergence, bound = divergences(1)
    return divergence - share * bound


# Four terms, each of a product, a quotient, a logarithm: at most 10 roundings of a number below |log X| + |log J| < 14.
KL_ROUNDING = 4 * 10 * 14 * 2.0**-53


def test_divergence_bound() -> None:
    sweep(divergence_error(), KL_ROUNDING, "4 terms of 10 roundings of numbers below 14")


def test_divergence_control_half() -> None:
    refuted_by_sweep(divergence_error(0.5), KL_ROUNDING)


def test_divergence_of_a_sure_answer() -> None:
    assert lemma2.kl([1.0, 0.0], [0.25, 0.75]) == np.log(4)
