"""Properties 1 and 2 (Sections 3.2 and 3.3): what different ways of preferring one CoT to another do to J.

`prior` is pi(c|q), `x` is X_c = pi(a*|q, c), both (..., n); J = sum_c pi_c X_c. CoT i is the preferred one, CoT j the
other.
"""

from __future__ import annotations

import numpy as np

from theory.inputs import Array, Numbers, Scalars, array, column, index, like, pair, pushed, simplex, unit
from theory.policies import eye, factorised
from theory.shifts import ratio


def transfer(prior: Numbers, i: int, j: int, amount: Scalars) -> Array:
    """The CoT probabilities after `amount` has moved from CoT j to CoT i, shape (..., n). Claim P2-inc.

    J changes by amount (X_i - X_j).
    """
    pi = simplex(prior, "prior")
    i, j = pair(i, j, pi, ("i", "j"))
    delta = like(amount, pi, "amount")
    if np.any(delta < 0) or np.any(delta > pi[..., j]):
        raise ValueError("amount must lie between 0 and the probability of CoT j")
    rows = eye(pi.shape[-1], pi)
    return pi + column(delta) * (rows[i] - rows[j])


def uneven(prior: Numbers, i: int, up: Scalars, j: int, down: Scalars) -> Array:
    """The CoT probabilities after i gained `up` and j lost `down`, the others sharing the difference, shape (..., n).

    The others keep their proportions. Claim P2-inc-amounts.
    """
    pi = simplex(prior, "prior", low=3)
    i, j = pair(i, j, pi, ("i", "j"))
    gained, lost = like(up, pi, "up"), like(down, pi, "down")
    rows = eye(pi.shape[-1], pi)
    others = pi * (1 - rows[i] - rows[j])
    mass = others.sum(-1)
    if np.any(gained < 0):
        raise ValueError("up must not be negative")
    if np.any(lost < 0) or np.any(lost > pi[..., j]):
        raise ValueError("down must lie between 0 and the probability of CoT j")
    if np.any(mass == 0) or np.any(gained - lost > mass):
        raise ValueError("up - down must not exceed the probability of the other CoTs, which must be positive")
    share = others / column(mass)
    return pi + column(gained) * rows[i] - column(lost) * rows[j] + column(lost - gained) * share


def logit_gain(prior: Numbers, x: Numbers, i: int, alpha: Scalars, j: int, beta: Scalars) -> Array:
    """Change of J as the logit of CoT i rises by log alpha and that of j falls by -log beta, shape (...).

    [(alpha - 1) pi_i (X_i - J) + (1 - beta) pi_j (J - X_j)] Z/Z'. Claim P2-inc-logits.
    """
    pi = simplex(prior, "prior")
    x, (pi, i, j, up, down) = unit(x, pi, "x"), pushed(pi, i, alpha, j, beta)
    value = (pi * x).sum(-1)
    gain = (up - 1) * pi[..., i] * (x[..., i] - value) + (1 - down) * pi[..., j] * (value - x[..., j])
    return gain / ratio(pi, i, alpha, j, beta)


def pair_rate(prior: Numbers, x: Numbers, i: int, j: int) -> Array:
    """Rate of J on a step with weight +1 on CoT i and -1 on CoT j, their answers left alone, shape (...).

    pi_i (X_i - J) - pi_j (X_j - J), tabular logits. Claim P2-inc-gradient.
    """
    pi = simplex(prior, "prior")
    x = unit(x, pi, "x")
    i, j = pair(i, j, pi, ("i", "j"))
    advantage = x - column((pi * x).sum(-1))
    return pi[..., i] * advantage[..., i] - pi[..., j] * advantage[..., j]


def sample_rates(prior: Numbers, answers: Numbers, c: int, a: int) -> tuple[Array, Array]:
    """Rates of J on a step with sample (c, a) and weight 1: by the CoT's logits and by its answers', each (...).

    pi_c (X_c - J) - sum_k pi_k^2 (X_k - J) and pi_c X_c (1[a = a*] - pi(a|c) - X_c + sum_b pi(b|c)^2). `answers` is
    pi(a|q, c), shape (..., n, m), answer 0 the right one. Claims P2-grad and P2-obv.
    """
    policy = factorised(prior, answers)
    pi, x = policy.prior, policy.x
    c = index(c, pi, "c")
    own = policy.answers[..., c, :]
    a = index(a, own, "a")
    advantage = x - column((pi * x).sum(-1))
    cot = pi[..., c] * advantage[..., c] - (pi * pi * advantage).sum(-1)
    right = array(np.array(int(a == 0))) if own.dtype == object else float(a == 0)
    answer = pi[..., c] * x[..., c] * (right - own[..., a] - x[..., c] + (own * own).sum(-1))
    return cot, answer
