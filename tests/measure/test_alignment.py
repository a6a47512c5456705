"""T1, T2 and the slope of J: against the theory's closed forms, and against J itself on the toy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expo.grading import ChainChecker
from expo.grading.answers import Status
from expo.measure.alignment import align, covariance
from expo.measure.enumeration import success
from expo.measure.gradients.direction import gradient
from expo.measure.gradients.ghost import ghost
from expo.measure.gradients.spans import Gradients, Span
from expo.policies.policy import load_policy
from expo.policies.prompts import CHAIN
from expo.policies.sampling import Request, sample
from expo.positives import question_ids
from expo.tasks import chain
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
    return align(tabular(drawn, positive), range(n), RIGHT[drawn].tolist(), [n])[0]


@pytest.mark.parametrize("positive", [0, 1])
def test_a_tabular_policy_has_the_closed_forms(positive: int) -> None:
    found = aligned(np.random.default_rng(positive).choice(4, 4000, p=PI), positive)
    r = RIGHT.astype(int)
    assert 10**found.log10_t1 == pytest.approx(float(tabular_t1(PI, r, positive)))
    assert abs(found.slope - float(tabular_gain(PI, r, positive))) < 4 * found.error
    assert abs(found.t2 - float(tabular_t2(PI, r, positive))) < 4 * found.error
    # A slope without its baseline's correction, or of the wrong sample, is not the closed form's.
    assert abs(found.slope - float(tabular_gain(PI, r, 1 - positive))) > 4 * found.error


def test_the_error_is_that_of_the_estimate() -> None:
    rng = np.random.default_rng(0)
    found = [aligned(rng.choice(4, 200, p=PI), 0) for _ in range(400)]
    z = [(f.slope - float(tabular_gain(PI, RIGHT.astype(int), 0))) / f.error for f in found if f.error > 0]
    # Skewed: where few rollouts are right both slope and error are small.
    assert abs(np.mean(z)) < 0.35
    assert 0.85 < np.std(z) < 1.3


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
    with pytest.raises(ValueError, match="needs at least 3 rollouts"):
        aligned(np.array([2, 3]), 0)


def test_the_slope_is_what_a_small_step_does_to_success_on_the_toy() -> None:
    toy, checker = load_policy("tiny-0", CHAIN), ChainChecker()
    problem = chain.load("test", 3, levels=[3]).problems[0]
    prompt, k = question_ids(toy, problem), 256
    (rollouts,) = sample(toy, [Request("r", prompt, k, 100)], temperature=1.0, seed=0, rows=256)
    right = [g.status is Status.CORRECT for g in checker.grade([(problem, toy.decode(c.ids)) for c in rollouts])]
    positive = Span("positive", tuple(prompt), next(c.ids for c, r in zip(rollouts, right, strict=True) if not r))
    spans = [*(Span(str(i), tuple(prompt), c.ids) for i, c in enumerate(rollouts)), positive]
    (found,) = align(ghost(toy, spans), range(k), right, [k])
    direction, size = gradient(toy, [positive], [1.0]), 1e-5
    values = []
    for sign in (1, -1):
        moved = load_policy("tiny-0", CHAIN)
        with torch.no_grad():
            for name, p in moved.model.named_parameters():
                p.add_(direction[name], alpha=sign * size)
        values.append(success(moved, checker, problem, max_new_tokens=100, floor=1e-5).right)
    slope = (values[0] - values[1]) / (2 * size)
    assert abs(found.slope - slope) < 4 * found.error
    # The check can fail: the error is small beside the slope.
    assert found.error < abs(slope)
