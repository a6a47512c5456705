"""T1, T2 and the slope of J: against the theory's closed forms, and against J itself on the toy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from expo.gradients.alignment import align, align_positives, covariance, rewards_of, sample_rollouts
from expo.gradients.direction import derivatives, gradient
from expo.gradients.enumeration import success
from expo.gradients.examples import Example, Gradients
from expo.gradients.predictors import few
from expo.gradients.run import moved
from expo.policies.load import load_policy
from expo.positives.kinds import from_sample
from expo.tasks import chain
from expo.tasks.chain_task import CHAIN, ChainChecker
from theory.improvement import tabular_gain, tabular_t1, tabular_t2

PI, RIGHT = np.array([0.05, 0.15, 0.3, 0.5]), np.array([True, True, False, False])


def tabular(drawn: np.ndarray, positive: int) -> Gradients:
    """Rollouts and a positive of a softmax over four trajectories."""
    places = [*drawn, positive]
    scores = np.eye(4)[places] - PI
    keys = tuple(map(str, range(len(places))))
    return Gradients(keys, scores @ scores.T, np.log(PI[places]), 4, 0)


def aligned(drawn: np.ndarray, positive: int):
    n = len(drawn)
    return align(tabular(drawn, positive), range(n), RIGHT[drawn].tolist(), [n], [bool(RIGHT[positive])])[0]


# The third is wrong: its T1 is 0, and its slope is T2.
@pytest.mark.parametrize("positive", [0, 1, 2])
def test_a_tabular_policy_has_the_closed_forms(positive: int) -> None:
    found = aligned(np.random.default_rng(positive).choice(4, 4000, p=PI), positive)
    r = RIGHT.astype(int)
    assert 10**found.log10_t1 == pytest.approx(float(tabular_t1(PI, r, positive)))
    assert abs(found.slope - float(tabular_gain(PI, r, positive))) < 4 * found.error
    assert abs(found.slope - 10**found.log10_t1 - float(tabular_t2(PI, r, positive))) < 4 * found.error
    # The check can fail: the other sample's slope is told apart.
    assert abs(found.slope - float(tabular_gain(PI, r, (positive + 1) % 3))) > 4 * found.error


def test_the_error_is_that_of_the_estimate() -> None:
    rng = np.random.default_rng(0)
    found = [aligned(rng.choice(4, 200, p=PI), 0) for _ in range(400)]
    z = [(f.slope - float(tabular_gain(PI, RIGHT.astype(int), 0))) / f.error for f in found if f.error > 0]
    # Of a nominal 95 %; slope and error go together, so the intervals are a little too short.
    assert 0.9 < np.mean(np.abs(z) < 1.96) < 0.99


def test_where_few_are_right_the_error_says_little() -> None:
    rng = np.random.default_rng(0)
    # J = 0.05: of 128 rollouts about six are right.
    chances = np.array([0.035, 0.015, 0.38, 0.57])
    values = (np.eye(4) - chances) @ (np.eye(4) - chances)[1]
    slope = float(chances @ (RIGHT * values))
    covered: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(2000):
        drawn = rng.choice(4, 128, p=chances)
        found, error = covariance(RIGHT[drawn].astype(float), values[drawn])
        n = int(RIGHT[drawn].sum())
        if n:
            covered[bool(few(pd.DataFrame({"right": [n], "rollouts": [128]}))[0])].append(
                abs(found - slope) < 2 * error
            )
    assert np.mean(covered[False]) > 0.93
    assert np.mean(covered[True]) < 0.85


def test_the_jackknife_leaves_each_out() -> None:
    rng = np.random.default_rng(1)
    r, v = rng.integers(0, 2, 9).astype(float), rng.normal(size=9)
    without = np.array([covariance(np.delete(r, i), np.delete(v, i))[0] for i in range(9)])
    assert covariance(r, v)[1] == pytest.approx(np.sqrt(8 / 9 * ((without - without.mean()) ** 2).sum()))
    assert covariance(r, v)[0] == pytest.approx(np.cov(r, v)[0, 1])


def test_without_a_right_rollout_nothing_is_claimed() -> None:
    found = aligned(np.array([2, 3, 3]), 0)
    assert found.slope == 0
    assert np.isnan(found.error)
    assert np.isfinite(found.log10_t1)
    with pytest.raises(ValueError, match="needs at least 3 rollouts"):
        aligned(np.array([2, 3]), 0)
    projection = replace(tabular(np.array([0, 2, 3]), 0), errors=np.zeros((4, 4)))
    with pytest.raises(ValueError, match="needs exact gradients"):
        align(projection, range(3), [True, False, False], [3], [True])
    with pytest.raises(
        ValueError, match="3 rollouts and 1 positives need the same numbers of values in right and rewards, got 2"
    ):
        align(tabular(np.array([0, 2, 3]), 0), range(3), [True, False], [3], [True])


def test_the_mean_of_slopes_over_few_rollouts_is_the_slope() -> None:
    rng = np.random.default_rng(2)
    found = [aligned(rng.choice(4, 4, p=PI), 0) for _ in range(4000)]
    slopes, dead = np.array([f.slope for f in found]), np.isnan([f.error for f in found])
    error = slopes.std() / np.sqrt(len(slopes))
    assert abs(slopes.mean() - float(tabular_gain(PI, RIGHT.astype(int), 0))) < 4 * error
    # Without the questions that show nothing it is too steep.
    assert slopes[~dead].mean() > slopes.mean() + 4 * error


def test_rewards_are_what_a_rollout_of_that_text_would_have() -> None:
    toy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problem = chain.load("test", 3, levels=[3]).problems[0]
    rollouts, right = sample_rollouts(toy, checker, problem, 16, 100, 1, 16)
    own = [from_sample(toy, problem, "own", i, "", c, checker) for i, c in enumerate(rollouts)]
    assert set(right) == {True, False}
    assert rewards_of(toy, checker, own, 100) == right
    # Closed with a*, within the limit and beyond it.
    wrong = rollouts[right.index(False)]
    closed = [from_sample(toy, problem, "nonsense", 0, "", wrong, checker)]
    assert rewards_of(toy, checker, closed, 100) == [True]
    assert rewards_of(toy, checker, closed, len(closed[0].scored.completion) - 1) == [False]


def test_the_slope_is_what_a_small_step_does_to_success_on_the_toy() -> None:
    toy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problem = chain.load("test", 3, levels=[3]).problems[0]
    k, limit = 512, 100
    rollouts, right = sample_rollouts(toy, checker, problem, k, limit, 0, 256)
    # Of another seed: a positive is not chosen from among the rollouts.
    others, good = sample_rollouts(toy, checker, problem, 16, limit, 1, 16)
    chosen = next(c for c, is_right in zip(others, good, strict=True) if is_right)
    positive = from_sample(toy, problem, "own_correct", 0, "", chosen, checker)
    (found,), held = align_positives(toy, [positive], rollouts, right, [True])
    span = Example("positive", positive.scored.prompt, positive.scored.completion)
    direction, size = gradient(toy, [span], [1 / found.norm]), 0.01
    values = []
    for sign in (1, -1):
        with moved(toy, direction, sign * size):
            values.append(success(toy, checker, problem, max_new_tokens=limit, floor=1e-5).right)
    slope = found.norm * (values[0] - values[1]) / (2 * size)
    assert abs(found.slope - slope) < 4 * found.error
    # The check can fail: no slope, or one twice as steep, is told apart.
    assert 4 * found.error < abs(slope)
    assert 10**found.log10_t1 == pytest.approx(np.exp(found.log_prob) * found.norm**2)
    assert held.keys == (positive.scored.key,)
    np.testing.assert_allclose(held.norms, [found.norm])
    # Without a gradient for each rollout it is the same.
    spans = [Example(str(i), positive.scored.prompt, c.ids) for i, c in enumerate(rollouts)]
    along, error = covariance(np.array(right, dtype=float), derivatives(toy, spans, direction))
    assert (along, error) == pytest.approx((found.slope / found.norm, found.error / found.norm), rel=1e-3)
