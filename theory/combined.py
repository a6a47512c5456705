"""ExP-GRPO's two terms together (beyond the paper, line 253): which of them is larger, and whether J rises.

At theta_old, and for self-explanations drawn by Bayes' rule, both are multiples of grad J of their question. lambda is
the weight of the boxed term, which is 1 in the paper. J is that of the question, the probability that a sample is
right. On questions with a J above `reach` the GRPO part is larger.
"""

from __future__ import annotations

import numpy as np

from theory import grpo
from theory.inputs import Array, Numbers, Scalars, array, beside
from theory.policies import Policy

# Halvings of [0, 1], to below the rounding of a float.
HALVINGS = 60


def reach(ratio: Numbers | Scalars, G: int, ddof: int = 0) -> Array:
    """The J at which w_G(J) / |o| = lambda / J, float64, for the ratio lambda |o|, shape of it. Claim GRPO-reach.

    1 where the boxed term weighs more at every J. For samples of one length |o|, advantages over the group's standard
    deviation with `ddof`, eps = 0.
    """
    ratio = _ratio(ratio).astype(np.float64)
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 or 1, got {ddof}")
    low, high = np.zeros_like(ratio), np.ones_like(ratio)
    for _ in range(HALVINGS):
        J = (low + high) / 2
        below = J * grpo.weight(J, G) * np.sqrt((G - 1) / G if ddof else 1) < ratio
        low, high = np.where(below, J, low), np.where(below, high, J)
    return high


def reach_unscaled(ratio: Numbers | Scalars, G: int) -> Array:
    """The J at which (G-1) / (G T_max) = lambda / J, in kind, for the ratio lambda T_max, at most 1.

    This is for Dr. GRPO: advantages are not divided by a standard deviation, and sums over tokens are divided by one
    number T_max, whatever the lengths. Claim GRPO-unscaled.
    """
    ratio = _ratio(ratio)
    if isinstance(G, bool) or not isinstance(G, int | np.integer) or G < 2:
        raise ValueError(f"G must be a whole number from 2 on, got {G!r}")
    return np.minimum(ratio * int(G) / (int(G) - 1), ratio * 0 + 1)


def least_share(policy: Policy, r: Numbers, mu: Numbers) -> Array:
    """The least w for which J does not fall, to first order, on w grad J + E_mu s, shape (...). Claim ADDED-ascent.

    max(0, -<grad J, E_mu s> / |grad J|^2). With a GRPO part of w grad J, a boxed term of weight lambda is safe up to
    lambda = w over this value, and at any weight if the value is 0.

    Raises:
        ValueError: for a gradient of 0, since then J rises for no w.
    """
    gradient, mu = policy.gradient(r), beside(mu, policy.probs, "mu")
    square = (gradient * gradient).sum(-1)
    if np.any(square == 0):
        raise ValueError("r needs a gradient: J does not move, whatever the share")
    rate = (gradient * (mu[..., None] * policy.scores).sum(-2)).sum(-1)
    return np.maximum(-rate / square, 0 * square)


def _ratio(ratio: Numbers | Scalars) -> Array:
    held = array(ratio, "ratio")
    if (held <= 0).any():
        raise ValueError("ratio must be greater than 0")
    return held
