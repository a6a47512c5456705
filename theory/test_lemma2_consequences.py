"""What follows from Lemma 2: stochastic dominance, win rate, iteration; and what does not, for single pairs."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

from theory import lemma2
from theory.evidence import counterexample, for_all, negative_control
from theory.relations import Said, both, each, eq, ge, iff, le
from theory.test_lemma2 import HALF, bayes, mean, model, small_model


def dominates(mu: Any, prior: Any, x: Any) -> Said:
    """X is at least t under mu as often as under the prior, for every t."""
    return each(ge(mean(mu, [a >= t for a in x]), mean(prior, [a >= t for a in x])) for t in x)


def posterior_dominates(instance: Any) -> Said | None:
    prior, x = instance
    return dominates(lemma2.posterior(prior, x), prior, x) if any(x) else None


def complement_dominates(instance: Any) -> Said | None:
    """The posterior given a wrong answer instead."""
    prior, x = instance
    return dominates(lemma2.posterior(prior, [1 - a for a in x]), prior, x) if min(x) < 1 else None


def test_posterior_dominates() -> None:
    for_all(posterior_dominates, model)


def test_dominance_control_wrong_answers() -> None:
    negative_control(complement_dominates, model)


def wins(prior: Any, x: Any, sign: int) -> Fraction:
    """How often a self-explanation's X is above (sign 1) or below (-1) that of an own CoT."""
    pairs = itertools.product(zip(bayes(prior, x), x, strict=True), zip(prior, x, strict=True))
    return sum((q * p for (q, a), (p, b) in pairs if sign * (a - b) > 0), Fraction(0))


def win_rate_is_gini(instance: Any, halves: int = 2) -> Said | None:
    """A self-explanation wins at least as often as it loses, by E|X - X'| / (2 J), which is 0 for one X alone.

    `halves` stands for the 2.
    """
    prior, x = instance
    if not any(x):
        return None
    more = wins(prior, x, 1) - wins(prior, x, -1)
    return both(eq(2 * lemma2.gini(prior, x), halves * more), ge(more, 0), iff(eq(more, 0), eq(min(x), max(x))))


def win_rate_is_twice_gini(instance: Any) -> Said | None:
    """The mean difference relative to J, without the half that makes it a Gini coefficient."""
    return win_rate_is_gini(instance, 1)


def test_win_rate_is_gini() -> None:
    for_all(win_rate_is_gini, model)


def test_win_rate_control_doubled() -> None:
    negative_control(win_rate_is_twice_gini, model)


def never_worse(instance: Any) -> Said:
    """Property 2 for a single pair: the self-explanation's X is not below that of the other CoT."""
    prior, x = instance
    return eq(wins(prior, x, -1), 0)


def test_single_pair_counterexample() -> None:
    prior, x = (HALF, HALF), (Fraction(1), HALF)
    assert wins(prior, x, -1) == Fraction(1, 6)
    assert wins(prior, x, 1) == Fraction(1, 3)
    counterexample(never_worse, small_model, (prior, x))


def iteration_ascends(instance: Any, right: bool = True) -> Said | None:
    """Each iterate is the posterior of the one before, given a right (or a wrong) answer; E_mu X never falls."""
    prior, x = instance
    chance = [a if right else 1 - a for a in x]
    if not any(chance):
        return None
    chain = [tuple(prior)]
    for _ in range(4):
        chain.append(bayes(chain[-1], chance))
    return both(
        each(eq(lemma2.iterated(prior, chance, n), chain[n]) for n in range(4)),
        each(le(a, b) for a, b in itertools.pairwise(mean(mu, x) for mu in chain)),
    )


def iteration_ascends_on_wrong_answers(instance: Any) -> Said | None:
    return iteration_ascends(instance, right=False)


def test_iteration_ascends() -> None:
    for_all(iteration_ascends, model)


def test_iteration_control_wrong_answers() -> None:
    negative_control(iteration_ascends_on_wrong_answers, model)
