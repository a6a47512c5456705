"""How much J rises along a positive's gradient: T1 and T2 of the paper's Eq 6, for one question at a time.

For a question q with rollouts (c, a) ~ pi(.|q), rewards r in {0, 1}, and a positive whose gradient is g:

    <grad J, g> = E[r <grad log pi(c, a|q), g>] = T1 + T2,

where T1 = pi(positive|q) ||g||^2 r(positive) is the term of the positive itself, and T2 that of all other completions.
T1 is exact, and 0 for a wrong positive. The sum is estimated from rollouts, and T2 is the remainder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import pandas as pd

from expo.gradients.examples import Example, Gradients
from expo.gradients.gram import per_example_gram
from expo.grading.answers import Status
from expo.policies.engine import Completion, Request
from expo.policies.policy import Policy
from expo.policies.sampling import sample
from expo.policies.scoring import Score, score
from expo.positives.closing import question_ids
from expo.positives.kinds import Positive
from expo.schema import as_frame
from expo.tasks import Checker
from expo.tasks.problem import Problem


@dataclass(frozen=True)
class Alignment:
    """The alignment of one positive on its question alone (P(q) = 1, w = 1); J is a probability, gradients are in nats.

    Attributes:
        log_prob: log pi(positive|q), nats per sequence.
        norm: ||g||.
        reward: r(positive).
        log10_t1: log10 of T1, which is often far below the smallest float; minus infinity where T1 is 0.
        slope: <grad J, g>, the rise of J per unit step along g; 0 if all rollouts are right or all are wrong, which
            keeps its mean over rollouts unbiased.
        error: its standard error over rollouts; NaN if they are all right or all wrong, and unreliable if few are
            (`predictors.few`).
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


def align(
    gradients: Gradients,
    rollouts: Sequence[int],
    right: Sequence[bool],
    positives: Sequence[int],
    rewards: Sequence[bool],
) -> list[Alignment]:
    """The alignment of each positive, from the gradients of one question's positives and rollouts.

    `rollouts` and `positives` are indices into `gradients`; `right` has a value for each rollout, `rewards` for each
    positive. Rollouts must be sampled at temperature 1, and no positive may be chosen from among them: its own gradient
    would then count in the slope.

    Raises:
        ValueError: for fewer than three rollouts, which give no error; for wrong lengths of `right` or `rewards`; or
            for projected gradients, whose error all rollouts share.
    """
    if gradients.errors is not None:
        raise ValueError("an alignment needs exact gradients; the error of a projection is shared by all rollouts")
    if len(rollouts) < 3:
        raise ValueError(f"an alignment needs at least 3 rollouts of its question, got {len(rollouts)}")
    if (len(right), len(rewards)) != (len(rollouts), len(positives)):
        raise ValueError(
            f"{len(rollouts)} rollouts and {len(positives)} positives need the same numbers of values in "
            f"right and rewards, got {len(right)} and {len(rewards)}"
        )
    seen = np.array(right, dtype=float)
    alignments = []
    for place, reward in zip(positives, rewards, strict=True):
        slope, error = covariance(seen, gradients.gram[list(rollouts), place])
        log_prob, norm = float(gradients.log_probs[place]), float(gradients.norms[place])
        log10_t1 = (log_prob + 2 * np.log(norm)) / log(10) if norm and reward else float("-inf")
        alignments.append(
            Alignment(log_prob, norm, reward, float(log10_t1), slope, error, int(seen.sum()), len(rollouts))
        )
    return alignments


def covariance(rewards: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Cov(reward, value) over samples, shapes (K,), with its standard error.

    For values with a known mean of zero over all samples this is E[reward * value], unbiased, and usually less noisy
    than the mean of products, which has no baseline. The error is the jackknife's; it is too small if a few samples
    have large values. If all rewards are equal, the result is 0 with an error of NaN.
    """
    k = len(rewards)
    a, b = rewards - rewards.mean(), values - values.mean()
    if not a.any():
        return 0.0, float("nan")
    estimate = float(a @ b / (k - 1))
    # Over the other samples, leaving each out in turn.
    without = (a @ b - a * b * k / (k - 1)) / (k - 2)
    return estimate, float(np.sqrt((k - 1) / k * ((without - without.mean()) ** 2).sum()))


def sample_rollouts(
    policy: Policy, checker: Checker, problem: Problem, n: int, max_new_tokens: int, seed: int, rows: int
) -> tuple[list[Completion], list[bool]]:
    """Completions of the plain question at temperature 1, and whether each is right."""
    request = Request(f"{problem.id}/rollout", question_ids(policy, problem), n, max_new_tokens)
    (rollouts,) = sample(policy, [request], temperature=1.0, seed=seed, rows=rows)
    grades = checker.grade([(problem, policy.decode(c.ids)) for c in rollouts], [c.truncated for c in rollouts])
    return rollouts, [g.status is Status.CORRECT for g in grades]


def rewards_of(policy: Policy, checker: Checker, positives: Sequence[Positive], max_new_tokens: int) -> list[bool]:
    """Whether each would be right as a rollout: graded like one, and within the token limit."""
    texts = [(p.problem, policy.decode(p.scored.completion)) for p in positives]
    grades = checker.grade(texts, [policy.eos_ids.isdisjoint(p.scored.completion[-1:]) for p in positives])
    short = [len(p.scored.completion) <= max_new_tokens for p in positives]
    return [g.status is Status.CORRECT and is_short for g, is_short in zip(grades, short, strict=True)]


def align_positives(
    policy: Policy,
    positives: Sequence[Positive],
    rollouts: Sequence[Completion],
    right: Sequence[bool],
    rewards: Sequence[bool],
) -> tuple[list[Alignment], Gradients]:
    """The alignment of one question's positives with its rollouts, and the gradients of these positives."""
    problem = positives[0].problem
    prompt = tuple(question_ids(policy, problem))
    examples = [Example(f"{problem.id}/rollout/{i}", prompt, c.ids) for i, c in enumerate(rollouts)]
    gradients = per_example_gram(policy, [*examples, *map(example_of, positives)])
    places = range(len(rollouts), len(rollouts) + len(positives))
    return align(gradients, range(len(rollouts)), right, places, rewards), gradients.of(places)


def alignment_rows(
    policy: Policy,
    positives: Sequence[Positive],
    alignments: Sequence[Alignment],
    rollouts: Sequence[Completion],
    step: int = 0,
) -> list[dict[Any, Any]]:
    """Rows of `alignment`."""
    scores, k = score(policy, [p.scored for p in positives]), len(rollouts)
    same = sum(n * (n - 1) for n in Counter(c.ids for c in rollouts).values()) / (k * (k - 1))
    rows = [_alignment_row(policy, *of, step) for of in zip(positives, alignments, scores, strict=True)]
    return [{**row, "repeats": same} for row in rows]


def _alignment_row(policy: Policy, p: Positive, a: Alignment, s: Score, step: int) -> dict[Any, Any]:
    return {
        "step": step,
        "problem": p.problem.id,
        "level": p.problem.level,
        "source": p.source,
        "hint": p.hint,
        "text": policy.decode(p.scored.completion),
        "ids": list(p.scored.completion),
        "cot_tokens": p.scored.cot,
        "tokens": len(p.scored.completion),
        "truncated": p.sampled.truncated if p.sampled else False,
        "nll_sum": s.nll_sum,
        "nll_per_token": s.nll_per_token,
        "learning_signal": s.learning_signal,
        "norm": a.norm,
        "reward": a.reward,
        "log10_t1": a.log10_t1,
        "slope": a.slope,
        "slope_error": a.error,
        "right": a.right,
        "rollouts": a.rollouts,
    }


def product_rows(rows: Sequence[dict[Any, Any]], gradients: Gradients, step: int = 0) -> pd.DataFrame:
    """Inner products of these rows' gradients of positives, each pair once: rows of `gradients`."""
    table = [
        {
            "step": step,
            "problem": a["problem"],
            "source": a["source"],
            "other_problem": b["problem"],
            "other_source": b["source"],
            "product": gradients.gram[i, j],
            "norm": gradients.norms[i],
            "other_norm": gradients.norms[j],
        }
        for i, a in enumerate(rows)
        for j, b in enumerate(rows[: i + 1])
    ]
    return as_frame("gradients", table)


def example_of(p: Positive) -> Example:
    """The example whose gradient is computed: the completion after the plain question."""
    return Example(p.scored.key, p.scored.prompt, p.scored.completion)
