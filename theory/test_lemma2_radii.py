"""How far from the Bayes posterior a sampler keeps Lemma 2: by total variation, as a mixture, by Kullback-Leibler."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.optimize import linprog

from theory import lemma2
from theory.domains import point, points, twelfths, wide
from theory.evidence import Pick, for_all, negative_control, refuted_by_sweep, sweep
from theory.relations import Said, both, eq, ge, gt, iff, le
from theory.test_lemma2 import HALF, mean
from theory.test_lemma2_prompt import keeps_lemma

N = 100_000
LP_MODELS = 50


def varied(pick: Pick) -> Any:
    """(prior, X) with J > 0 and two values of X at least; at times the prior has zeros."""
    prior = wide(pick, 2, 4, zeros=True)
    x = list(twelfths(pick, len(prior)))
    if not mean(prior, x):
        x[next(c for c, p in enumerate(prior) if p)] = Fraction(1, 12)
    if len(set(x)) == 1:
        # Another value where some CoT is likely enough for J > 0 to stay: a change of one that is 1/12 is to 1/6.
        x[0] += Fraction(1, 12) if x[0] < 1 else -Fraction(1, 12)
    return prior, tuple(x)


# Radii around the posterior


def towards(pick: Pick) -> Any:
    """(prior, X, mu): mu on the way from the posterior to one CoT."""
    prior, x = varied(pick)
    t, k = Fraction(pick(1, 8), 16), pick(0, len(x) - 1)
    mu = [(1 - t) * q + t * (c == k) for c, q in enumerate(lemma2.posterior(prior, x))]
    return prior, x, tuple(mu)


def within_radius(instance: Any, widened: Fraction = Fraction(1)) -> Said | None:
    """The radius is Var/(J R), and a sampler within it keeps the lemma."""
    prior, x, mu = instance
    value = mean(prior, x)
    radius = mean(prior, [(a - value) ** 2 for a in x]) / (value * (max(x) - min(x)))
    if lemma2.tv(mu, lemma2.posterior(prior, x)) > widened * radius:
        return None
    return both(
        eq(lemma2.tv_radius(prior, x), radius), eq(lemma2.kl_radius(prior, x), 2 * radius**2), keeps_lemma(instance)
    )


def within_wider_radius(instance: Any) -> Said | None:
    return within_radius(instance, Fraction(11, 10))


def test_tv_radius() -> None:
    for_all(within_radius, towards)


def test_tv_radius_control_tenth_wider() -> None:
    negative_control(within_wider_radius, towards)


def test_tv_radius_is_tight() -> None:
    prior, x = (HALF, HALF), (Fraction(3, 4), Fraction(1, 4))
    assert lemma2.tv_radius(prior, x) == lemma2.critical_tv(prior, x) == Fraction(1, 4)
    assert lemma2.kl_radius(prior, x) == Fraction(1, 8)
    assert lemma2.tv(prior, lemma2.posterior(prior, x)) == Fraction(1, 4)
    assert lemma2.prompted(prior, x, prior) == 0


def reaches_zero_gap(instance: Any, most: int = 2) -> Said:
    """The nearest sampler is a distribution with gap 0, no nearer than the radius, and as near with two CoTs.

    As near with up to `most` CoTs.
    """
    prior, x = instance
    mu, radius = lemma2.nearest_tv(prior, x), lemma2.tv_radius(prior, x)
    distance = lemma2.tv(mu, lemma2.posterior(prior, x))
    near = ge(distance, radius) if len(x) > most else eq(distance, radius)
    return both(ge(min(mu), 0, varies=mu), eq(sum(mu), 1, varies=mu), eq(mean(mu, x), mean(prior, x)), near)


def reaches_zero_gap_on_the_radius(instance: Any) -> Said:
    """The radius is reached with three CoTs too."""
    return reaches_zero_gap(instance, 3)


def beyond(pick: Pick) -> Any:
    """(prior, X, mu, critical distance) with mu a mixture of the nearest sampler and another."""
    prior, x = varied(pick)
    other, t = point(pick, len(x), len(x)), Fraction(pick(1, 12), 12)
    nearest = lemma2.nearest_tv(prior, x)
    mu = [(1 - t) * q + t * p for q, p in zip(nearest, other, strict=True)]
    return prior, x, tuple(mu), lemma2.tv(nearest, lemma2.posterior(prior, x))


def no_nearer(instance: Any, widened: Fraction = Fraction(1)) -> Said | None:
    """A sampler with a negative gap is farther than the critical distance."""
    prior, x, mu, critical = instance
    if mean(mu, x) >= mean(prior, x):
        return None
    return gt(lemma2.tv(mu, lemma2.posterior(prior, x)), widened * critical)


def no_nearer_by_a_tenth(instance: Any) -> Said | None:
    return no_nearer(instance, Fraction(11, 10))


def linear_program(prior: Any, x: Any) -> float:
    """Least total variation from the posterior at gap 0: the sum of what is taken away, over (taken, given) >= 0."""
    post, n = lemma2.posterior(prior, x), len(x)
    balance = np.vstack([np.r_[np.ones(n), -np.ones(n)], np.r_[x, -x]])
    target = [0, float(lemma2.gap(prior, x))]
    bounds = [(0, q) for q in post] + [(0, None)] * n
    found = linprog(np.r_[np.ones(n), np.zeros(n)], A_eq=balance, b_eq=target, bounds=bounds)
    assert found.success
    return float(found.fun)


def test_critical_tv_reached() -> None:
    for_all(reaches_zero_gap, varied)


def test_critical_tv_control_three_cots() -> None:
    negative_control(reaches_zero_gap_on_the_radius, varied)


def test_critical_tv_is_least() -> None:
    rng = np.random.default_rng(5)
    for _ in range(LP_MODELS):
        n = int(rng.integers(2, 7))
        prior, x = rng.dirichlet(np.ones(n)), rng.uniform(0, 1, n)
        # HiGHS meets its constraints to 1e-7; vertices of so small a program come out far closer.
        assert abs(float(lemma2.critical_tv(prior, x)) - linear_program(prior, x)) < 1e-9
    for_all(no_nearer, beyond)


def test_critical_tv_control_tenth_farther() -> None:
    negative_control(no_nearer_by_a_tenth, beyond)


def contaminated(pick: Pick) -> Any:
    """(prior, X, mu, share): the posterior with a share of another sampler mu."""
    prior, x = varied(pick)
    n = len(x)
    mu = point(pick, n, n) if pick(0, 1) else tuple(Fraction(c == 0) for c in range(n))
    return prior, x, mu, Fraction(pick(0, 12), 12)


def contamination_limit(instance: Any, divided: bool = True) -> Said:
    """The lemma holds of (1 - share) posterior + share mu if and only if share (J - E_mu X + Var/J) <= Var/J."""
    prior, x, mu, share = instance
    value = mean(prior, x)
    variance = mean(prior, [(a - value) ** 2 for a in x])
    signal = variance / value if divided else variance
    mixed = [(1 - share) * q + share * p for q, p in zip(lemma2.posterior(prior, x), mu, strict=True)]
    return iff(keeps_lemma((prior, x, mixed)), le(share * (value - mean(mu, x) + signal), signal))


def contamination_limit_of_variance(instance: Any) -> Said:
    """The limit with Var in place of Var/J."""
    return contamination_limit(instance, divided=False)


def test_contamination_limit() -> None:
    for_all(contamination_limit, contaminated)


def test_contamination_control_variance() -> None:
    negative_control(contamination_limit_of_variance, contaminated)


# Kullback-Leibler; X from 1/20 to 1, so that R = 19/20 and the tilt stays moderate


@functools.cache
def kl_models() -> tuple[Any, Any, Any, Any]:
    """(prior, X, nearest sampler, posterior) of N models with 4 CoTs."""
    prior = points(N, 4, 3, spread=1.0)
    x = np.random.default_rng(3).uniform(0.05, 1, (N, 4))
    x[:, 0], x[:, 1] = 0.05, 1
    return prior, x, lemma2.nearest_kl(prior, x), lemma2.posterior(prior, x)


def rounding(mu: Any, post: Any) -> Any:
    """Four terms of at most 16 roundings of 1 + |log(mu/posterior)|; a tilt meets its mean to as many."""
    return 4 * 16 * 2.0**-53 * (1 + np.abs(np.log(mu / post)).max(-1))


def kl_radius_error(widened: float = 1) -> tuple[Any, Any]:
    """By how much `widened` times the radius exceeds the nearest sampler's divergence, and its tolerance."""
    prior, x, nearest, post = kl_models()
    return widened * lemma2.kl_radius(prior, x) - lemma2.kl(nearest, post), rounding(nearest, post)


def test_kl_radius() -> None:
    sweep(*kl_radius_error(), why="4 terms of 16 roundings of 1 + |log(mu/posterior)|")


def test_kl_radius_control_half_wider() -> None:
    refuted_by_sweep(*kl_radius_error(1.5))


def failing_samplers() -> Any:
    """Samplers with gap 0 or less: any one, and as much of the worst CoT as takes its gap to 0.

    The first half are drawn beside the nearest one.
    """
    prior, x, nearest, _ = kl_models()
    mu = points(N, 4, 4, spread=1.0)
    mu[: N // 2] = 0.99 * nearest[: N // 2] + 0.01 * mu[: N // 2]
    value, found = (prior * x).sum(-1), (mu * x).sum(-1)
    share = np.maximum(found - value, 0) / (found - 0.05)
    worst = np.zeros_like(prior)
    worst[:, 0] = 1
    return (1 - share[:, None]) * mu + share[:, None] * worst


def critical_kl_error(widened: float = 1) -> tuple[Any, Any]:
    """By how much `widened` times the critical divergence exceeds that of failing samplers, and its tolerance."""
    _, _, nearest, post = kl_models()
    mu = failing_samplers()
    error = widened * lemma2.kl(nearest, post) - lemma2.kl(mu, post)
    return error, rounding(mu, post) + rounding(nearest, post)


def test_critical_kl_is_least() -> None:
    sweep(*critical_kl_error(), why="4 terms of 16 roundings of 1 + |log(mu/posterior)|, for both divergences")


def test_critical_kl_control_tenth_farther() -> None:
    refuted_by_sweep(*critical_kl_error(1.1))


def test_nearest_kl_pinned() -> None:
    prior, x = np.array([0.5, 0.5]), np.array([0.75, 0.25])
    # The tilt that takes (3/4, 1/4) to (1/2, 1/2), which costs log(4/3) / 2.
    assert np.abs(lemma2.nearest_kl(prior, x) - 0.5).max() < 1e-15
    assert abs(lemma2.critical_kl(prior, x) - np.log(4 / 3) / 2) < 1e-15
