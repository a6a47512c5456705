"""ExP-GRPO's combined direction: its GRPO part and its boxed term in one mean step, and which of them weighs more."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb, isqrt
from typing import Any

import numpy as np

from theory import combined, grpo, lemma2
from theory.domains import bits, gradients, point
from theory.evidence import Pick, for_all, negative_control
from theory.inputs import Array, array
from theory.policies import softmax
from theory.relations import Said, both, each, eq, ge, gt, iff, lt, when

N = 100


def question(pick: Pick, one_length: bool = True) -> Any:
    """(pi, logit gradients, r, lengths): right and wrong trajectories."""
    pi = point(pick, 2, 3, 6)
    length = pick(1, 4)
    lengths = tuple(length if one_length else pick(1, 4) for _ in pi)
    return pi, gradients(pick, len(pi), 2), (1, 0, *bits(pick, len(pi) - 2)), lengths


def questions(pick: Pick) -> Any:
    """(shares of the questions, the questions, G, lambda): the questions share their parameters."""
    shares = point(pick, 1, 2, 5)
    return shares, [question(pick) for _ in shares], pick(2, 3), Fraction(pick(1, 20), 10)


def mean_step(of_question: Any, G: int, weight: Fraction, even: bool = False) -> dict[Any, Array]:
    """The mean gradient over all groups times all self-explanations, in parts; standardised advantages.

    "boxed": lambda grad log pi(c~, a*|q). K from 1 to G - 1: what the groups with K right samples give, over the root
    of K (G-K); the advantages are that root over K, or over -(G-K). "no signal": all that the other groups give.
    `even`: right trajectories explain alike often, in place of the posterior.
    """
    pi, z, r, lengths = of_question
    s, zero = softmax(pi, z).scores, softmax(pi, z).scores[0] * 0
    law = array(r) / sum(r) if even else lemma2.posterior(pi, r)
    parts: dict[Any, Array] = {"boxed": zero, "no signal": zero, **dict.fromkeys(range(1, G), zero)}
    for *drawn, explained in product(range(len(pi)), repeat=G + 1):
        chance = np.prod([pi[i] for i in drawn]) * law[explained]
        K = sum(r[i] for i in drawn)
        box = chance * weight * s[explained]
        parts["boxed"] = parts["boxed"] + box
        if 0 < K < G:
            samples = sum(s[i] * Fraction(1, lengths[i] * (K if r[i] else K - G)) for i in drawn)
            parts[K] = parts[K] + chance * samples / G
        else:
            parts["no signal"] = parts["no signal"] + box
    return parts


def direction(instance: Any, even: bool = False) -> Said:
    """It is the mean over questions of (w_G(J) / |o| + lambda / J) grad J; without a signal lambda grad log J.

    Of w_G each term by itself: in front of it stands a root. `even`: with explanations that are not the posterior's.
    """
    shares, of_questions, G, weight = instance
    found: dict[Any, Any] = {}
    wanted: dict[Any, Any] = {}
    for share, (pi, z, r, lengths) in zip(shares, of_questions, strict=True):
        policy = softmax(pi, z)
        J, gradient = policy.value(r), policy.gradient(r)
        terms = {K: t / lengths[0] for K, t in enumerate(grpo.weight_terms(J, G), start=1)}
        silent = grpo.no_signal(J, G) * weight / J
        for part, value in mean_step((pi, z, r, lengths), G, weight, even).items():
            found[part] = found.get(part, 0) + share * value
            one = weight / J if part == "boxed" else silent if part == "no signal" else terms[part]
            wanted[part] = wanted.get(part, 0) + share * one * gradient
    return each(eq(found[part], wanted[part]) for part in found)


def direction_of_even_explanations(instance: Any) -> Said:
    """With right trajectories that explain alike often."""
    return direction(instance, even=True)


def test_direction() -> None:
    for_all(direction, questions, N)


def test_direction_control_even_explanations() -> None:
    negative_control(direction_of_even_explanations, questions, N)


# Up to which J the boxed term weighs more


def roots(x: int) -> tuple[Fraction, Fraction]:
    """sqrt(x) from below and from above, 10^-18 apart or the same."""
    digits = 10**18
    low = isqrt(x * digits**2)
    return Fraction(low, digits), Fraction(low + (low * low < x * digits**2), digits)


def products(J: Fraction, G: int) -> tuple[Fraction, Fraction]:
    """J w_G(J) from below and from above."""
    terms = J * grpo.weight_terms(J, G)
    between = [roots(K * (G - K)) for K in range(1, G)]
    return sum(t * low for t, (low, _) in zip(terms, between, strict=True)), sum(
        t * high for t, (_, high) in zip(terms, between, strict=True)
    )


def two_chances(pick: Pick) -> Any:
    """(J, a larger J, G)."""
    right = pick(0, 59)
    return Fraction(right, 60), Fraction(pick(right + 1, 60), 60), pick(2, 16)


def rises(instance: Any, without: int = 1) -> Said:
    """J w_G(J) = E sqrt(K / (G-K)), K ~ Bin(G-1, J), term by term; both K / (G-K) and the tails of K rise.

    So it rises from 0 to sqrt(G-1). `without`: K ~ Bin(G - `without`, J); right for 1.
    """
    J, more, G = instance
    n = G - without

    def chances(J: Fraction) -> list[Fraction]:
        return [comb(n, K) * J**K * (1 - J) ** (n - K) for K in range(n + 1)]

    # sqrt(K (G-K)) / (G-K) is sqrt(K / (G-K)).
    terms = [c / (G - K) for K, c in enumerate(chances(J)) if 0 < K < G]
    tails = [[sum(some[K:]) for K in range(1, G)] for some in (chances(J), chances(more))]
    return both(
        eq(list(J * grpo.weight_terms(J, G)), terms),
        each(lt(Fraction(K, G - K), Fraction(K + 1, G - K - 1)) for K in range(G - 1)),
        each(lt(a, b) for a, b in zip(*tails, strict=True)),
    )


def rises_of_all(instance: Any) -> Said:
    """With K ~ Bin(G, J)."""
    return rises(instance, without=0)


def test_it_rises() -> None:
    for_all(rises, two_chances, N)


def test_rises_control_of_all() -> None:
    negative_control(rises_of_all, two_chances, N)


def ratios(pick: Pick) -> Any:
    """(lambda |o|, G, ddof of the standard deviation)."""
    return Fraction(pick(1, 400), 100), pick(2, 12), pick(0, 1)


def crosses(instance: Any, factor: Fraction = Fraction(1)) -> Said:
    """J w_G(J), in squares, is below lambda |o| at 10^-12 less than `reach`, and above it at 10^-12 more.

    Where `reach` is 1, it is nowhere above. `factor` times `reach`; right for 1.
    """
    ratio, G, ddof = instance
    at, apart = Fraction(float(combined.reach(ratio, G, ddof))) * factor, Fraction(1, 10**12)
    less = Fraction(G - 1, G) if ddof else 1
    always = ratio**2 >= (G - 1) * less
    return both(
        lt(products(max(at - apart, Fraction(0)), G)[1] ** 2 * less, ratio**2),
        when(not always, gt(products(min(at + apart, Fraction(1)), G)[0] ** 2 * less, ratio**2)),
        when(always, both(eq(at, 1, varies=instance), ge(ratio**2, products(Fraction(1), G)[0] ** 2 * less))),
    )


def crosses_earlier(instance: Any) -> Said:
    """At 99/100 of it."""
    return crosses(instance, Fraction(99, 100))


def test_reach() -> None:
    for_all(crosses, ratios, N)
    assert np.allclose(combined.reach([1, 0.1], 8), [0.5378192099, 0.0399106022], atol=1e-9)
    # TRL's standard deviation has ddof = 1.
    assert np.allclose(combined.reach([1, 0.1], 8, ddof=1), [0.5719539285, 0.0428290872], atol=1e-9)
    # For G = 2, w_G is 1.
    assert np.allclose(combined.reach([0.5, 1], 2, ddof=1), [0.5**0.5, 1])


def test_reach_control_earlier() -> None:
    negative_control(crosses_earlier, ratios, N)


# Advantages that are not divided by the standard deviation


def any_lengths(pick: Pick) -> Any:
    """(a question with samples of several lengths, G, lambda, T_max)."""
    return question(pick, one_length=False), pick(2, 3), Fraction(pick(1, 20), 20), pick(1, 4)


def unscaled_step(instance: Any, own_lengths: bool = False) -> tuple[Array, Array]:
    """(GRPO part, boxed term): the mean over all groups of sum_i (r_i - mean r) s_i / (G T_max), and lambda E_post s.

    `own_lengths`: each sample over its own length, in place of T_max.
    """
    (pi, z, r, lengths), G, weight, T_max = instance
    s = softmax(pi, z).scores
    part = s[0] * 0
    for drawn in product(range(len(pi)), repeat=G):
        mean = Fraction(sum(r[i] for i in drawn), G)
        samples = sum(s[i] * (r[i] - mean) / (lengths[i] if own_lengths else T_max) for i in drawn)
        part = part + np.prod([pi[i] for i in drawn]) * samples / G
    return part, weight * lemma2.posterior(pi, r) @ s


def unscaled(instance: Any, own_lengths: bool = False) -> Said:
    """They are (G-1) / (G T_max) grad J and lambda / J grad J; the boxed term is longer iff J is within reach.

    `own_lengths`: each sample divided by its own length.
    """
    (pi, z, r, _), G, weight, T_max = instance
    policy = softmax(pi, z)
    J, gradient = policy.value(r), policy.gradient(r)
    part, box = unscaled_step(instance, own_lengths)
    wanted = Fraction(G - 1, G * T_max) * gradient
    longer = iff(gt(box @ gradient, part @ gradient), lt(J, combined.reach_unscaled(weight * T_max, G)))
    return both(eq(part, wanted), eq(box, weight / J * gradient), when(bool(gradient.any()), longer))


def unscaled_by_own_lengths(instance: Any) -> Said:
    """Each sample divided by its own length."""
    return unscaled(instance, own_lengths=True)


def test_unscaled_direction() -> None:
    for_all(unscaled, any_lengths, 3 * N)
    assert combined.reach_unscaled(Fraction(1, 10), 8) == Fraction(4, 35)
    assert combined.reach_unscaled(Fraction(7, 8), 8) == combined.reach_unscaled(1, 8) == 1


def test_unscaled_control_own_lengths() -> None:
    negative_control(unscaled_by_own_lengths, any_lengths, 3 * N)
