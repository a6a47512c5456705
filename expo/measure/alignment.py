"""How far a positive's gradient points where J rises: T1 and T2 of the paper's Eq 6, for one question at a time.

For a question q with rollouts (c, a) ~ pi(.|q), rewards r in {0, 1}, and a positive whose gradient is g:

    <grad J, g> = E[r <grad log pi(c, a|q), g>] = T1 + T2,

where T1 = pi(positive|q) ||g||^2 r(positive) is the term of the positive itself, and T2 that of all others. T1 is
exact, and 0 for a positive that is wrong. The whole is estimated from rollouts, and T2 is what is left of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from expo.measure.gradients.spans import Gradients


@dataclass(frozen=True)
class Alignment:
    """Of one positive, on its question alone (P(q) = 1, w = 1); J is a probability, gradients are in nats.

    Attributes:
        log_prob: log pi(positive|q), nats per sequence.
        norm: ||g||.
        reward: r(positive).
        log10_t1: log10 of T1, which is often far below the smallest float; minus infinity where T1 is 0.
        slope: <grad J, g>, the rise of J per unit of step along g; 0 where all rollouts are right or all are wrong,
            which keeps its mean over rollouts right.
        error: its standard error over rollouts; NaN where they are all right or all wrong.
        right, rollouts: how many of the rollouts were right.
    """

    log_prob: float
    norm: float
    reward: bool
    log10_t1: float
    slope: float
    error: float
    right: int
    rollouts: int

    @property
    def t2(self) -> float:
        """The slope without T1."""
        return self.slope - 10**self.log10_t1


def align(
    gradients: Gradients,
    rollouts: Sequence[int],
    right: Sequence[bool],
    positives: Sequence[int],
    rewards: Sequence[bool],
) -> list[Alignment]:
    """The alignment of each positive, from the gradients of positives and rollouts of one question.

    `rollouts` and `positives` are places in `gradients`; `right` has a value for each rollout, `rewards` for each
    positive. Rollouts are sampled at temperature 1, and no positive is chosen from among them: its own gradient would
    then be counted in the slope.

    Raises:
        ValueError: for fewer than three rollouts, of which no error could be said, or projected gradients, whose error
            all rollouts share.
    """
    if gradients.errors is not None:
        raise ValueError("an alignment needs exact gradients; a projection has an error that all rollouts share")
    if len(rollouts) < 3:
        raise ValueError(f"an alignment needs at least 3 rollouts of its question, got {len(rollouts)}")
    seen = np.array(right, dtype=float)
    found = []
    for place, reward in zip(positives, rewards, strict=True):
        slope, error = covariance(seen, gradients.gram[list(rollouts), place])
        log_prob, norm = float(gradients.log_probs[place]), float(gradients.norms[place])
        log10_t1 = (log_prob + 2 * np.log(norm)) / log(10) if norm and reward else float("-inf")
        found.append(Alignment(log_prob, norm, reward, float(log10_t1), slope, error, int(seen.sum()), len(rollouts)))
    return found


def covariance(rewards: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Cov(reward, value) over samples, shapes (K,), with its standard error.

    For values whose mean over all samples is known to be zero it is E[reward * value], unbiased, and mostly less noisy
    than the mean of products, which has no baseline. The error is the jackknife's; few samples of great value make it
    too small. Where no reward differs from another, 0 with an error of NaN.
    """
    k = len(rewards)
    a, b = rewards - rewards.mean(), values - values.mean()
    if not a.any():
        return 0.0, float("nan")
    found = float(a @ b / (k - 1))
    # Of the others, each left out in turn.
    without = (a @ b - a * b * k / (k - 1)) / (k - 2)
    return found, float(np.sqrt((k - 1) / k * ((without - without.mean()) ** 2).sum()))
