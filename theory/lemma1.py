"""Lemma 1: the cross term <s_j, s_k> of two trajectories, and how it moves with pi_j.

Lemma 1's assumptions with C = 1 (for another C multiply by it): F = S2 - pi_j - pi_k, S2 = sum_l pi_l^2; the paper's j'
is k here. Probabilities sum to 1, so pi_j grows only while others shrink: `donors`, a distribution over the others,
says which ones. dF/dpi_j is the derivative along e_j - donors, and whether the lemma is true depends on the donors.

Throughout, rho_l = pi_l / (1 - pi_j) is the law of the others, rho_k the share of k, m = sum_{l != j} rho_l^2.
"""

from __future__ import annotations

import numpy as np

from theory.inputs import Array, Numbers, index, like, pair, simplex
from theory.policies import eye


def cross_term(pi: Numbers, j: int, k: int) -> Array:
    """F = <s_j, s_k> = S2 - pi_j - pi_k, shape (...). Claim L1-alg."""
    pi = simplex(pi)
    j, k = pair(j, k, pi)
    return (pi * pi).sum(-1) - pi[..., j] - pi[..., k]


def derivative(pi: Numbers, j: int, k: int, donors: Numbers) -> Array:
    """dF/dpi_j = 2 pi_j - 1 - 2 <donors, pi> + donors_k along e_j - donors, shape (...). Claim L1-master.

    `donors` (..., L): at least 0, 0 at j, their sum 1.
    """
    pi = simplex(pi)
    j, k = pair(j, k, pi)
    d = simplex(like(donors, pi, "donors"), "donors")
    if d.shape[-1] != pi.shape[-1]:
        raise ValueError(f"donors needs one share for each of the {pi.shape[-1]} trajectories, got {d.shape[-1]}")
    if np.any(d[..., j] != 0):
        raise ValueError("donors must be 0 at j: a trajectory takes nothing from itself")
    return 2 * pi[..., j] - 1 - 2 * (d * pi).sum(-1) + d[..., k]


def donors_proportional(pi: Numbers, j: int) -> Array:
    """donors_l = rho_l: what happens when only the logit z_j moves, shape (..., L). Claim L1-b."""
    pi = simplex(pi)
    return _law(pi, index(j, pi))


def donors_equal(pi: Numbers, j: int) -> Array:
    """donors_l = 1 / (L - 1): the same amount from every other trajectory, shape (..., L). Claim L1-e."""
    pi = simplex(pi)
    j = index(j, pi)
    return _without(pi * 0 + 1, j) / (pi.shape[-1] - 1)


def donors_single(pi: Numbers, j: int, donor: int) -> Array:
    """All from one other trajectory, shape (..., L). Claims L1-c and L1-c2."""
    pi = simplex(pi)
    j, donor = pair(j, donor, pi, ("j", "donor"))
    return pi * 0 + eye(pi.shape[-1], pi)[donor]


def threshold(pi: Numbers, j: int, k: int) -> Array:
    """tau = (1 + 2m - rho_k) / (2 (1 + m)), shape (...): when z_j moves, F falls with pi_j if pi_j < tau.

    It depends only on the law of the others, not on pi_j. Claims L1-b and L1-band.
    """
    m, rho_k = _others(pi, j, k)
    return (1 + 2 * m - rho_k) / (2 * (1 + m))


def limit(pi: Numbers, j: int, k: int) -> Array:
    """The limit of F as z_j falls without bound: m - rho_k, shape (...). Claim L1-lim."""
    m, rho_k = _others(pi, j, k)
    return m - rho_k


def sft_derivative(pi: Numbers, j: int, k: int) -> Array:
    """dF/deta on a step z + eta (e_j - pi), gradient ascent on log pi_j, at eta = 0, shape (...). Claim L1-d.

    pi_j grows on such a step, so F falls with pi_j where this is negative. With S3 = sum_l pi_l^3 it is
    2 (pi_j^2 - S3 - pi_j S2 + S2^2) - pi_j (1 - 2 pi_j + S2) - pi_k F.
    """
    pi = simplex(pi)
    j, k = pair(j, k, pi)
    x, y, s2, s3 = pi[..., j], pi[..., k], (pi * pi).sum(-1), (pi * pi * pi).sum(-1)
    return 2 * (x * x - s3 - x * s2 + s2 * s2) - x * (1 - 2 * x + s2) - y * (s2 - x - y)


def _without(x: Array, j: int) -> Array:
    out = x.copy()
    out[..., j] = x[..., j] * 0
    return out


def _law(pi: Array, j: int) -> Array:
    left = 1 - pi[..., j : j + 1]
    if np.any(left <= 0):
        raise ValueError("pi must leave something for the trajectories beside j")
    return _without(pi, j) / left


def _others(pi: Numbers, j: int, k: int) -> tuple[Array, Array]:
    pi = simplex(pi)
    j, k = pair(j, k, pi)
    rho = _law(pi, j)
    return (rho * rho).sum(-1), rho[..., k]
