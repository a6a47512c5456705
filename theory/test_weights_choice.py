"""The best of K self-explanations by a score, against one by its weight; and how large a positive's term may be."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from theory import choices, combined, lemma2
from theory.domains import bits, gradients, point
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.inputs import array
from theory.policies import factorised, softmax
from theory.relations import Said, both, eq, ge, iff, when
from theory.test_weights_toward import rates

N = 150


# How large the positive's term may be


def two_terms(pick: Pick) -> Any:
    """(pi, logit gradients, r, mu over right trajectories, w, lambda)."""
    pi = point(pick, 3, 4, 9)
    r = (1, 0, *bits(pick, len(pi) - 2))
    weights = [pick(1, 9) * right for right in r]
    mu = tuple(Fraction(w, sum(weights)) for w in weights)
    return pi, gradients(pick, len(pi), 2), r, mu, Fraction(pick(1, 12), 12), Fraction(pick(1, 12), 2)


def ascends(instance: Any, factor: int = 1) -> Said | None:
    """J does not fall on w grad J + lambda E_mu s if and only if w >= lambda `least_share`, times `factor`, which is 1.

    Where <grad J, E_mu s> >= 0 that is at any lambda.
    """
    pi, z, r, mu, w, weight = instance
    policy = softmax(pi, z)
    gradient, mean = policy.gradient(r), array(mu) @ policy.scores
    if not gradient.any():
        return None
    share = combined.least_share(policy, r, mu)
    safe = ge(gradient @ (w * gradient + weight * mean), 0)
    return both(
        iff(safe, ge(w, factor * weight * share)), when(gradient @ mean >= 0, both(safe, eq(share, 0, varies=mu)))
    )


def ascends_from_twice_the_share(instance: Any) -> Said | None:
    """From twice the share on."""
    return ascends(instance, 2)


def test_ascends() -> None:
    for_all(ascends, two_terms, N)
    # The step of P12-enough: on the likeliest sample, with X_1 above J, J falls; lambda may be 21.7 w.
    prior, x = tuple(Fraction(w, 10) for w in (5, 4, 1)), (Fraction(7, 8), Fraction(1), Fraction(1, 3))
    held = factorised(prior, [(y, 1 - y) for y in x])
    share = combined.least_share(held.joint, held.joint_rewards, (1, 0, 0, 0, 0, 0))
    assert share == Fraction(239_760, 5_197_249)
    assert round(float(1 / share), 1) == 21.7


def test_ascends_control_twice_the_share() -> None:
    negative_control(ascends_from_twice_the_share, two_terms, N)


# The best of K


def scored(pick: Pick) -> Any:
    """(mu, scores with ties, K)."""
    mu = point(pick, 2, 4, 9)
    return mu, tuple(Fraction(pick(0, 3)) for _ in mu), pick(1, 3)


def law_of_best(instance: Any, ties: str = "first") -> Said:
    """The first of K with the highest score is c with the probability that `best_of` gives.

    With mu_max, what mu gives to the CoTs of the highest score, one of these is taken with 1 - (1 - mu_max)^K. Not
    `ties` to the first drawn: to the first CoT of the table.
    """
    mu, score, K = instance
    law = array(mu) * 0
    for drawn in product(range(len(mu)), repeat=K):
        chance = np.prod([mu[c] for c in drawn])
        law[max(drawn if ties == "first" else sorted(drawn), key=lambda c: score[c])] += chance
    top = np.array([s == max(score) for s in score])
    return both(
        eq(law, choices.best_of(mu, score, K)),
        eq(1 - law[top].sum(), (1 - array(mu)[top].sum()) ** K),
    )


def law_by_table(instance: Any) -> Said:
    """Ties to the first of the table."""
    return law_of_best(instance, ties="table")


def test_law_of_best() -> None:
    for_all(law_of_best, scored, N)


def test_law_control_ties() -> None:
    negative_control(law_by_table, scored, N)


def family(pick: Pick) -> Any:
    """(prior, X, mu, K) of three CoTs: of the second X = 1, of the last X = 0, and it is not drawn."""
    a, b, fifths, quarters = pick(1, 15), pick(1, 4), pick(1, 4), pick(1, 3)
    prior = tuple(Fraction(w, a + 1 + b) for w in (a, 1, b))
    x, mu = (
        (Fraction(fifths, 5), Fraction(1), Fraction(0)),
        (Fraction(quarters, 4), Fraction(4 - quarters, 4), Fraction(0)),
    )
    return prior, x, mu, pick(1, 4)


def own(pick: Pick) -> Any:
    """(prior, X, mu = prior, K) of three CoTs in small numbers, the last two alike likely and always right."""
    a, b = pick(1, 2), pick(1, 2)
    prior = (Fraction(a, a + 2 * b), Fraction(b, a + 2 * b), Fraction(b, a + 2 * b))
    return prior, (Fraction(pick(0, 5), 5), Fraction(1), Fraction(1)), prior, pick(1, 4)


def best_rate(instance: Any, joint: bool = False) -> Fraction:
    """The mean rate of J on a step with the best of K, by X or by pi(c) X."""
    prior, x, mu, K = instance
    score = array(prior) * array(x) if joint else x
    return Fraction(choices.best_of(mu, score, K) @ array(rates(prior, x)))


def best_raises(instance: Any, joint: bool = False) -> Said | None:
    """Literal: where a step on one from mu raises J, so does one on the best of K by X; or, `joint`, by pi(c) X."""
    if best_rate((*instance[:3], 1)) <= 0:
        return None
    return ge(best_rate(instance, joint), 0)


def best_by_joint_raises(instance: Any) -> Said | None:
    """By pi(c) X."""
    return best_raises(instance, joint=True)


def candidates_wanted(instance: Any) -> int:
    """Size of an instance: K."""
    return int(instance[-1])


def test_best_by_signal_may_lower_j() -> None:
    half = Fraction(1, 2)
    prior, x = (Fraction(3, 4), Fraction(1, 20), Fraction(1, 5)), (Fraction(4, 5), Fraction(1), Fraction(0))
    mu, by = (half, half, Fraction(0)), array(rates(prior, x))
    counterexample(best_raises, family, (prior, x, mu, 2), size=candidates_wanted)
    assert [best_rate((prior, x, mu, K)) for K in (1, 2, 4)] == [
        Fraction(n, 4000) for n in (119, -24, Fraction(-525, 4))
    ]
    assert choices.resampled(prior, x, mu, 2) @ by == Fraction(6, 100)
    assert round(float(choices.resampled(prior, x, mu, 4) @ by), 4) == 0.0801
    # Of explanations by Bayes' rule, whose rate is 0.09 at any K if one is drawn by its weight.
    post = lemma2.posterior(prior, x)
    assert choices.resampled(prior, x, post, 3) @ by == post @ by == Fraction(361, 4000)
    assert best_rate((prior, x, tuple(post), 15)) > 0 > best_rate((prior, x, tuple(post), 16))


def test_best_by_joint_may_lower_j() -> None:
    quarter = Fraction(1, 4)
    prior = (2 * quarter, quarter, quarter)
    pinned = (prior, (Fraction(4, 5), Fraction(1), Fraction(1)), prior, 3)
    counterexample(best_by_joint_raises, own, pinned)
    assert [best_rate((*pinned[:3], K), joint=True) for K in (1, 3)] == [Fraction(2, 125), Fraction(-1, 8000)]


def trajectories(pick: Pick) -> Any:
    """(pi, r, mu over the right trajectories, scores, K)."""
    pi, _, r, mu, *_ = two_terms(pick)
    return pi, r, mu, tuple(Fraction(pick(0, 9)) for _ in pi), pick(1, 5)


def best_by(instance: Any, joint: bool = True) -> Said:
    """With a logit for each trajectory the likeliest of K + 1 right ones gains no less than that of K.

    Of K by Bayes' rule it gains at least |grad J|^2 / J. Not `joint`: the best by any score.
    """
    pi, r, mu, score, K = instance
    policy = softmax(pi)
    by, gradient = array([policy.gain(r, j) for j in range(len(pi))]), policy.gradient(r)
    score = pi if joint else score
    one, more = (choices.best_of(mu, score, k) @ by for k in (K, K + 1))
    bayes = choices.best_of(lemma2.posterior(pi, r), score, K) @ by
    return both(ge(more, one), ge(bayes, gradient @ gradient / policy.value(r)))


def best_by_any_score(instance: Any) -> Said:
    """By any score."""
    return best_by(instance, joint=False)


def test_best_by_joint_in_a_table() -> None:
    for_all(best_by, trajectories, N)


def test_table_control_any_score() -> None:
    negative_control(best_by_any_score, trajectories, N)
