"""Which of K self-explanations is learnt (beyond the paper, Section 5): one drawn by weight, or the best by a score.

K explanations are drawn from a sampler mu, independently of each other; w_c = pi(c, a*|q) / mu(c) is the weight of CoT
c, and the posterior is pi(c, a*|q) / J.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial, prod

import numpy as np

from theory import sampler
from theory.inputs import Array, Numbers, array, like, simplex


def resampled(prior: Numbers, x: Numbers, mu: Numbers, K: int) -> Array:
    """The law of one of K CoTs from mu, drawn by its weight, shape (..., n). Claims WEIGHT-law, WEIGHT-toward.

    It is summed over how often each CoT is among the K. It is also the mean of the K weights over their sum.

    Raises:
        ValueError: where mu draws a CoT of weight 0: all K weights may then be 0.
    """
    K = _candidates(K)
    w = sampler.importance(prior, x, mu)
    # It is a law, or it would have been refused.
    mu = np.broadcast_to(array(mu), w.shape)
    if ((w == 0) & (mu > 0)).any():
        raise ValueError("x must be positive wherever mu is: all K weights may be 0")
    law = w * 0
    for counts in _counts(w.shape[-1], K):
        ways = factorial(K) // prod(map(factorial, counts))
        chance = ways * (mu ** np.array(counts)).prod(-1, keepdims=True)
        shares = w * np.array(counts)
        total = shares.sum(-1, keepdims=True)
        law = law + chance * shares / np.where(total > 0, total, total + 1)
    return law


def best_of(mu: Numbers, score: Numbers, K: int) -> Array:
    """The law of the first of K CoTs from mu with the highest score, shape (..., n). Claim BEST-law.

    CoTs with the score of c share mu(<= c)^K - mu(< c)^K in proportion to mu, where mu(<= c) is the probability of
    scores up to c's, and mu(< c) that of lower ones.
    """
    mu, K = simplex(mu, "mu"), _candidates(K)
    score = like(score, mu, "score")
    if score.shape[-1:] != mu.shape[-1:]:
        raise ValueError(f"score needs {mu.shape[-1]} numbers on its last axis, one for each CoT")
    mu, score = np.broadcast_arrays(mu, score)
    one, other = score[..., :, None], score[..., None, :]
    up_to = np.where(other <= one, mu[..., None, :], 0 * mu[..., None, :]).sum(-1)
    alike = np.where(other == one, mu[..., None, :], 0 * mu[..., None, :]).sum(-1)
    return (up_to**K - (up_to - alike) ** K) * mu / np.where(alike > 0, alike, alike + 1)


def _candidates(K: int) -> int:
    if isinstance(K, bool) or not isinstance(K, int | np.integer) or K < 1:
        raise ValueError(f"K must be a whole number from 1 on, got {K!r}")
    return int(K)


def _counts(n: int, K: int) -> Iterator[tuple[int, ...]]:
    """All ways in which n whole numbers sum to K."""
    if n == 1:
        yield (K,)
        return
    for first in range(K + 1):
        yield from ((first, *rest) for rest in _counts(n - 1, K - first))
