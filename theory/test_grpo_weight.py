"""Section 5.2: the weight w_G of a question, by counting groups, its bounds, and what different lengths do to it."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb
from typing import Any

import numpy as np

from theory import grpo
from theory.domains import bits, gradients, point, size
from theory.evidence import Pick, counterexample, for_all, negative_control, refuted_by_sweep, sweep
from theory.inputs import Array
from theory.instances import denominator
from theory.policies import softmax
from theory.relations import Said, both, each, eq, ge, le
from theory.test_grpo import N


def policies(pick: Pick) -> Any:
    """(pi, logit gradients, r, G, lengths) with a right and a wrong trajectory, all of one length."""
    pi = point(pick, 2, 3)
    return pi, gradients(pick, len(pi), 2), (1, 0, *bits(pick, len(pi) - 2)), pick(2, 4), (pick(1, 9),) * len(pi)


def by_counting(instance: Any) -> list[Array]:
    """Per K: the sum over all groups with K right samples of probability times gradient over sqrt(K (G-K)).

    A right sample's advantage is sqrt(K (G-K)) / K, a wrong one's -sqrt(K (G-K)) / (G-K). As printed, a sample's sum
    over its tokens, advantage times score, is divided by its length.
    """
    pi, z, r, G, lengths = instance
    s = [x / n for x, n in zip(softmax(pi, z).scores, lengths, strict=True)]
    out = [s[0] * 0 for _ in range(G - 1)]
    for drawn in product(range(len(pi)), repeat=G):
        K = sum(r[i] for i in drawn)
        if 0 < K < G:
            gradient = sum(s[i] * (Fraction(1, K) if r[i] else -Fraction(1, G - K)) for i in drawn) / G
            out[K - 1] = out[K - 1] + np.prod([pi[i] for i in drawn]) * gradient
    return out


def weighs_the_gradient(instance: Any, divided: bool = True) -> Said:
    """The mean GRPO gradient is, K by K, the weight's term times grad J over the length, any parametrisation.

    Not `divided`: the term is P(K) / G, without the division by p (1-p).
    """
    pi, z, r, G, (length, *_) = instance
    policy = softmax(pi, z)
    p = policy.value(r)
    terms = grpo.weight_terms(p, G) * (1 if divided else p * (1 - p))
    return each(eq(t * policy.gradient(r) / length, g) for t, g in zip(terms, by_counting(instance), strict=True))


def weighs_by_chance_alone(instance: Any) -> Said:
    """The same with P(K) / G for the term."""
    return weighs_the_gradient(instance, divided=False)


def test_weight_by_counting() -> None:
    for_all(weighs_the_gradient, policies)


def test_weight_control_chance() -> None:
    negative_control(weighs_by_chance_alone, policies)


def lengths_matter(pick: Pick) -> Any:
    """(pi, r, lengths): trajectories of one or two tokens, the first right and the last wrong."""
    pi = point(pick, 2, 3, 4)
    return pi, (1, *bits(pick, len(pi) - 2), 0), tuple(pick(1, 2) for _ in pi)


def along_the_gradient(instance: Any) -> Said:
    """Literal: the mean gradient of groups of 2 is a multiple of grad J, tabular."""
    pi, r, lengths = instance
    (mean,), gradient = by_counting((pi, None, r, 2, lengths)), softmax(pi).gradient(r)
    return eq(np.outer(mean, gradient), np.outer(gradient, mean))


def test_lengths_turn_the_gradient() -> None:
    third = Fraction(1, 3)
    pinned = ((third, third, third), (1, 1, 0), (1, 2, 1))
    (mean,) = by_counting((pinned[0], None, pinned[1], 2, pinned[2]))
    assert list(mean) == [Fraction(x, 54) for x in (7, 4, -11)]
    assert list(softmax(pinned[0]).gradient(pinned[1])) == [Fraction(x, 9) for x in (1, 1, -2)]
    counterexample(along_the_gradient, lengths_matter, pinned, size=lambda x: (denominator(x[0]), sum(x[2])))


def test_weight_in_numbers() -> None:
    assert np.isclose(grpo.weight(Fraction(1, 6), 4), 5 / 12 + 13 * 3**0.5 / 18, rtol=1e-15)
    p = np.linspace(0, 1, 9)
    assert np.allclose(grpo.weight(p, 2), 1, rtol=1e-15)
    assert np.allclose(grpo.weight(p, 3), 2**0.5, rtol=1e-15)
    # The limits at p = 0 and 1, and 1 / sqrt(p (1-p)) for a large group.
    assert np.allclose(grpo.weight([0.0, 1.0], 8), 7**0.5, rtol=1e-15)
    assert np.isclose(grpo.weight(0.25, 900), (3 / 16) ** -0.5, rtol=1e-2)


def terms_add_up(instance: Any, low: int = 2) -> Said:
    """The terms times K (G-K) add up to G - 1, 2 K (G-K) / G <= sqrt(K (G-K)) <= K (G-K) / sqrt(G-1): w_G's bounds.

    At p = 0 only K = 1 is left, with term 1: the limit of w_G, a polynomial in p. `low` stands for the first 2.
    """
    p, G = instance
    squares = [K * (G - K) for K in range(1, G)]
    terms = grpo.weight_terms(p, G)
    ordered = each(both(le(Fraction(low**2 * x * x, G * G), x), le(x, Fraction(x * x, G - 1))) for x in squares)
    at_zero = eq(list(grpo.weight_terms(0, G)), [1] + [0] * (G - 2))
    return both(ordered, at_zero, eq(terms @ np.array(squares), G - 1), ge(terms, 0))


def any_group(pick: Pick) -> Any:
    """(p, G) for larger groups."""
    return Fraction(pick(0, 60), 60), size(pick, 2, 40, most=128)


def bounds_error(G: int, slack: float) -> tuple[Array, Array]:
    """By how much w_G(p) leaves [2 (G-1) / G, min(sqrt((G-1) / (G p (1-p))), sqrt(G-1))], the upper end times slack."""
    p = np.random.default_rng(G).uniform(0.001, 0.999, N)
    w, low = grpo.weight(p, G), 2 * (G - 1) / G
    high = slack * np.minimum(np.sqrt((G - 1) / (G * p * (1 - p))), np.sqrt(G - 1))
    # G terms, all positive, with up to 2 G roundings each (powers), then their sum.
    return np.maximum(np.maximum(low - w, w - high), 0), 4 * G * 2.0**-53 * np.sqrt(G - 1)


def test_weight_terms() -> None:
    for_all(terms_add_up, any_group)


def test_weight_bounds() -> None:
    for G in (2, 3, 8, 16):
        sweep(*bounds_error(G, 1), why="4 G roundings of a sum of positive terms up to sqrt(G-1)")


def terms_add_up_to_more(instance: Any) -> Said:
    """The same with 3 for 2 in the lower bound."""
    return terms_add_up(instance, 3)


def test_terms_control_three() -> None:
    negative_control(terms_add_up_to_more, any_group)


def test_bounds_control_tighter() -> None:
    refuted_by_sweep(*bounds_error(8, 0.99))


def direct_error(G: int, power: int) -> tuple[Array, Array]:
    """w_G(p) against the sum over K of P(K) sqrt(p_G (1-p_G)) / (p (1-p))^power, p_G = K / G."""
    p = np.random.default_rng(G).uniform(0.01, 0.99, N)
    K = np.arange(G + 1)
    chance = np.array([comb(G, x) for x in K]) * p[:, None] ** K * (1 - p[:, None]) ** (G - K)
    direct = (chance * np.sqrt(K / G * (1 - K / G))).sum(-1) / (p * (1 - p)) ** power
    return np.abs(grpo.weight(p, G) - direct), 8 * G * 2.0**-53 * np.sqrt(G - 1)


def test_weight_is_the_mean_deviation() -> None:
    sweep(*direct_error(8, 1), why="8 G roundings of sums of positive terms up to sqrt(G-1)")


def test_deviation_control_no_quotient() -> None:
    refuted_by_sweep(*direct_error(8, 0))
