"""The natural gradient (beyond the paper, Section 3.2): what a step with one sample gains, and how far it goes.

A policy may pool several questions: its probabilities are then P(q) pi(c, a|q), and its scores are those of
log pi(c, a|q) in shared parameters.
"""

from __future__ import annotations

import numpy as np

from theory.inputs import Array, Numbers, array, index, is_exact
from theory.policies import Policy, eye

# Singular values of a float matrix below this share of the largest are rounding.
RELATIVE_ZERO = 1e-10


def fisher(policy: Policy) -> Array:
    """The Fisher matrix, the sum over l of pi_l s_l s_l^T, shape (..., d, d). Claim NAT-fit."""
    s = policy.scores
    return np.matmul(np.swapaxes(s * policy.probs[..., None], -1, -2), s)


def natural_gain(policy: Policy, r: Numbers, j: int) -> Array:
    """<grad J, Fisher+ s_j>: the rate at which J grows on a natural-gradient step with sample j, shape (...).

    Claims NAT-fit, NAT-table.

    Raises:
        ValueError: for a sample of probability 0, about which the Fisher matrix says nothing.
    """
    return (policy.gradient(r) * _step(policy, j)).sum(-1)


def natural_length(policy: Policy, j: int) -> Array:
    """<s_j, Fisher+ s_j>: a step of size eta moves the policy by eta^2 / 2 times this in KL, to second order.

    Shape (...). Claim NAT-kl.

    Raises:
        ValueError: for a sample of probability 0.
    """
    return (_step(policy, j) * policy.scores[..., j, :]).sum(-1)


def pseudo_inverse(matrix: Numbers) -> Array:
    """The Moore-Penrose inverse, in kind: (..., n, m) of (..., m, n). Claim NAT-fit."""
    held = array(matrix, "matrix")
    if held.ndim < 2:
        raise ValueError("matrix needs two axes")
    if not is_exact(held):
        return np.linalg.pinv(held, rcond=RELATIVE_ZERO)
    shape = held.shape
    inverses = [_pseudo_inverse(m) for m in held.reshape(-1, *shape[-2:])]
    return np.stack(inverses).reshape(*shape[:-2], shape[-1], shape[-2])


def _step(policy: Policy, j: int) -> Array:
    j = index(j, policy.probs)
    if (policy.probs[..., j] <= 0).any():
        raise ValueError("policy must give sample j a positive probability")
    return np.matmul(pseudo_inverse(fisher(policy)), policy.scores[..., j, :, None])[..., 0]


def _pseudo_inverse(m: Array) -> Array:
    """By m = left right, both of full rank: right^T (right right^T)^-1 (left^T left)^-1 left^T."""
    rows, pivots = _reduced(m)
    if not pivots:
        # All of it is 0.
        return m.T
    left, right = m[:, pivots], rows[: len(pivots)]
    return right.T @ _inverse(right @ right.T) @ _inverse(left.T @ left) @ left.T


def _inverse(m: Array) -> Array:
    return _reduced(np.concatenate([m, eye(len(m), m)], axis=1))[0][:, len(m) :]


def _reduced(m: Array) -> tuple[Array, list[int]]:
    """The reduced row echelon form, by Gauss and Jordan, and the columns of its pivots."""
    rows = m.copy()
    pivots: list[int] = []
    for column in range(rows.shape[1]):
        at = len(pivots)
        found = [i for i in range(at, len(rows)) if rows[i, column] != 0]
        if not found:
            continue
        rows[[at, found[0]]] = rows[[found[0], at]]
        rows[at] = rows[at] / rows[at, column]
        for i in range(len(rows)):
            if i != at:
                rows[i] = rows[i] - rows[i, column] * rows[at]
        pivots.append(column)
    return rows, pivots
