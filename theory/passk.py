"""pass@k: the estimator behind the paper's tables, its variance, and what a mixture of questions allows."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np

from theory.inputs import Array, Numbers, Scalars, is_exact, probability, simplex, unit


def pass_at_k(n: int, c: int, k: int) -> Fraction:
    """1 - C(n-c, k) / C(n, k): pass@k estimated from n samples of which c are right, exactly. Claim PASSK."""
    n, c, k = _counts(n, c, k)
    return 1 - Fraction(comb(n - c, k), comb(n, k))


def plug_in(n: int, c: int, k: int) -> Fraction:
    """1 - (1 - c/n)^k: the estimate that puts c/n in place of p, exactly; too low on average. Claim PASSK-plug."""
    n, c, k = _counts(n, c, k)
    return 1 - Fraction(n - c, n) ** k


def variance(n: int, p: Numbers | Scalars, k: int) -> Array:
    """Variance of `pass_at_k` over c ~ Bin(n, p), in kind, shape of p. Claim PASSK-var.

    sum over c = 1..k of C(k, c) C(n-k, k-c) / C(n, k) (q^(2k-c) - q^(2k)) with q = 1 - p: two draws of k samples out of
    the n share c of them with that probability, and both fail with probability q^(2k-c).
    """
    n, _, k = _counts(n, 0, k)
    p = probability(p)
    shared = [Fraction(comb(k, c) * comb(n - k, k - c), comb(n, k)) for c in range(1, k + 1)]
    terms = [
        (w if is_exact(p) else float(w)) * ((1 - p) ** (2 * k - c) - (1 - p) ** (2 * k))
        for c, w in enumerate(shared, start=1)
    ]
    return np.stack(terms).sum(0)


def mixture(p: Numbers, weights: Numbers, k: int) -> Array:
    """pass@k over questions solved with probabilities p: 1 - sum_q w_q (1 - p_q)^k, shape (...). Claim PASSK-mix."""
    weights = simplex(weights, "weights", low=1)
    p = unit(p, weights, "p")
    if _whole(k, "k") < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return 1 - (weights * (1 - p) ** k).sum(-1)


def _counts(n: int, c: int, k: int) -> tuple[int, int, int]:
    n, c, k = _whole(n, "n"), _whole(c, "c"), _whole(k, "k")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to n = {n}, got {k}")
    if not 0 <= c <= n:
        raise ValueError(f"c must be from 0 to n = {n}, got {c}")
    return n, c, k


def _whole(x: int, name: str) -> int:
    if isinstance(x, bool) or not isinstance(x, int | np.integer):
        raise ValueError(f"{name} must be a whole number, got {x!r}")
    return int(x)
