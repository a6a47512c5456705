"""Natural gradients, samplers, ExP-GRPO's two terms and choices among explanations, for a dozen trajectories."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from theory import choices, combined, natural, sampler
from theory.policies import softmax

F = Fraction
MANY = 12


def law(*weights: int) -> Any:
    """Exact probabilities in proportion to whole weights."""
    return np.array([F(w, sum(weights)) for w in weights])


PI = law(3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 4)
MU = law(2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5)
# Partly right: no trajectory leaves the posterior without it.
R = np.array([F(1 + k % 4, 5) for k in range(MANY)])
J = (PI * R).sum()
# Scores of the tabular model, written out.
SCORES = [[F(k == at) - p for k, p in enumerate(PI)] for at in range(MANY)]
GRADIENT = [p * (r - J) for p, r in zip(PI, R, strict=True)]


def mean_score(weights: Any) -> list[Fraction]:
    return [sum((w * s[k] for w, s in zip(weights, SCORES, strict=True)), F(0)) for k in range(MANY)]


def inner(a: Any, b: Any) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), F(0))


@pytest.mark.parametrize("j", [0, 5, MANY - 1])
def test_natural_gradient_of_a_table(j: int) -> None:
    """The gain is r_j - J, the length 1 / pi_j - 1."""
    policy = softmax(PI)
    assert natural.natural_gain(policy, R, j) == R[j] - J
    assert natural.natural_length(policy, j) == 1 / PI[j] - 1


def test_pseudo_inverses_of_a_batch() -> None:
    matrices = [[[F(k + 1), F(1)], [F(2 * k + 2), F(2)], [F(k % 3), F(0)]] for k in range(MANY)]
    found = natural.pseudo_inverse(matrices)
    assert found.shape == (MANY, 2, 3)
    for m, inverse in zip(np.array(matrices, dtype=object), found, strict=True):
        assert (m @ inverse @ m == m).all()
        assert (m @ inverse == (m @ inverse).T).all()
        assert (inverse @ m @ inverse == inverse).all()
        assert (inverse @ m == (inverse @ m).T).all()


def test_pseudo_inverse_with_its_pivots_far_down() -> None:
    backwards = [[F(k + 1) * (k + column == MANY - 1) for column in range(MANY)] for k in range(MANY)]
    inverse = natural.pseudo_inverse(backwards)
    assert inverse.tolist() == [[F(k + column == MANY - 1, column + 1) for column in range(MANY)] for k in range(MANY)]


def test_samplers() -> None:
    policy, mean = softmax(PI), mean_score(MU)
    posterior = PI * R / J
    assert list(sampler.importance(PI, R, MU)) == [p * r / m for p, r, m in zip(PI, R, MU, strict=True)]
    chi = sum((p * p / q for p, q in zip(MU, posterior, strict=True)), F(0)) - 1
    assert sampler.chi_squared(MU, posterior) == chi
    assert list(sampler.sft_bias(policy, R, MU)) == [m - g / J for m, g in zip(mean, GRADIENT, strict=True)]
    rates = [inner(s, GRADIENT) for s in SCORES]
    middle = inner(posterior, rates)
    variance = inner(posterior, [(x - middle) ** 2 for x in rates])
    assert middle == inner(GRADIENT, GRADIENT) / J
    assert sampler.gain_slack(policy, R, MU) == middle**2 - chi * variance
    beta = F(1, 3)
    assert sampler.winner_rate(policy, MU, beta) == beta / 2 * inner(mean, mean)
    wrong = [m + g / (1 - J) for m, g in zip(mean, GRADIENT, strict=True)]
    assert sampler.winner_rate(policy, MU, beta, R) == beta / 2 * inner(mean, wrong)


def test_two_terms() -> None:
    # Samples of what is wrong most often turn against the gradient.
    wrong = np.array([(1 - r) / (MANY - R.sum()) for r in R])
    rate = inner(GRADIENT, mean_score(wrong))
    assert rate < 0
    assert combined.least_share(softmax(PI), R, wrong) == -rate / inner(GRADIENT, GRADIENT)


@pytest.mark.parametrize("n", [3, MANY])
def test_choices(n: int) -> None:
    """One of two by its weight, and the best of two with ties, against a sum over all pairs."""
    prior, mu, x = PI[:n] / PI[:n].sum(), MU[:n] / MU[:n].sum(), R[:n]
    score = [F(3), F(1), F(3), F(0), F(2), F(1), F(5), F(3), F(5), F(0), F(4), F(5)][:n]
    w = [p * r / m for p, r, m in zip(prior, x, mu, strict=True)]
    by_weight, best = [F(0)] * n, [F(0)] * n
    for a, b in product(range(n), repeat=2):
        chance = mu[a] * mu[b]
        for c in (a, b):
            by_weight[c] += chance * w[c] / (w[a] + w[b])
        best[b if score[b] > score[a] else a] += chance
    assert list(choices.resampled(prior, x, mu, 2)) == by_weight
    assert list(choices.best_of(mu, score, 2)) == best
