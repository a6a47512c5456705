"""Policy improvement (Section 3.2): Eqs 1 to 6, the terms T1 and T2, the error of Eq 2, and token-level policies.

"Tabular" functions are closed forms of the tabular-orthonormal model (Lemma 1's assumptions with C = 1; for another C
multiply by it). Throughout, p = J, S are the right and F the wrong trajectories, S2 = sum_l pi_l^2 with its parts
S2_S and S2_F; for rewards between 0 and 1 these parts are sum_l pi_l^2 r_l and sum_l pi_l^2 (1 - r_l).

Probabilities of 0 are allowed: the closed forms are polynomials, so their value there is the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from theory.inputs import Array, Numbers, array, index, like, rewards, simplex
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
    """T1 in closed form, tabular: r_j pi_j (1 - 2 pi_j + S2), shape (...). Claim E6."""
    return _terms(*_sums(pi, r, j))[0]


def tabular_t2(pi: Numbers, r: Numbers, j: int) -> Array:
    """T2 in closed form, tabular: (p - r_j pi_j)(S2 - pi_j) - S2_S + r_j pi_j^2, shape (...). Claim E6."""
    return _terms(*_sums(pi, r, j))[1]


def tabular_gain(pi: Numbers, r: Numbers, j: int) -> Array:
    """<grad J, s_j> = pi_j (r_j - p) - (1 - p) S2_S + p S2_F, tabular, shape (...). Claim E6."""
    mass, reward, p, right, wrong = _sums(pi, r, j)
    return mass * (reward - p) - (1 - p) * right + p * wrong


def from_sums(mass: Fraction, reward: int, p: Fraction, right: Fraction, wrong: Fraction) -> tuple[Fraction, Fraction]:
    """(T1, T2), tabular, of a sample known by its probability `mass`, its reward 0 or 1, p, S2_S and S2_F.

    For policies over too many trajectories to list. Exact numbers only: at this scale T1 and T2 differ by more powers
    of ten than a float holds digits. Claims E6, E6-llm, E6-sqrt.

    Raises:
        ValueError: for a float, or for sums that no policy has.
    """
    for name, x in {"mass": mass, "p": p, "right": right, "wrong": wrong}.items():
        if not isinstance(x, Fraction | int):
            raise ValueError(f"{name} must be exact, got {x!r}")
    if reward not in (0, 1):
        raise ValueError(f"reward must be 0 or 1, got {reward}")
    own, other = (p, 1 - p) if reward else (1 - p, p)
    square, rest = (right, wrong) if reward else (wrong, right)
    if not (0 <= mass <= own and other >= 0):
        raise ValueError("mass must lie between 0 and the probability of all samples with its reward, p or 1 - p")
    # Squares of the others add up to at most the square of their sum.
    if not (mass**2 <= square <= mass**2 + (own - mass) ** 2 and 0 <= rest <= other**2):
        raise ValueError("right and wrong must be sums of squares that a policy with this mass and p can have")
    return _terms(mass, reward, p, right, wrong)


def _sums(pi: Numbers, r: Numbers, j: int) -> tuple[Array, Array, Array, Array, Array]:
    pi = simplex(pi)
    r, j = rewards(r, pi), index(j, pi)
    return pi[..., j], r[..., j], (pi * r).sum(-1), (pi * pi * r).sum(-1), (pi * pi * (1 - r)).sum(-1)


def _terms(mass: Any, reward: Any, p: Any, right: Any, wrong: Any) -> tuple[Any, Any]:
    square = right + wrong
    first = reward * mass * (1 - 2 * mass + square)
    return first, (p - reward * mass) * (square - mass) - right + reward * mass * mass


def second_derivative(pi: Numbers, r: Numbers, v: Numbers) -> Array:
    """d^2 J / d eta^2 for logits z + eta v, at eta = 0: Cov_pi(r, (v - mean v)^2), shape (...). Claim E2-rem."""
    pi = simplex(pi)
    r, v = rewards(r, pi), like(v, pi, "v")
    if v.shape[-1:] != pi.shape[-1:]:
        raise ValueError(f"v needs one number for each of the {pi.shape[-1]} trajectories, got {v.shape[-1:]}")
    square = (v - (pi * v).sum(-1, keepdims=True)) ** 2
    return (pi * r * square).sum(-1) - (pi * r).sum(-1) * (pi * square).sum(-1)


def remainder_bound(v: Numbers) -> Array:
    """What the first-order change of J cannot miss on a logit step v: R^2 / (12 sqrt 3), R = max v - min v, float64.

    The same holds for every single probability. Shape (...). Claims E2-rem, B-expansion.
    """
    x = array(v, "v").astype(np.float64)
    if x.ndim == 0:
        raise ValueError("v needs one number for each trajectory")
    return (x.max(-1) - x.min(-1)) ** 2 / (12 * np.sqrt(3))


def tree_gain(probs: Numbers, q: Numbers, tokens: Sequence[int]) -> Array:
    """<grad J, s> for a sequence of T tokens under a table of next-token probabilities per prefix. Claim tree.

    `probs` (T, V) are the probabilities of the next token along the sequence, `q` (T, V) the expected rewards once that
    token is written. The gain is sum_t d_t [pi_a (q_a - V_t) - sum_u pi_u^2 (q_u - V_t)]: a is the token at t, d_t the
    probability of the prefix before it, V_t = sum_u pi_u q_u.
    """
    p = _path(probs, tokens)
    q = rewards(q, p, "q")
    reach, total = p[0, 0] * 0 + 1, p[0, 0] * 0
    for t, token in enumerate(tokens):
        total = total + reach * tabular_gain(p[t], q[t], token)
        reach = reach * p[t, token]
    return total


def tree_inner(probs: Numbers, tokens: Sequence[int], other: Sequence[int]) -> Array:
    """<s, s'> of two sequences of T tokens, tables as for `tree_gain`; `probs` (T, V) along the first. Claim tree.

    A shared token adds 1 - 2 pi_a + S2, and the first that differs adds S2 - pi_a - pi_b. After it the tables are
    different, and nothing is added.
    """
    p = _path(probs, tokens)
    total = p[0, 0] * 0
    if len(other) != len(tokens):
        raise ValueError(f"other needs as many tokens as tokens, {len(tokens)}, got {len(other)}")
    for t, (a, b) in enumerate(zip(tokens, other, strict=True)):
        b = index(b, p[t], "other")
        total = total + int(a == b) - p[t, a] - p[t, b] + (p[t] * p[t]).sum()
        if a != b:
            break
    return total


def _path(probs: Numbers, tokens: Sequence[int]) -> Array:
    p = simplex(probs, "probs")
    if p.ndim != 2 or len(p) != len(tokens):
        raise ValueError(f"probs needs one row for each of the {len(tokens)} tokens, got shape {p.shape}")
    for token in tokens:
        index(token, p, "tokens")
    return p
