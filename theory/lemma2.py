"""Lemma 2 (Section 4.2): self-explanations against own CoTs, for one question.

`prior` is pi(c|q), `x` is X_c = pi(a*|q, c), both (..., n); J = sum_c pi_c X_c. The paper's proof takes pi(c|q, a*) to
be the Bayes posterior pi_c X_c / J; the method puts a* into the prompt, which gives some distribution mu instead.
"""

from __future__ import annotations

from fractions import Fraction
from numbers import Rational, Real
from typing import Any

import numpy as np

from theory.inputs import Array, Numbers, beside, column, is_exact, simplex, unit

# Halvings of an interval until its ends are neighbouring floats: 53 bits, and some for the interval's own size.
HALVINGS = 60


def posterior(prior: Numbers, x: Numbers) -> Array:
    """CoTs given the right answer, pi_c X_c / J, shape (..., n). Claim L2.

    Raises:
        ValueError: for J = 0, where it is 0/0.
    """
    return iterated(prior, x, 1)


def iterated(prior: Numbers, x: Numbers, times: int) -> Array:
    """The posterior of the posterior and so on, `times` times: in proportion to pi_c X_c^times. Claim L2-iterated."""
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        raise ValueError(f"times must be a whole number from 0, got {times!r}")
    pi, x, _ = _model(prior, x)
    drawable = np.where(pi > 0, x, 0 * x)
    # Dividing by the largest that can be drawn keeps many powers from taking all of them to 0.
    weights = pi * (drawable / column(drawable.max(-1))) ** times
    return weights / column(weights.sum(-1))


def gap(prior: Numbers, x: Numbers) -> Array:
    """How much larger X is on average under the posterior than under the prior: Var(X) / J, shape (...). Claim L2."""
    pi, x, value = _model(prior, x)
    apart = x - column(value)
    return (pi * apart * apart).sum(-1) / value


def gini(prior: Numbers, x: Numbers) -> Array:
    """E|X - X'| / (2 J) for X, X' independent under the prior, shape (...). Claim L2-gini.

    It is how much more often a self-explanation beats an own CoT than it loses to it.
    """
    pi, x, value = _model(prior, x)
    apart = np.abs(x[..., :, None] - x[..., None, :])
    return (pi[..., :, None] * pi[..., None, :] * apart).sum((-2, -1)) / (2 * value)


def tempered(p: Numbers, tau: Any) -> Array:
    """Probabilities at temperature tau, in proportion to p^(1/tau), shape (..., n). Claim L2-T.

    Exact for exact p, where tau must be 1/k for a whole k.
    """
    p = simplex(p, "p")
    if isinstance(tau, bool) or not isinstance(tau, Real) or not 0 < _float(tau) < float("inf"):
        raise ValueError(f"tau must be one finite number greater than 0, got {tau!r}")
    if is_exact(p):
        if not isinstance(tau, Rational) or (1 / Fraction(tau)).denominator != 1:
            raise ValueError(f"tau must be a Fraction 1/k beside exact probabilities, got {tau!r}")
        weights = p ** int(1 / Fraction(tau))
    else:
        # Dividing by the largest first keeps small temperatures from taking all of them to 0.
        weights = (p / column(p.max(-1))) ** (1 / _float(tau))
    return weights / column(weights.sum(-1))


def prompted(prior: Numbers, x: Numbers, mu: Numbers) -> Array:
    """Lemma 2's gap for any sampler mu of self-explanations, E_mu X - J, shape (...). Claim L2-prompt.

    Where mu is 0 wherever the prior is, this is the covariance of mu/pi and X under the prior.
    """
    pi = simplex(prior, "prior")
    mu, x = beside(mu, pi, "mu"), unit(x, pi, "x")
    return ((mu - pi) * x).sum(-1)


def tv(p: Numbers, q: Numbers) -> Array:
    """Total variation, sum_c |p_c - q_c| / 2, shape (...). Claim E7."""
    p = simplex(p, "p")
    return np.abs(p - beside(q, p, "q")).sum(-1) / 2


def kl(p: Numbers, q: Numbers) -> Array:
    """KL(p || q) = sum_c p_c log(p_c / q_c) in nats, float64, shape (...). Claims E7, KLstay.

    Raises:
        ValueError: where q is 0 and p is not.
    """
    p = simplex(p, "p")
    p, q = np.broadcast_arrays(p.astype(np.float64), beside(q, p, "q").astype(np.float64))
    if np.any((q == 0) & (p > 0)):
        raise ValueError("q is 0 where p is not: the divergence is infinite")
    there = p > 0
    return (p * np.log(np.where(there, p, 1) / np.where(there, q, 1))).sum(-1)


def tv_radius(prior: Numbers, x: Numbers) -> Array:
    """A sampler this close to the posterior in total variation keeps Lemma 2: Var(X) / (J R), R = max X - min X.

    Shape (...). Claim L2-radius-tv.
    """
    _, x, _ = _model(prior, x, varied=True)
    return gap(prior, x) / (x.max(-1) - x.min(-1))


def kl_radius(prior: Numbers, x: Numbers) -> Array:
    """A sampler mu with KL(mu || posterior) up to this keeps Lemma 2: 2 (Var(X) / (J R))^2. Claim L2-radius-kl."""
    return 2 * tv_radius(prior, x) ** 2


def nearest_tv(prior: Numbers, x: Numbers) -> Array:
    """The sampler nearest to the posterior in total variation at which Lemma 2's gap is 0, shape (..., n).

    It moves posterior mass from the CoTs with the highest X to one with the lowest. Claim L2-critical.
    """
    pi, x, _ = _model(prior, x, varied=True)
    mu, x = np.broadcast_arrays(posterior(pi, x), x)
    down = np.argsort(-x, axis=-1, kind="stable")
    mass, height = np.take_along_axis(mu, down, -1), np.take_along_axis(x, down, -1)
    height = height - height[..., -1:]
    drop = mass * height
    left = column(gap(pi, x)) - (np.cumsum(drop, axis=-1) - drop)
    zero = 0 * height
    moved = np.minimum(np.maximum(left, zero) / np.where(height > 0, height, zero + 1), mass)
    mass = mass - moved
    mass[..., -1] += moved.sum(-1)
    return np.take_along_axis(mass, np.argsort(down, axis=-1), -1)


def critical_tv(prior: Numbers, x: Numbers) -> Array:
    """The largest total variation from the posterior up to which every sampler keeps Lemma 2, shape (...).

    Claim L2-critical.
    """
    return tv(nearest_tv(prior, x), posterior(prior, x))


def nearest_kl(prior: Numbers, x: Numbers) -> Array:
    """The sampler with the least KL(mu || posterior) at which Lemma 2's gap is 0, shape (..., n); float64 only.

    It is the posterior tilted by e^(-tilt X), where the tilt is found by bisection. Claim L2-radius-kl.

    Raises:
        ValueError: unless all of `prior` and `x` is positive: the posterior's zeros bound what mu may do.
    """
    pi, x, value = _model(prior, x, varied=True)
    if is_exact(pi):
        raise ValueError("prior and x must be float: an exponential is not rational")
    if np.any(pi <= 0) or np.any(x <= 0):
        raise ValueError("prior and x must be positive")
    start = posterior(pi, x)

    def tilted(t: Array) -> Array:
        weights = start * np.exp(-column(t) * (x - x.min(-1, keepdims=True)))
        return weights / weights.sum(-1, keepdims=True)

    low, high = np.zeros_like(value), np.ones_like(value)
    while (above_value := (tilted(high) * x).sum(-1) > value).any():
        high = np.where(above_value, 2 * high, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above_value = (tilted(middle) * x).sum(-1) > value
        low, high = np.where(above_value, middle, low), np.where(above_value, high, middle)
    return tilted(high)


def critical_kl(prior: Numbers, x: Numbers) -> Array:
    """Largest KL(mu || posterior) up to which every sampler mu keeps Lemma 2, shape (...). Claim L2-radius-kl."""
    return kl(nearest_kl(prior, x), posterior(prior, x))


def _model(prior: Numbers, x: Numbers, *, varied: bool = False) -> tuple[Array, Array, Array]:
    pi = simplex(prior, "prior")
    x = unit(x, pi, "x")
    value = np.asarray((pi * x).sum(-1))
    if np.any(value == 0):
        raise ValueError("x must be positive for some CoT of the prior: with J = 0 the posterior is 0/0")
    if varied and np.any(x.max(-1) == x.min(-1)):
        raise ValueError("x must not be the same for all CoTs: then every sampler has gap 0")
    return pi, x, value


def _float(x: Real) -> float:
    try:
        return float(x)
    except OverflowError:
        return float("inf")
