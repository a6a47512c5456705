"""Policy improvement (Section 3.2): Eqs 1 to 6, the terms T1 and T2, and when T1 dominates.

"Tabular" functions are closed forms of the tabular-orthonormal model (Lemma 1's assumptions with C = 1; for another C
multiply by it). Throughout, p = J, S are the right and F the wrong trajectories, S2 = sum_l pi_l^2 with its parts
S2_S and S2_F.
"""

from __future__ import annotations

from theory.inputs import Array, Numbers, index, rewards, simplex
from theory.policies import Policy


def t1(policy: Policy, r: Numbers, j: int) -> Array:
    """T1 of Eq 6 for sample j at weight w = 1: pi_j |s_j|^2 r_j, shape (...). Claim E6."""
    j = index(j, policy.probs)
    s = policy.scores[..., j, :]
    return policy.probs[..., j] * (s * s).sum(-1) * rewards(r, policy.probs)[..., j]


def t2(policy: Policy, r: Numbers, j: int) -> Array:
    """T2 of Eq 6 for sample j at weight w = 1: sum over l != j of pi_l r_l <s_j, s_l>, shape (...). Claim E6."""
    j = index(j, policy.probs)
    others = policy.probs * rewards(r, policy.probs)
    inner = (policy.scores * policy.scores[..., j, None, :]).sum(-1)
    return (others * inner).sum(-1) - others[..., j] * inner[..., j]


def tabular_t1(pi: Numbers, r: Numbers, j: int) -> Array:
    """T1 in closed form, tabular: r_j pi_j (1 - 2 pi_j + S2). Claim E6."""
    pi = simplex(pi)
    j = index(j, pi)
    return rewards(r, pi)[..., j] * pi[..., j] * (1 - 2 * pi[..., j] + (pi * pi).sum(-1))


def tabular_gain(pi: Numbers, r: Numbers, j: int) -> Array:
    """<grad J, s_j> = pi_j (r_j - p) - (1 - p) S2_S + p S2_F, tabular, rewards 0 or 1. Claim E6."""
    pi = simplex(pi)
    r, j = rewards(r, pi), index(j, pi)
    p = (pi * r).sum(-1)
    right, wrong = (pi * pi * r).sum(-1), (pi * pi * (1 - r)).sum(-1)
    return pi[..., j] * (r[..., j] - p) - (1 - p) * right + p * wrong
