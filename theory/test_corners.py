"""Closed forms where small random instances do not lead: large sizes, extremes of floats, the order of parameters."""

from __future__ import annotations

import random
from fractions import Fraction
from math import lgamma, log, log1p, prod
from typing import Any

import numpy as np
import pytest

from theory import grpo, improvement, lemma1, lemma2, objectives, passk, printed, properties, shifts
from theory.domains import MANY, twelfths, wide
from theory.policies import softmax, tree

F = Fraction
# Spacing of floats at 1.
ULP = 2.0**-52


def test_corners_are_drawn() -> None:
    """One draw in eight has many entries, one in eight ties, one in eight (if asked) zeros."""
    pick = random.Random("corners").randint
    laws = [wide(pick, 2, 4, 10_000, zeros=True) for _ in range(1000)]
    large = sum(len(law) > 4 for law in laws)
    with_zeros = sum(0 in law for law in laws)
    ties = sum(len({p for p in law if p}) < sum(p > 0 for p in law) for law in laws)
    assert all(75 < n < 175 for n in (large, with_zeros + 25, ties + 25)), (large, with_zeros, ties)
    assert {len(law) for law in laws} == set(range(2, MANY + 1))
    assert all(sum(law) == 1 for law in laws)
    assert not any(0 in wide(pick) for _ in range(200))
    few = sum(len(set(twelfths(pick, MANY))) <= 2 for _ in range(1000))
    assert 75 < few < 175
    # Where hypothesis looks for the smallest instance there is no corner.
    assert wide(lambda low, _: low, zeros=True) == (F(1, 2), F(1, 2))


def test_many_trajectories() -> None:
    """64 of them: closed forms against sums over scores, tabular."""
    L = 64
    weights = [1 + k % 7 for k in range(L - 1)]
    pi = np.array([F(w, 512) for w in (*weights, 512 - sum(weights))])
    r = np.array([F(k % 5, 4) for k in range(L)])
    j, k = 40, 9
    policy = softmax(pi)
    inner = policy.scores @ policy.scores[j]
    assert lemma1.cross_term(pi, j, k) == inner[k]
    rest = np.delete(pi, j) / (1 - pi[j])
    m, share = (rest * rest).sum(), pi[k] / (1 - pi[j])
    assert lemma1.limit(pi, j, k) == m - share
    assert lemma1.threshold(pi, j, k) == (1 + 2 * m - share) / (2 * (1 + m))
    assert improvement.tabular_t1(pi, r, j) == pi[j] * inner[j] * r[j]
    assert improvement.tabular_t2(pi, r, j) == (pi * r) @ inner - pi[j] * inner[j] * r[j]
    assert improvement.tabular_gain(pi, r, j) == policy.gain(r, j) == (pi * r) @ inner
    assert (shifts.gradient_step(pi, j) == pi * inner).all()
    spread = [F(-k * (-1) ** k) for k in range(L)]
    assert improvement.remainder_bound(spread) == 125**2 / (12 * np.sqrt(3))
    mu = lemma2.posterior(pi, r)
    assert (mu == pi * r / (pi * r).sum()).all()
    assert objectives.tabular_sft_gain(pi, r, mu) == mu @ (policy.scores @ policy.gradient(r))


@pytest.mark.parametrize(("i", "j"), [(0, 11), (11, 0), (5, 6)])
def test_unequal_amounts_anywhere(i: int, j: int) -> None:
    """The others of a dozen keep their proportions, wherever the two stand."""
    prior = [F(1 + k % 5, 36) if k else F(1 + 36 - sum(1 + k % 5 for k in range(MANY)), 36) for k in range(MANY)]
    up, down = F(1, 8), prior[j] / 3
    left = 1 - prior[i] - prior[j]
    moved = {i: prior[i] + up, j: prior[j] - down}
    expected = [moved.get(k, p * (left + down - up) / left) for k, p in enumerate(prior)]
    assert list(properties.uneven(prior, i, up, j, down)) == expected
    assert sum(expected) == 1


def draws(G: int, p: Fraction) -> list[Fraction]:
    """How likely 0 to G right ones are in a group, sample by sample."""
    law = [F(1)]
    for _ in range(G):
        law = [a * (1 - p) + b * p for a, b in zip([*law, F(0)], [F(0), *law], strict=True)]
    return law


def missed(n: int, c: int, k: int) -> Fraction:
    """How likely k draws out of n, c of them right, are all wrong: draw by draw."""
    return prod((F(max(n - c - i, 0), n - i) for i in range(k)), start=F(1))


@pytest.mark.parametrize(("n", "k"), [(12, 9), (12, 12), (64, 4), (128, 64)])
def test_pass_at_k_of_many_samples(n: int, k: int) -> None:
    """At sizes that the paper uses: 4 and 64 tries, 128 samples."""
    p = F(1, 32)
    estimates = [passk.pass_at_k(n, c, k) for c in range(n + 1)]
    assert estimates == [1 - missed(n, c, k) for c in range(n + 1)]
    assert [passk.plug_in(n, c, k) for c in (0, 1, n)] == [0, 1 - F(n - 1, n) ** k, 1]
    chances = draws(n, p)
    mean = sum(x * e for x, e in zip(chances, estimates, strict=True))
    assert mean == 1 - (1 - p) ** k
    variance = passk.variance(n, p, k)
    assert variance == sum(x * e * e for x, e in zip(chances, estimates, strict=True)) - mean**2
    assert np.isclose(passk.variance(n, float(p), k), float(variance), rtol=1e-12, atol=0)


@pytest.mark.parametrize("G", [12, 64, 128])
def test_weight_of_a_large_group(G: int) -> None:
    for p in (F(5, 8), F(1, 64))[: 1 if G > 64 else 2]:
        law = draws(G, p)
        assert grpo.no_signal(p, G) == law[0] + law[-1]
        assert list(grpo.weight_terms(p, G)) == [x / (G * p * (1 - p)) for x in law[1:-1]]
        deviations = np.sqrt([K * (G - K) for K in range(1, G)]) / G
        expected = deviations @ np.array(law[1:-1], dtype=float) / float(p * (1 - p))
        for q in (p, float(p)):
            # G positive terms, each of powers with fewer than 2 G roundings.
            assert np.isclose(grpo.weight(q, G), expected, rtol=4 * G * ULP)


def test_largest_group_of_floats() -> None:
    # The middle binomial of 1,000 is 2.7e299; by logarithms there is none.
    for p in (0.001, 0.5, 0.999):
        logs = [
            lgamma(1001) - lgamma(K + 1) - lgamma(1001 - K) + K * log(p) + (1000 - K) * log1p(-p) for K in range(1001)
        ]
        share = np.arange(1001) / 1000
        expected = np.exp(logs) @ np.sqrt(share * (1 - share)) / (p * (1 - p))
        # Logarithms of factorials up to 1,000 are below 6,000, and so are their roundings, in spacings at 1.
        assert np.isclose(grpo.weight(p, 1000), expected, rtol=4 * 6000 * ULP)


def caterpillar(T: int, v: int) -> tuple[Any, Any, Any, Any]:
    """A sequence of T tokens of `v` kinds, all of the first; any other token ends the text.

    Next-token probabilities and expected rewards along the sequence, and of all texts: the probability, the reward (1
    for every third) and the score. The sequence itself is the last text; text (t, u) leaves it at token t by u.
    """
    probs = [[F(3 + t % 5, 10), *(F(7 - t % 5, 10 * (v - 1)) for _ in range(v - 1))] for t in range(T)]
    texts = [*((t, u) for t in range(T) for u in range(1, v)), (T, 0)]
    r = {text: F(i % 3 == 0) for i, text in enumerate(texts)}
    q: list[list[F]] = []
    value = r[T, 0]
    for t in reversed(range(T)):
        q.insert(0, [value, *(r[t, u] for u in range(1, v))])
        value = sum((x * y for x, y in zip(probs[t], q[0], strict=True)), F(0))
    chances, scores = [], np.full((len(texts), T * v), F(0), dtype=object)
    for row, (last, token) in zip(scores, texts, strict=True):
        chances.append(prod((probs[t][0] for t in range(last)), start=F(1)) * (probs[last][token] if last < T else 1))
        for t in range(min(last + 1, T)):
            row[v * t : v * (t + 1)] = [F(u == (token if t == last else 0)) - x for u, x in enumerate(probs[t])]
    return probs, q, np.array([*zip(chances, r.values(), strict=True)], dtype=object), scores


@pytest.mark.parametrize(("T", "v"), [(3, 3), (12, 2), (24, 2), (3, 12)])
def test_long_sequence(T: int, v: int) -> None:
    """Token by token against sums over texts, for more tokens than all sequences could be listed of."""
    probs, q, texts, scores = caterpillar(T, v)
    assert texts[:, 0].sum() == 1
    gradient = texts.prod(-1) @ scores
    assert gradient.any()
    own = (0,) * T
    assert improvement.tree_gain(probs, q, own) == gradient @ scores[-1]
    for last in range(T):
        # What comes after the token that differs is in no text.
        other = (*(0,) * last, v - 1, *(1,) * (T - last - 1))
        assert improvement.tree_inner(probs, own, other) == scores[-1] @ scores[(last + 1) * (v - 1) - 1]
    assert improvement.tree_inner(probs, own, own) == scores[-1] @ scores[-1]


@pytest.mark.parametrize(("v", "depth"), [(3, 3), (2, 10)])
def test_parameters_of_a_tree_are_in_order(v: int, depth: int) -> None:
    """Tables as given, in each the prefixes as sequences are: in lexicographic order."""
    rng, tables = np.random.default_rng(v), list[Any]()
    for t in range(depth):
        weights = rng.integers(1, 99, (v,) * (t + 1))
        tables.append(weights / weights.sum(-1, keepdims=True))
    policy = tree(tables)
    places = range(0, v**depth, 1 + v**depth // 20)
    for at in (*places, v**depth - 1):
        chance, expected = 1.0, []
        for t, table in enumerate(tables):
            for prefix, row in enumerate(table.reshape(-1, v)):
                token = at // v ** (depth - 1 - t) % v
                mine = at // v ** (depth - t) == prefix
                chance *= row[token] if mine else 1
                expected += [(token == u) - x if mine else 0 for u, x in enumerate(row)]
        assert list(policy.scores[at]) == expected
        assert np.isclose(policy.probs[at], chance, rtol=depth * ULP)


def test_printed_shares_follow_from_the_counts_beside_them() -> None:
    """Right or wrong, the two answers of Example 1 divide what they counted."""
    for steps in (printed.SELF_EXPLANATION, printed.STANDARD_COT):
        stated = {quantity: value for _, quantity, value in steps}
        assert stated["P(other red | red)"] == stated["red sides of red cards"] / stated["red sides"]
    stated = {quantity: value for _, quantity, value in printed.SELF_EXPLANATION}
    assert stated["P(red)"] == stated["red sides"] / stated["sides"]


def test_losses_at_the_ends_of_floats() -> None:
    # e^1000 overflows; its logarithm is 1000.
    assert list(objectives.dpo_loss([-1000.0, 1000.0, -1e300], 1)) == [1000, 0, 1e300]
    assert list(objectives.relative_gain([1000.0, 1e300], 1)) == [-1000, -1e300]
    # e^x - 1 is x below the spacing of floats at 1.
    assert np.isclose(objectives.relative_gain(1e-300, 1), 300 * np.log(10), rtol=1e-15)
    assert np.isclose(objectives.dpo_loss(700.0, 1), np.exp(-700.0), rtol=1e-12, atol=0)


def test_optimum_at_large_odds() -> None:
    # beta = 1/700: what is left to the wrong ones is 1e-304 times their share.
    new = objectives.kl_optimum([0.25, 0.75], [1, 0], np.exp(700.0))
    assert new[0] == 1
    assert np.isclose(new[1], 3 * np.exp(-700.0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("place", [0, 5, MANY - 1])
def test_one_right_answer_anywhere(place: int) -> None:
    r = [int(k == place) for k in range(MANY)]
    pi = [F(1, MANY)] * MANY
    assert list(objectives.em_step(pi, r, F(1, 2))) == [(p + x) / 2 for p, x in zip(pi, r, strict=True)]
    # (11 and -1) / sqrt(11).
    assert np.allclose(grpo.advantages(r), [(MANY * x - 1) / (MANY - 1) ** 0.5 for x in r], rtol=1e-14)


def test_rewards_that_hardly_differ() -> None:
    """Rewards are equal only if they are the same: a model of rewards may tell samples apart by little."""
    assert list(grpo.advantages([1.0, 1 + 2.0**-30])) == [-1, 1]
    assert list(grpo.advantages([[0.5, 0.5 - 2.0**-40] * 6])[0]) == [1, -1] * 6
