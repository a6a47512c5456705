"""Lemma 2's closed forms for a dozen CoTs, ties in X, and models so steep that powers and exponentials overflow."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from theory import lemma2

F = Fraction
MANY = 12
# Spacing of floats at 1.
ULP = 2.0**-52


def hardly_solved() -> tuple[Any, Any]:
    """(prior, X): nearly all of the prior on the worst CoT, nearly all of the posterior on the others."""
    prior = np.array([F(1, 1000)] * (MANY - 1) + [F(1000 - MANY + 1, 1000)])
    return prior, np.array([*(F(90 + k, 110) for k in range(MANY - 1)), F(1, 1000)])


def moved_from_the_best(prior: Any, x: Any) -> list[Fraction]:
    """The nearest sampler in total variation, step by step: mass goes from the best CoT left to the worst one."""
    mu = list(lemma2.posterior(prior, x))
    worst, left = min(range(len(x)), key=lambda c: x[c]), lemma2.gap(prior, x)
    for c in sorted(range(len(x)), key=lambda c: -x[c]):
        if c != worst:
            moved = min(mu[c], left / (x[c] - x[worst]))
            mu[c], mu[worst], left = mu[c] - moved, mu[worst] + moved, left - moved * (x[c] - x[worst])
    return mu


def test_nearest_sampler_of_a_dozen() -> None:
    prior, x = hardly_solved()
    for places in (np.arange(MANY), np.arange(MANY)[::-1], np.roll(np.arange(MANY), 5)):
        nearest = lemma2.nearest_tv(prior[places], x[places])
        assert list(nearest) == moved_from_the_best(prior[places], x[places])
        # All of the best ones, and some of the worst but one, has moved.
        assert sum(nearest == 0) == MANY - 2
        assert nearest @ x[places] == prior @ x


def test_tilt_of_a_dozen() -> None:
    """The nearest sampler in divergence: log(mu/posterior) is linear in X, and E_mu X is J."""
    rng = np.random.default_rng(9)
    prior, x = rng.dirichlet(np.ones(MANY), 20), rng.uniform(0.05, 1, (20, MANY))
    nearest, start = lemma2.nearest_kl(prior, x), lemma2.posterior(prior, x)
    assert np.allclose((nearest * x).sum(-1), (prior * x).sum(-1), rtol=1e-14)
    ratio = np.log(nearest / start)
    slope = (ratio[:, 1:] - ratio[:, :1]) / (x[:, 1:] - x[:, :1])
    assert np.allclose(slope, slope[:, :1], rtol=1e-9)
    assert (slope[:, 0] < -1).all()
    rows = zip(nearest, start, strict=True)
    cost = [(mu * (np.log(mu) - np.log(post))).sum() for mu, post in rows]
    assert np.allclose(lemma2.critical_kl(prior, x), cost, rtol=1e-12)


def steepness(low: Any) -> Any:
    """The tilt t that takes X of 1 and `low` from the posterior back to the prior: e^(t (1 - low)) = 1 / low."""
    return np.log(1 / low) / (1 - low)


def test_steep_tilts_come_out_to_the_last_bits() -> None:
    """With two CoTs the nearest sampler is the prior, however far X_1 is from X_2.

    t is found to a spacing of floats, and its error times p (1 - p) (X_1 - X_2) is that of p; the rest is some
    roundings.
    """
    low = 10.0 ** -np.array([*range(1, 13), 300])
    x = np.stack([np.ones_like(low), low], axis=-1)
    for first in (0.5, 0.25, 0.875):
        found = lemma2.nearest_kl([first, 1 - first], x)
        tolerance = first * (1 - first) * (np.spacing(steepness(low)) + 8 * ULP)
        assert (np.abs(found[:, 0] - first) <= tolerance).all(), np.abs(found[:, 0] - first) / tolerance


@pytest.mark.parametrize("place", [0, 5, MANY - 1])
@pytest.mark.parametrize("alone_is_best", [True, False])
def test_two_values_of_x(place: int, alone_is_best: bool) -> None:
    """With two values of X the nearest sampler is the prior; one CoT of a dozen has an X of its own."""
    low, rare = 1e-300, 1e-290
    alone = np.arange(MANY) == place
    x = np.where(alone == alone_is_best, 1.0, low)
    prior = np.where(alone, 1 - (MANY - 1) * rare, rare)
    if alone_is_best:
        prior = np.where(alone, rare, 1 / (MANY - 1))
    assert np.allclose(lemma2.nearest_kl(prior, x), prior, rtol=np.spacing(steepness(low)) + 16 * ULP, atol=0)


@pytest.mark.parametrize("place", [0, 5, MANY - 1])
def test_largest_one_anywhere(place: int) -> None:
    """Powers are of quotients by the largest, wherever it stands: 1000^200 overflows."""
    first = np.arange(MANY) == place
    even = np.full(MANY, 1 / MANY)
    assert list(lemma2.iterated(even, np.where(first, 1, 1e-3), 200)) == list(first)
    p = np.where(first, 1 - (MANY - 1) * 1e-3, 1e-3)
    assert list(lemma2.tempered(p, 1e-3)) == list(first)


def test_divergence_of_almost_nothing() -> None:
    p, q = [1e-300, 1.0], [0.5, 0.5]
    assert lemma2.kl(p, q) == np.log(2)
    assert np.isclose(lemma2.kl(q, p), -np.log(2) + 150 * np.log(10), rtol=1e-15)
    dozen = np.arange(1, 13) / 78
    assert np.isclose(
        lemma2.kl(dozen, np.full(12, 1 / 12)), sum(x * (np.log(x) + np.log(12)) for x in dozen), rtol=1e-13
    )
