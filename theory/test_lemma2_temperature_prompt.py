"""Lemma 2 at a temperature other than 1 (line 441): what is tempered is each token of a CoT that is drawn given a*."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from theory import lemma2
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.relations import Said, both, eq, ge
from theory.test_lemma2 import HALF, bayes, mean, model, small_model

THIRD = Fraction(1, 3)
SMALL = (Fraction(0), THIRD, HALF, 2 * THIRD, Fraction(1))


def explained(pick: Pick) -> Any:
    """(prior, X, k): CoTs of one token, temperature 1/k."""
    return *model(pick), pick(2, 4)


def small_explained(pick: Pick) -> Any:
    """As `explained`, with small denominators."""
    return *small_model(pick), pick(2, 4)


def better_at_temperature(instance: Any, own_too: bool = True) -> Said | None:
    """Explanations in proportion to (pi X)^k, as drawn at temperature 1/k by Bayes' rule, have no smaller mean of X.

    Than the policy's own CoTs at that temperature, in proportion to pi^k. Not `own_too`: than those at temperature 1.
    """
    prior, x, k = instance
    if not any(x):
        return None
    powers = [(p * y) ** k for p, y in zip(prior, x, strict=True)]
    drawn = lemma2.tempered(lemma2.posterior(prior, x), Fraction(1, k))
    own = lemma2.tempered(prior, Fraction(1, k)) if own_too else prior
    return both(eq(drawn * sum(powers), powers), ge(mean(drawn, x), mean(own, x)))


def better_than_own_at_one(instance: Any) -> Said | None:
    """Literal: the policy's own CoTs are those at temperature 1."""
    return better_at_temperature(instance, own_too=False)


def test_explanations_at_temperature() -> None:
    for_all(better_at_temperature, explained)


def test_explanations_at_temperature_counterexample() -> None:
    prior, x = pinned = ((THIRD, 2 * THIRD), (2 * THIRD, HALF))
    drawn = lemma2.tempered(lemma2.posterior(prior, x), HALF)
    assert list(drawn) == [Fraction(4, 13), Fraction(9, 13)]
    assert mean(drawn, x) == Fraction(43, 78) < mean(prior, x) == Fraction(5, 9)
    counterexample(better_than_own_at_one, small_explained, (*pinned, 2))


def test_explanations_control_own_at_one() -> None:
    negative_control(better_than_own_at_one, explained)


# CoTs of two tokens


def two_tokens(pick: Pick) -> Any:
    """(law of the first token, laws of the second, X of each CoT, k); after the second first token X is one number."""
    first, second = ((p, 1 - p) for p in (SMALL[pick(1, 3)] for _ in range(2)))
    x = [SMALL[pick(0, 4)] for _ in range(3)]
    return first, (second, (HALF, HALF)), ((x[0], x[1]), (x[2], x[2])), pick(4, 8)


def means_of_x(instance: Any) -> tuple[Fraction, Fraction]:
    """E X under explanations and under own CoTs, each token at temperature 1/k; explanations draw it given a*."""
    first, second, x, k = instance

    def drawn(law: Any) -> list[Fraction]:
        return [p**k / sum(q**k for q in law) for p in law]

    # The right answer after the first token, at temperature 1.
    after = tuple(mean(law, row) for law, row in zip(second, x, strict=True))
    found = []
    for given in (True, False):
        laws = [drawn(bayes(p, y) if given and any(y) else p) for p, y in zip(second, x, strict=True)]
        start = drawn(bayes(first, after) if given else first)
        found.append(mean(start, [mean(law, row) for law, row in zip(laws, x, strict=True)]))
    return found[0], found[1]


def better_token_by_token(instance: Any) -> Said | None:
    """Literal: at one temperature explanations have no smaller mean of X than the policy's own CoTs."""
    if not any(y for row in instance[2] for y in row):
        return None
    return ge(*means_of_x(instance))


def test_two_tokens_counterexample() -> None:
    pinned = ((THIRD, 2 * THIRD), ((THIRD, 2 * THIRD), (HALF, HALF)), ((Fraction(0), 2 * THIRD), (HALF, HALF)), 4)
    assert means_of_x(pinned) == (Fraction(20_707, 40_902), Fraction(440, 867))
    counterexample(better_token_by_token, two_tokens, pinned)
