"""Domains: how the tests draw instances. Exact ones from `pick(low, high)`, float ones in batches from NumPy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from theory.evidence import Pick
from theory.inputs import Array

Point = tuple[Fraction, ...]


def point(pick: Pick, low: int = 2, high: int = 6, weight: int = 60) -> Point:
    """Probabilities from whole weights 1 to `weight`: all positive, `low` to `high` of them."""
    w = [pick(1, weight) for _ in range(pick(low, high))]
    return tuple(Fraction(x, sum(w)) for x in w)


def bits(pick: Pick, n: int) -> tuple[int, ...]:
    """`n` rewards, each 0 or 1."""
    return tuple(pick(0, 1) for _ in range(n))


def twelfths(pick: Pick, n: int) -> Point:
    """`n` probabilities of the right answer, X_c in {0, 1/12, ..., 1}."""
    return tuple(Fraction(pick(0, 12), 12) for _ in range(n))


def gradients(pick: Pick, n: int, d: int = 3) -> tuple[tuple[Fraction, ...], ...]:
    """Any logit gradients: small whole numbers, shape (n, d)."""
    return tuple(tuple(Fraction(pick(-3, 3)) for _ in range(d)) for _ in range(n))


def points(n: int, length: int, seed: int = 0, spread: float = 3.0) -> Array:
    """`n` float64 distributions, shape (n, length): softmax of normal logits with standard deviation `spread`."""
    z = np.random.default_rng(seed).normal(0, spread, (n, length))
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
