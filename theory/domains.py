"""Domains: how the tests draw instances. Exact ones from `pick(low, high)`, float ones in batches from NumPy.

Many entries, zeros and ties are rare among small random numbers, so they are drawn by plan: one draw in eight is such a
corner. The other draws are plain, and so is hypothesis' search for a small instance, which prefers low numbers.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from theory.evidence import Pick
from theory.inputs import Array

Point = tuple[Fraction, ...]
# One draw in so many is a corner; there an instance has up to so many entries.
RARE, MANY = 8, 12


def corner(pick: Pick) -> bool:
    """Whether this draw is a corner."""
    return pick(1, RARE) == RARE


def size(pick: Pick, low: int, high: int, most: int = MANY) -> int:
    """A size from `low` to `high`; in a corner from there on, to `most`."""
    return pick(high + 1, most) if corner(pick) else pick(low, high)


def point(pick: Pick, low: int = 2, high: int = 6, weight: int = 60) -> Point:
    """Probabilities from whole weights 1 to `weight`: all positive, `low` to `high` of them."""
    w = [pick(1, weight) for _ in range(pick(low, high))]
    return tuple(Fraction(x, sum(w)) for x in w)


def wide(pick: Pick, low: int = 2, high: int = 6, weight: int = 60, *, zeros: bool = False) -> Point:
    """As `point`; in corners up to a dozen, some of them equal, or (if `zeros`) some of them 0."""
    w = [pick(1, weight) for _ in range(size(pick, low, high))]
    if corner(pick):
        w = [w[pick(0, i)] for i in range(len(w))]
    if zeros and corner(pick):
        kept = pick(0, len(w) - 1)
        w = [x if i == kept else x * pick(0, 1) for i, x in enumerate(w)]
    return tuple(Fraction(x, sum(w)) for x in w)


def bits(pick: Pick, n: int) -> tuple[int, ...]:
    """`n` rewards, each 0 or 1."""
    return tuple(pick(0, 1) for _ in range(n))


def twelfths(pick: Pick, n: int) -> Point:
    """`n` probabilities of the right answer, X_c in {0, 1/12, ..., 1}; in corners two values alone."""
    two = (pick(0, 12), pick(0, 12)) if corner(pick) else None
    return tuple(Fraction(two[pick(0, 1)] if two else pick(0, 12), 12) for _ in range(n))


def gradients(pick: Pick, n: int, d: int = 3) -> tuple[tuple[Fraction, ...], ...]:
    """Any logit gradients: small whole numbers, shape (n, d)."""
    return tuple(tuple(Fraction(pick(-3, 3)) for _ in range(d)) for _ in range(n))


def points(n: int, length: int, seed: int = 0, spread: float = 3.0) -> Array:
    """`n` float64 distributions, shape (n, length): softmax of normal logits with standard deviation `spread`."""
    z = np.random.default_rng(seed).normal(0, spread, (n, length))
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
