"""Probability shifts (Appendix B): what a push on logits, or a gradient step, does to all probabilities of a softmax.

A push moves chosen logits by fixed amounts, alpha = e^Delta_up and beta = e^-Delta_down; factors of e^z make every
statement rational. A gradient step on log pi_i moves all logits along the score e_i - pi (tabular logits). Throughout,
S2 = sum_l pi_l^2; along a direction v of the logits, c_l = v_l - sum_m pi_m v_m and Var is the variance of v under pi.
"""

from __future__ import annotations

import numpy as np

from theory.inputs import Array, Numbers, Scalars, array, column, index, like, pushed, simplex, together
from theory.policies import eye


def stepped(pi: Numbers, factors: Numbers) -> Array:
    """Probabilities after every e^z_l is multiplied by its factor, shape (..., n). Claim P2*."""
    pi = simplex(pi)
    f = like(factors, pi, "factors")
    if f.shape[-1:] != pi.shape[-1:]:
        raise ValueError(f"factors needs one for each of the {pi.shape[-1]} probabilities, got {f.shape[-1:]}")
    if np.any(f <= 0):
        raise ValueError("factors must be greater than 0")
    scaled = pi * f
    return scaled / column(scaled.sum(-1))


def ratio(pi: Numbers, i: int, alpha: Scalars, j: int, beta: Scalars) -> Array:
    """Z'/Z = 1 + (alpha - 1) pi_i - (1 - beta) pi_j of Appendix B, shape (...). Claim B0."""
    pi, i, j, up, down = pushed(pi, i, alpha, j, beta)
    return 1 + (up - 1) * pi[..., i] - (1 - down) * pi[..., j]


def push(pi: Numbers, i: int, alpha: Scalars, j: int, beta: Scalars) -> Array:
    """Changes of all probabilities as z_i rises by log alpha and z_j falls by -log beta, shape (..., n). Claim B0.

    alpha = 1 or beta = 1 leaves that logit where it is: the effect of the other push alone.
    """
    pi, i, j, up, down = pushed(pi, i, alpha, j, beta)
    unit = eye(pi.shape[-1], pi)
    factors = 1 + column(up - 1) * unit[i] - column(1 - down) * unit[j]
    return pi * (factors / column(ratio(pi, i, alpha, j, beta)) - 1)


def gradient_step(pi: Numbers, i: int) -> Array:
    """First-order changes of all probabilities in a step on log pi_i, per learning rate, shape (..., n). Claim B3.

    Tabular: d pi_k = pi_k (1[k = i] - pi_i - pi_k + S2). A step with weight w has w times these.
    """
    pi = simplex(pi)
    i = index(i, pi, "i")
    s2 = (pi * pi).sum(-1)
    return pi * (eye(pi.shape[-1], pi)[i] - pi + column(s2 - pi[..., i]))


def first_order(pi: Numbers, v: Numbers) -> Array:
    """First derivative of all probabilities along the direction v of the logits, pi_l c_l, shape (..., n).

    Claim B-expansion.
    """
    pi, _, c = _centred(pi, v)
    return pi * c


def second_order(pi: Numbers, v: Numbers) -> Array:
    """Second derivative of all probabilities along v, pi_l (c_l^2 - Var), shape (..., n). Claim B-expansion."""
    pi, variance, c = _centred(pi, v)
    return pi * (c * c - variance)


def _centred(pi: Numbers, v: Numbers) -> tuple[Array, Array, Array]:
    pi, v = simplex(pi), array(v, "v")
    together(pi=pi, v=v)
    if v.shape[-1:] != pi.shape[-1:]:
        raise ValueError(f"v needs one entry for each of the {pi.shape[-1]} probabilities, got {v.shape[-1:]}")
    c = v - column((pi * v).sum(-1))
    return pi, column((pi * c * c).sum(-1)), c
