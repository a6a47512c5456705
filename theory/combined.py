"""ExP-GRPO's two terms together (beyond the paper, line 253): up to which p the boxed term outweighs the GRPO part.

At theta_old, for self-explanations as Bayes' rule draws them, both are multiples of grad J of their question. lambda is
the weight of the boxed term, 1 in print; p is how often a sample is right. Past p the GRPO part weighs more.
"""

from __future__ import annotations

import numpy as np

from theory import grpo
from theory.inputs import Array, Numbers, Scalars, array

# Halvings of [0, 1], to below the rounding of a float.
HALVINGS = 60


def reach(ratio: Numbers | Scalars, G: int, ddof: int = 0) -> Array:
    """The p at which w_G(p) / |o| = lambda / p, float64, for the ratio lambda |o|, shape of it. Claim GRPO-reach.

    1 where the boxed term weighs more at every p. For samples of one length |o|, advantages over the group's standard
    deviation with `ddof`, eps = 0.
    """
    ratio = _ratio(ratio).astype(np.float64)
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 or 1, got {ddof}")
    low, high = np.zeros_like(ratio), np.ones_like(ratio)
    for _ in range(HALVINGS):
        p = (low + high) / 2
        below = p * grpo.weight(p, G) * np.sqrt((G - 1) / G if ddof else 1) < ratio
        low, high = np.where(below, p, low), np.where(below, high, p)
    return high


def reach_unscaled(ratio: Numbers | Scalars, G: int) -> Array:
    """The p at which (G-1) / (G M) = lambda / p, in kind, for the ratio lambda M, at most 1. Claim GRPO-unscaled.

    Of Dr. GRPO: advantages that are not divided by a standard deviation, sums over tokens divided by one number M,
    whatever the lengths.
    """
    ratio = _ratio(ratio)
    if isinstance(G, bool) or not isinstance(G, int | np.integer) or G < 2:
        raise ValueError(f"G must be a whole number from 2 on, got {G!r}")
    return np.minimum(ratio * int(G) / (int(G) - 1), ratio * 0 + 1)


def _ratio(ratio: Numbers | Scalars) -> Array:
    held = array(ratio, "ratio")
    if (held <= 0).any():
        raise ValueError("ratio must be greater than 0")
    return held
