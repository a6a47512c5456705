"""Learning K self-explanations by their weights over their sum: the mean of it, its bias, and what bounds it."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb
from typing import Any

import numpy as np
import z3

from theory import choices, lemma2, sampler
from theory.evidence import Given, Pick, for_all, negative_control, proved, satisfiable
from theory.inputs import Array, array
from theory.relations import Said, both, eq, ge, le, when
from theory.test_practice_sampler import drawable, model

N = 40


def candidates(pick: Pick) -> Any:
    """(a policy and a sampler as `drawable` has them, K of 1 to 3)."""
    return drawable(pick), pick(1, 3)


def law_of_one(instance: Any, itself: bool = True) -> Said:
    """One of K by its weight is c with the probability post_c E[J / mean of w_c and K - 1 other weights].

    For K = 1 that is mu. With the K weights over their sum the mean step is the same, with no larger variance; it turns
    from grad log J by the covariance of that mean with s. Not `itself`: K other weights.
    """
    (prior, answers, mixing, mu), K = instance
    held, joint, right = model(prior, answers, mixing)
    w, s, post = sampler.importance(prior, held.x, mu), joint.scores[right], lemma2.posterior(prior, held.x)
    law, mean, square, ratio = w * 0, s[0] * 0, Fraction(0), w * 0
    for drawn in product(range(len(w)), repeat=K):
        chance, shares = np.prod([mu[c] for c in drawn]), w[list(drawn)] / sum(w[c] for c in drawn)
        step = shares @ s[list(drawn)]
        mean, square = mean + chance * step, square + chance * (step @ step)
        for c, share in zip(drawn, shares, strict=True):
            law[c] += chance * share
        others = sum(w[c] for c in drawn[1:])
        ratio = ratio + chance * held.value * K / (w + others if itself else others + w[drawn[0]])
    return both(
        eq(law, post * ratio),
        eq(law, choices.resampled(prior, held.x, mu, K)),
        when(K == 1, eq(law, array(mu))),
        eq(mean, law @ s),
        le(square, law @ (s * s).sum(-1)),
        eq(mean - joint.gradient(held.joint_rewards) / held.value, (post * (ratio - post @ ratio)) @ (s - post @ s)),
    )


def law_without_itself(instance: Any) -> Said:
    """The mean of K weights, c's not among them."""
    return law_of_one(instance, itself=False)


def test_law() -> None:
    for_all(law_of_one, candidates, N)


def test_law_control_without_itself() -> None:
    negative_control(law_without_itself, candidates, N)


# The bias as K grows


def many(pick: Pick) -> Any:
    """(a policy and a sampler, K): up to 6 of three CoTs, up to 40 of two."""
    instance = drawable(pick)
    return instance, pick(1, 40 if len(instance[0]) == 2 else 6)


def moments(instance: Any) -> tuple[Array, Any, Any, Array, Array]:
    """(K times the bias, v = w / J, s minus its mean under the posterior, the largest size of that, mu)."""
    (prior, answers, mixing, mu), K = instance
    held, joint, right = model(prior, answers, mixing)
    apart = joint.scores[right] - lemma2.posterior(prior, held.x) @ joint.scores[right]
    v = sampler.importance(prior, held.x, mu) / held.value
    return K * (choices.resampled(prior, held.x, mu, K) @ apart), v, apart, abs(apart).max(0), array(mu)


def limit(instance: Any, under_posterior: bool = True) -> Array:
    """-Cov(posterior / mu, s) under the posterior. Not `under_posterior`: under mu."""
    _, v, apart, _, mu = moments(instance)
    law = mu * v if under_posterior else mu
    return -((law * (v - law @ v)) @ apart)


def tends(instance: Any, under_posterior: bool = True, chi_part: int = 3) -> Said:
    """K times the bias is `limit` + (m12 - `chi_part` m11 m02) / K, but for at most a number over K^2; right for 3.

    `m12` is E a d^2 for a = v (s - its mean) and d = v - 1, and so on; m02 is chi^2 and m11 is -limit. With A, 1 + D
    the means of v (s - its mean) and v over K draws the bias is E A / (1 + D), |A| <= s_max (1 + D), and 1 / (1 + D) is
    1 - D + D^2 - D^3 + D^4 - D^5 + D^6 / (1 + D). E A D^n sums over the partitions of the n + 1 factors into draws, at
    least two for each, since E a = E d = 0; so m11 m02 comes from E A D^3.
    """
    times_bias, v, apart, most, mu = moments(instance)
    K = instance[1]
    a, d = v[:, None] * apart, v - 1
    m11, m12, m13, m14, m15 = ((mu * d**i) @ a for i in range(1, 6))
    m02, m03, m04, m06 = (mu @ d**i for i in (2, 3, 4, 6))
    error = times_bias - limit(instance, under_posterior) - (m12 - chi_part * m11 * m02) / K
    third, fourth = m13 - 3 * m11 * m02, abs(m14) + abs(4 * m11 * m03 + 6 * m12 * m02)
    fifth = abs(m15) + abs(5 * m11 * m04 + 10 * m13 * m02 + 10 * m12 * m03) + 15 * abs(m11) * m02**2
    sixth = most * (m06 + 15 * m04 * m02 + 10 * m03**2 + 15 * m02**3)
    return le(abs(error), (abs(third) + fourth + fifth + sixth) / K**2)


def tends_under_the_sampler(instance: Any) -> Said:
    """To the covariance under mu."""
    return tends(instance, under_posterior=False)


def tends_without_chi(instance: Any) -> Said:
    """The part of order 1/K is m12 / K alone."""
    return tends(instance, chi_part=0)


def test_bias_over_k() -> None:
    for_all(tends, many, N)
    # Two CoTs as likely by mu, the second three times as likely by the posterior.
    assert [bias_of_two(K) for K in (1, 2, 3)] == [Fraction(1, 4), Fraction(1, 8), Fraction(11, 140)]
    # The named term E (v-1)^2 v (s - its mean) is 0 here, and the other one is 9/64.
    assert abs(64 * (64 * bias_of_two(64) - Fraction(3, 16)) - Fraction(9, 64)) < Fraction(1, 500)


def bias_of_two(K: int) -> Fraction:
    """How much too likely the first is, mu = (1/2, 1/2), posterior (1/4, 3/4)."""
    half = Fraction(1, 2)
    law = choices.resampled((half, half), (Fraction(1, 4), Fraction(3, 4)), (half, half), K)
    return Fraction(law[0]) - Fraction(1, 4)


def test_bias_control_under_the_sampler() -> None:
    negative_control(tends_under_the_sampler, many, N)


def test_bias_control_without_chi() -> None:
    negative_control(tends_without_chi, many, N)


# Bounds


def bounded(instance: Any, factor: int = 1, whole: bool = False) -> Said:
    """|K bias - limit| <= s_max chi^2, K |bias| <= 2 s_max (1 + chi^2), mean square <= 2 s_max^2 (1 + 2 chi^2) / K.

    Of each component; chi^2 is that of the posterior from mu, s_max the component's largest |s - its mean|. The first
    times 1 / `factor`; right for 1. `whole`: the mean square error is that of the vector, s_max the largest of all
    components.
    """
    times_bias, v, apart, most, mu = moments(instance)
    K, chi = instance[1], mu @ (v - 1) ** 2
    square = sum(chance * (w @ apart[drawn] / w.sum()) ** 2 for drawn, chance, w in few_draws(mu, v, K))
    error, largest = (np.sum(square), most.max()) if whole else (square, most)
    return both(
        le(factor * abs(times_bias - limit(instance)), most * chi),
        le(abs(times_bias), 2 * most * (1 + chi)),
        when(K <= 3, le(K * error, 2 * largest**2 * (1 + 2 * chi))),
    )


def three_alike(pick: Pick) -> Any:
    """(a policy of two CoTs and its posterior as the sampler, K): three components of the scores are the same."""
    prior, answers, mixing, _ = drawable(pick)
    prior, answers = (prior[0] / sum(prior[:2]), prior[1] / sum(prior[:2])), answers[:2]
    rows = [[row[0]] * 3 for row in mixing[: 2 + 2 * len(answers[0])]]
    return (prior, answers, rows, tuple(lemma2.posterior(prior, [a[0] for a in answers]))), pick(1, 3)


def few_draws(mu: Array, v: Array, K: int) -> list[tuple[list[int], Any, Array]]:
    """Up to three draws: which CoTs, how likely, and their weights over J."""
    drawn = map(list, product(range(len(mu)), repeat=K)) if K <= 3 else ()
    return [(of, np.prod(mu[of]), v[of]) for of in drawn]


def twice_as_near(instance: Any) -> Said:
    """K bias twice as near to its limit."""
    return bounded(instance, 2)


def bounded_of_the_vector(instance: Any) -> Said:
    """The mean square error of all components together, against the largest component."""
    return bounded(instance, whole=True)


def ratio(power: int, factor: int = 1) -> list[Any]:
    """Negation: A / B - A + A (B - 1) is at most s_max |B - 1|^`power`, and (A / B)^2 at most `factor` (2 A^2 + ...).

    B > 0 is the mean of K weights over J, A that of weights times s minus its mean, so that |A| <= s_max B.
    """
    A, B, s_max, R = z3.Reals("A B s_max R")
    given = Given("weights are above 0", B > 0, s_max >= 0, R * B == A, s_max >= R, s_max >= -R)
    error = R - A + A * (B - 1)
    bound = s_max * (B - 1) ** 2 if power == 2 else s_max * (B - 1) ** 2 * z3.If(B > 1, B - 1, 1 - B)
    square = factor * A * A + factor * s_max * s_max * (B - 1) ** 2 < R * R
    return [given, z3.Or(error > bound, -error > bound, square)]


def linear(slope: int = 1) -> list[Any]:
    """Negation: |(v - 1) y| <= `slope` s_max (v + 1) for v > 0 and |y| <= s_max."""
    v, y, s_max = z3.Reals("v y s_max")
    return [
        Given("weights are above 0", v > 0, y <= s_max, y >= -s_max),
        z3.Or((v - 1) * y > slope * s_max * (v + 1), (1 - v) * y > slope * s_max * (v + 1)),
    ]


def test_bound() -> None:
    """Means of K independent draws with mean 0 have E A B' = E a b / K.

    So of the first E A (B - 1) = -limit / K and E (B - 1)^2 = chi^2 / K, of the second E A^2 <= s_max^2 (1 + chi^2)
    / K. The limit is E (v - 1) (s - its mean) under the posterior, of which E v = 1 + chi^2.
    """
    proved(*ratio(2, 2), size="any K draws of any table")
    proved(*linear(), size="any table")


def test_bound_on_instances() -> None:
    for_all(bounded, many, N)


def test_bound_controls() -> None:
    satisfiable(*ratio(3, 2))
    satisfiable(*ratio(2, 1))
    satisfiable(*linear(0))
    negative_control(twice_as_near, many, N)
    # With two CoTs that are drawn by the posterior, equally often, chi^2 is 0, and 3 s_max^2 is above 2 s_max^2.
    negative_control(bounded_of_the_vector, three_alike, N)


def tangent(scale: int = 1) -> list[Any]:
    """Negation: x^2 / y >= 2 t x - `scale` t^2 y for y > 0, which is 1."""
    x, y, t, ratio_ = z3.Reals("x y t ratio")
    given = Given("weights are above 0", x > 0, y > 0, ratio_ * y == x * x)
    return [given, scale * ratio_ < scale * 2 * t * x - t * t * y]


def worth(instance: Any, at_least: bool = True) -> Said | None:
    """The effective sample size of K weights is on average at least K / (1 + chi^2). Not `at_least`: at most."""
    _, v, _, _, mu = moments(instance)
    found = sum(chance * w.sum() ** 2 / (w @ w) for _, chance, w in few_draws(mu, v, instance[1]))
    return (ge if at_least else le)(found * (mu @ v**2), instance[1])


def worth_at_most(instance: Any) -> Said | None:
    """It is at most that."""
    return worth(instance, at_least=False)


def test_worth() -> None:
    """x = mean of w, y = mean of w^2, t = J / E w^2: E x^2 / y >= 2 J^2 / E w^2 - J^2 / E w^2 = 1 / (1 + chi^2)."""
    proved(*tangent(), size="any K draws of any table")


def test_worth_on_instances() -> None:
    for_all(worth, candidates, N)
    # mu = (1/100, 99/100), the posterior the other way round: 8 draws are worth 0.08, and say 7.46.
    rare, often = Fraction(1, 100), Fraction(99, 100)
    chances = [comb(8, k) * rare**k * often ** (8 - k) for k in range(9)]
    sizes = [(99 * k + (8 - k) / Fraction(99)) ** 2 / (99**2 * k + (8 - k) / Fraction(99**2)) for k in range(9)]
    assert round(float(sum(c * size for c, size in zip(chances, sizes, strict=True))), 2) == 7.46
    assert round(float(8 / (often**2 / rare + rare**2 / often)), 2) == 0.08


def test_worth_control() -> None:
    satisfiable(*tangent(2))
    negative_control(worth_at_most, candidates, N)
