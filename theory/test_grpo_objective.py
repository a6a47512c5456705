"""Section 5.2: the printed ExP-GRPO objective: its boxed term, its sampler, its clipping."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from theory import grpo, lemma2
from theory.domains import bits
from theory.evidence import Pick, counterexample, for_all, negative_control
from theory.inputs import Array, array
from theory.policies import softmax
from theory.relations import Said, both, either, eq, le, when

HALF = Fraction(1, 2)


def batches(pick: Pick) -> Any:
    """(lengths of the group's samples, one term per token, a boxed term)."""
    lengths = [pick(1, 5) for _ in range(pick(1, 5))]
    return [[Fraction(pick(-9, 9), 7) for _ in range(n)] for n in lengths], Fraction(pick(-50, 50), 11)


def placement(instance: Any, inside: str) -> Said:
    """The boxed term added in the innermost sum, and after all sums, give the same."""
    rows, box = instance
    outside = sum(sum(row) / len(row) for row in rows) / len(rows) + box
    within = sum(sum(x + box for x in row) / (len(row) if inside == "token" else 1) for row in rows) / len(rows)
    return eq(within, outside)


def inside_is_outside(instance: Any) -> Said:
    """With both averages as printed."""
    return placement(instance, "token")


def inside_is_outside_without_lengths(instance: Any) -> Said:
    """Without the division by the length."""
    rows, box = instance
    return either(eq(box, 0), placement((rows, box), "sample"))


def test_boxed_term_inside_or_outside() -> None:
    for_all(inside_is_outside, batches)


def test_boxed_term_control_without_lengths() -> None:
    negative_control(inside_is_outside_without_lengths, batches)


def powers_of_two(pick: Pick) -> Any:
    """(weights 2^n of the trajectories, r) with a right trajectory."""
    n = tuple(pick(0, 3) for _ in range(pick(2, 4)))
    return n, (1, *bits(pick, len(n) - 1))


def sampler_gradient(instance: Any) -> Array:
    """What differentiating through the sampler adds to the boxed term's gradient, in units of log 2, tabular.

    sum_l post_l (s_l - E_post s) log pi_l; log pi_l = n_l log 2 minus a constant, which cancels.
    """
    n, r = instance
    pi = array([Fraction(2**x, sum(2**y for y in n)) for x in n])
    s, post = softmax(pi).scores, lemma2.posterior(pi, r)
    return (post * (array(n) - post @ array(n))) @ (s - post @ s)


def sampler_adds_nothing(instance: Any) -> Said:
    """The gradient is grad log J, whether or not the sampler is differentiated."""
    return eq(sampler_gradient(instance), 0)


def test_sampler_gradient_is_not_zero() -> None:
    counterexample(sampler_adds_nothing, powers_of_two, ((1, 0), (1, 1)), size=lambda x: (len(x[0]), sum(x[0])))
    # pi = (1/2, 1/4, 1/4), the first two right.
    added = sampler_gradient(((1, 0, 0), (1, 1, 0)))
    assert list(added) == [Fraction(2, 9), Fraction(-2, 9), 0]


def tokens(pick: Pick) -> Any:
    """(ratio, advantage, eps)."""
    return Fraction(pick(1, 40), 20), Fraction(pick(-12, 12), 4), Fraction(pick(1, 9), 10)


def slope_is_the_advantage(instance: Any) -> Said:
    """The weight of a token is its advantage."""
    return eq(grpo.slope(*instance), instance[1])


def slope_of_clipping(instance: Any, both_sides: bool = False) -> Said | None:
    """Difference quotients of the surrogate away from its kinks: A, or 0 beyond the clip on A's own side.

    `both_sides`: 0 beyond the clip on either side.
    """
    x, A, eps = instance
    h = Fraction(1, 1000)
    if min(abs(x - 1 - eps), abs(x - 1 + eps)) <= h:
        return None
    quotient = (grpo.surrogate(x + h, A, eps) - grpo.surrogate(x - h, A, eps)) / (2 * h)
    above, below = x > 1 + eps, x < 1 - eps
    beyond = above or below if both_sides else above if A > 0 else below
    return both(eq(grpo.slope(x, A, eps), quotient), eq(quotient, 0 if beyond else A))


def slope_of_clipping_on_both_sides(instance: Any) -> Said | None:
    """0 wherever the ratio leaves [1-eps, 1+eps]."""
    return slope_of_clipping(instance, both_sides=True)


def steepness(instance: Any) -> int:
    """Size of a token: its largest denominator, at eps = 1/10 or more."""
    return max(x.denominator for x in instance)


def test_clipped_tokens_have_no_slope() -> None:
    counterexample(slope_is_the_advantage, tokens, (Fraction(2), Fraction(1), Fraction(1, 2)), size=steepness)
    assert grpo.slope(Fraction(3, 2), 1, Fraction(1, 5)) == grpo.slope(HALF, -1, Fraction(1, 5)) == 0


def test_slope() -> None:
    for_all(slope_of_clipping, tokens)
    # At the kinks: the advantage.
    assert grpo.slope(Fraction(6, 5), 3, Fraction(1, 5)) == 3
    assert grpo.slope(Fraction(4, 5), -3, Fraction(1, 5)) == -3
    assert grpo.surrogate(Fraction(3, 2), 2, Fraction(1, 5)) == Fraction(12, 5)
    assert grpo.surrogate(HALF, -2, Fraction(1, 5)) == Fraction(-8, 5)


def test_slope_control_both_sides() -> None:
    negative_control(slope_of_clipping_on_both_sides, tokens)


def token_scores(pick: Pick) -> Any:
    """(rewards of a group with both kinds, scores in [-9, 9] of every sample's tokens in one parameter)."""
    r = (1, 0, *bits(pick, pick(0, 4)))
    return r, [[pick(-9, 9) for _ in range(pick(1, 12))] for _ in r]


def squared_gradient(instance: Any, averaged: bool) -> Fraction:
    """(sum_i A_i sum_t s_it / G)^2, with every sample's sum over its tokens averaged as printed or not.

    A_i = sqrt(K (G-K)) / K for a right sample, -sqrt(K (G-K)) / (G-K) for a wrong one: the square is rational.
    """
    r, scores = instance
    G, K = len(r), sum(r)
    samples = [Fraction(sum(u), len(u) if averaged else 1) for u in scores]
    total = sum(x / K if right else -x / (G - K) for x, right in zip(samples, r, strict=True))
    return K * (G - K) * total**2 / G**2


def within_one_token(instance: Any, averaged: bool = True) -> Said:
    """The GRPO part's gradient is at most 9, one token's largest score; the boxed term's may be T * 9."""
    return le(squared_gradient(instance, averaged), 81)


def within_one_token_without_lengths(instance: Any) -> Said:
    """The same without the average over tokens."""
    return within_one_token(instance, averaged=False)


def boxed_scores(pick: Pick) -> Any:
    """(s_max, scores of the boxed term's T tokens in one parameter, up to s_max in size); in half of them all are."""
    s_max, T = pick(1, 9), pick(2, 12)
    return s_max, [s_max] * T if pick(0, 1) else [pick(-s_max, s_max) for _ in range(T)]


def boxed_term_within(instance: Any, tokens: bool = True) -> Said:
    """The boxed term's gradient is at most T s_max for T tokens of scores up to s_max, and is that where all are s_max.

    Not `tokens`: within s_max, as the GRPO part.
    """
    s_max, scores = instance
    bound, found = s_max * (len(scores) if tokens else 1), abs(sum(scores))
    return both(le(found, bound), when(set(scores) == {s_max}, eq(found, s_max * len(scores))))


def boxed_term_within_one_token(instance: Any) -> Said:
    return boxed_term_within(instance, tokens=False)


def test_boxed_term_may_reach_all_tokens() -> None:
    for_all(boxed_term_within, boxed_scores)


def test_boxed_term_control_within_one_token() -> None:
    negative_control(boxed_term_within_one_token, boxed_scores)


def test_grpo_part_is_within_one_token() -> None:
    for_all(within_one_token, token_scores)


def test_scale_control_without_lengths() -> None:
    negative_control(within_one_token_without_lengths, token_scores)
