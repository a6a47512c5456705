"""GRPO with rewards 0 or 1 (Section 5.2): advantages, groups without a signal, the weight of a question, clipping."""

from __future__ import annotations

from fractions import Fraction
from math import comb
from numbers import Real

import numpy as np

from theory.inputs import Array, Numbers, Scalars, array, is_exact, like, probability


def advantages(rewards: Numbers, eps: float = 0.0, ddof: int = 0) -> Array:
    """(r - mean) / (std + eps) within the group on the last axis, float64, shape (..., G). Claims G0, G-advantage.

    Raises:
        ValueError: for a group of one; for eps = 0 where all rewards of a group are equal, which would be 0/0.
    """
    r = array(rewards, "rewards").astype(np.float64)
    if r.ndim == 0 or r.shape[-1] < 2:
        raise ValueError("rewards needs a group of at least 2 on its last axis")
    if not isinstance(eps, Real) or not 0 <= eps < float("inf"):
        raise ValueError(f"eps must be one finite number from 0 on, got {eps!r}")
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 or 1, got {ddof}")
    same = (r == r[..., :1]).all(-1)
    if eps == 0 and same.any():
        raise ValueError("eps must be positive where all rewards of a group are equal")
    # A mean of equal rewards may be off by a rounding; no signal means exactly none.
    centred = np.where(same[..., None], 0, r - r.mean(-1, keepdims=True))
    return centred / (r.std(-1, keepdims=True, ddof=ddof) + eps)


def no_signal(p: Numbers | Scalars, G: int) -> Array:
    """p^G + (1-p)^G: how likely G samples, each right with probability p, have equal rewards. Claim G-signal."""
    p, G = probability(p), _group(G)
    return p**G + (1 - p) ** G


def weight_terms(p: Numbers | Scalars, G: int) -> Array:
    """C(G, K) p^(K-1) (1-p)^(G-K-1) / G for K = 1..G-1, shape (..., G-1): rational part of `weight`. Claim G-weight.

    Given K right samples in a group, and times how likely that is, the mean GRPO gradient is sqrt(K (G-K)) times this
    times grad J / |o|. In float64 for G up to 1000: binomials overflow beyond.
    """
    p, G = probability(p), _group(G)
    if G > 1000 and not is_exact(p):
        raise ValueError(f"G must be at most 1000 beside float p, got {G}: its binomials overflow")
    # A whole number beyond 64 bits has no product with a float array.
    groups = [Fraction(comb(G, K), G) if is_exact(p) else comb(G, K) / G for K in range(1, G)]
    return np.stack([n * p ** (K - 1) * (1 - p) ** (G - K - 1) for K, n in enumerate(groups, start=1)], axis=-1)


def weight(p: Numbers | Scalars, G: int) -> Array:
    """w_G(p), float64: the mean GRPO gradient at theta_old is w_G(p) / |o| times grad J. Claim G-weight.

    For samples of one length |o|, eps = 0 and ddof = 0. E sqrt(p_G (1-p_G)) / (p (1-p)) for p_G = K / G, K ~ Bin(G, p);
    its limit is sqrt(G-1) at p = 0 and p = 1.
    """
    K = np.arange(1, _group(G))
    return (weight_terms(p, G).astype(np.float64) * np.sqrt(K * (G - K))).sum(-1)


def surrogate(ratio: Numbers | Scalars, advantage: Numbers | Scalars, eps: Scalars) -> Array:
    """min(ratio A, clip(ratio, 1-eps, 1+eps) A) of one token, in kind, shape of the arguments. Claim clip."""
    x, A, e = _clipping(ratio, advantage, eps)
    return np.minimum(x * A, np.clip(x, 1 - e, 1 + e) * A)


def slope(ratio: Numbers | Scalars, advantage: Numbers | Scalars, eps: Scalars) -> Array:
    """The derivative of `surrogate` in the ratio: the advantage, or 0 for a clipped token. Claim clip.

    At the two kinks, where there is none, the advantage.
    """
    x, A, e = _clipping(ratio, advantage, eps)
    clipped = ((A > 0) & (x > 1 + e)) | ((A < 0) & (x < 1 - e))
    return np.where(clipped, A - A, A)


def _clipping(ratio: Numbers | Scalars, advantage: Numbers | Scalars, eps: Scalars) -> tuple[Array, Array, Array]:
    x = array(ratio, "ratio")
    A, e = like(advantage, x, "advantage"), like(eps, x, "eps")
    if (x <= 0).any():
        raise ValueError("ratio must be greater than 0")
    if ((e <= 0) | (e >= 1)).any():
        raise ValueError("eps must lie between 0 and 1")
    return x, A, e


def _group(G: int) -> int:
    if isinstance(G, bool) or not isinstance(G, int | np.integer) or G < 2:
        raise ValueError(f"G must be a whole number from 2 on, got {G!r}")
    return int(G)
