"""E_post[grad log pi(c, a*|q)] = grad J / J on a real policy, and how fast the weighted mean of K samples gets there.

CoTs are those of a finite set, of which every probability is known: J, its slope and the law of K samples are then
exact up to the draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from expo.gradients.alignment import example_of
from expo.gradients.direction import gradient
from expo.gradients.gram import per_example_gram
from expo.gradients.run import moved
from expo.measure.prompted import score_prompted
from expo.measure.weights import log_weight, normalised
from expo.policies.load import load_policy
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.scoring import score
from expo.positives.kinds import Positive, from_sample, requests
from expo.tasks import chain
from expo.tasks.chain_task import CHAIN, ChainChecker

KS = (256, 512, 1024, 2048)
DRAWS = 1_000_000
FLATTER = 0.5


@dataclass(frozen=True)
class Finite:
    """CoTs with mu and the posterior on them, and each one's slope along a fixed direction."""

    policy: Policy
    positives: list[Positive]
    mu: np.ndarray
    posterior: np.ndarray
    slopes: np.ndarray
    unit: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def finite() -> Finite:
    policy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problems = chain.load("train", 8, levels=[5]).problems
    problem = problems[4]
    ((source, hint, request),) = requests(policy, problem, problems, {"explanation": 96}, 100, 0, checker)
    (done,) = sample(policy, [request], temperature=1.3, seed=0)
    tried = [from_sample(policy, problem, source, k, hint, c, checker) for k, c in enumerate(done) if not c.truncated]
    positives = list({p.scored.completion: p for p in tried}.values())[:24]
    plain, prompted = score(policy, [p.scored for p in positives]), score_prompted(policy, positives)
    log_mu = np.array([prompted[p.scored.key].sum() for p in positives])
    log_w = [log_weight(s, p.scored.cot, prompted[p.scored.key]) for p, s in zip(positives, plain, strict=True)]
    # w = posterior / mu up to a factor: both are of the set alone.
    posterior = normalised(np.array(log_w) + log_mu)
    # The toy's own sampler is nearly the posterior. Any other will do, and a flatter one shows a bias.
    mu = normalised(log_mu * FLATTER)
    gram = per_example_gram(policy, [example_of(p) for p in positives])
    # Along the gradient of the CoT that weighs most of those that mu has seldom.
    towards = int(np.argmax(posterior * (1 - mu)))
    slopes = gram.gram[towards] / gram.norms[towards]
    unit = gradient(policy, [example_of(positives[towards])], [1 / gram.norms[towards]])
    return Finite(policy, positives, mu, posterior, slopes, unit)


def test_the_posterior_mean_of_scores_is_the_slope_of_log_j(finite: Finite) -> None:
    def log_j() -> float:
        return float(
            np.logaddexp.reduce([-s.nll_sum for s in score(finite.policy, [p.scored for p in finite.positives])])
        )

    size = 1e-4
    with moved(finite.policy, finite.unit, size):
        above = log_j()
    with moved(finite.policy, finite.unit, -size):
        below = log_j()
    slope = (above - below) / (2 * size)
    assert finite.posterior @ finite.slopes == pytest.approx(slope, rel=2e-3)
    # The control: under their own sampler it is another number.
    assert finite.mu @ finite.slopes != pytest.approx(slope, rel=0.02)


def estimates(finite: Finite, k: int, weighted: bool) -> np.ndarray:
    """The mean of the slopes of k samples of mu, by their weights or without, many times over."""
    # How often each CoT is drawn says all of a sample.
    counts = np.random.default_rng(k).multinomial(k, finite.mu, size=DRAWS)
    weights = counts * (finite.posterior / finite.mu if weighted else 1.0)
    weights /= weights.sum(axis=1, keepdims=True)
    if weighted:
        drawn = np.repeat(np.arange(len(finite.mu)), counts[0])
        each = normalised((np.log(finite.posterior) - np.log(finite.mu))[drawn])
        np.testing.assert_allclose(weights[0], np.bincount(drawn, each, len(finite.mu)))
    means: np.ndarray = weights @ finite.slopes
    return means


def fitted(finite: Finite, weighted: bool) -> tuple[float, float, dict[int, tuple[float, float]]]:
    """The slope of log |bias| against log K with its standard error, and of each K the bias with its own."""
    exact = finite.posterior @ finite.slopes
    bias = {}
    for k in KS:
        means = estimates(finite, k, weighted)
        bias[k] = (float(means.mean() - exact), float(means.std() / np.sqrt(DRAWS)))
    x, y = np.log(KS), np.log([abs(b) for b, _ in bias.values()])
    weight = np.array([(b / e) ** 2 for b, e in bias.values()])
    centre = (weight @ x) / weight.sum()
    spread = weight @ (x - centre) ** 2
    return float(weight @ ((x - centre) * y) / spread), float(spread**-0.5), bias


def test_its_bias_falls_as_one_over_k(finite: Finite) -> None:
    slope, error, bias = fitted(finite, weighted=True)
    assert error < 0.15
    assert abs(slope + 1) < 2 * error
    # Of first order it is -Cov(v^2, s - grad log J) / K, v the posterior over mu (theory: WEIGHT-bias).
    v = finite.posterior / finite.mu
    first = -float(finite.mu @ (v**2 * (finite.slopes - finite.posterior @ finite.slopes)))
    at, its_error = bias[KS[-1]]
    assert abs(at * KS[-1] - first) < 4 * its_error * KS[-1]
    assert abs(first) > 4 * its_error * KS[-1]
    # The control: without weights it stays.
    slope, error, _ = fitted(finite, weighted=False)
    assert abs(slope) < 2 * error + 0.01


def test_its_square_error_falls_with_it(finite: Finite) -> None:
    exact = finite.posterior @ finite.slopes
    squares = [float(((estimates(finite, k, True) - exact) ** 2).mean()) for k in KS]
    slope = np.polyfit(np.log(KS), np.log(squares), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)
