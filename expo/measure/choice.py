"""Which of several samples of a problem becomes its positive: the first, one drawn by weight, or the best by score."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expo.grading.answers import Grade
from expo.measure.prompted import score_prompted
from expo.measure.weights import effective, log_weight, normalised
from expo.policies.policy import Policy
from expo.policies.scoring import score
from expo.positives.kinds import Positive

Graded = tuple[Positive, Grade | None]
_LEAST = 1e-7


@dataclass(frozen=True)
class Chosen:
    """A positive with its grade, how it was chosen, and its weight in the term of its problem.

    Effective sample size and entropy are those of the weights of all candidates. `first_text` says whether its tokens
    are those of the first candidate; several candidates may share them.
    """

    positive: Positive
    grade: Grade | None
    candidates: int = 1
    place: int = 0
    first_text: bool = True
    effective_samples: float | None = None
    weight_entropy: float | None = None
    weight: float = 1.0


def choose(policy: Policy, candidates: Sequence[Sequence[Graded]], how: str, seed: int) -> list[Chosen]:
    """Choose one of each problem's candidates (at least one each); or, for `weighted`, take all of them.

    Args:
        policy: the policy whose positives they are, in its current state.
        candidates: the candidates of each problem, with their grades.
        how: `first`; `posterior`, one drawn by its weight pi(c|q) pi(a*|q, c) / mu(c|q, a*); `weighted`, all, with
            these weights normalised to sum to 1; `best_signal`, the highest log pi(a*|q, c); `best_joint`, the highest
            log pi(c, a*|q).
        seed: seed of the draw.
    """
    if how == "first":
        return [_chosen(group, 0) for group in candidates]
    positives = [p for group in candidates for p, _ in group]
    scores = dict(zip((p.scored.key for p in positives), score(policy, [p.scored for p in positives]), strict=True))
    if how not in ("posterior", "weighted"):
        by = {"best_signal": lambda s: s.learning_signal, "best_joint": lambda s: -s.nll_sum}[how]
        places = [int(np.argmax([by(scores[p.scored.key]) for p, _ in group])) for group in candidates]
        return [_chosen(group, place) for group, place in zip(candidates, places, strict=True)]
    prompted = score_prompted(policy, positives)
    chosen = []
    for group in candidates:
        weights = normalised(
            np.array([log_weight(scores[p.scored.key], p.scored.cot, prompted[p.scored.key]) for p, _ in group])
        )
        worth, entropy = effective(weights), -float(sum(w * np.log(w) for w in weights if w > 0))
        if how == "weighted":
            # A weight that adds nothing to a float32 sum is dropped.
            kept = [i for i, w in enumerate(weights) if w > _LEAST]
            chosen += [_chosen(group, i, worth, entropy, float(weights[i])) for i in kept]
        else:
            draw = random.Random(f"{seed}:{group[0][0].problem.id}:choice")
            place = draw.choices(range(len(group)), weights.tolist())[0]
            chosen.append(_chosen(group, place, worth, entropy))
    return chosen


def _chosen(
    group: Sequence[Graded], place: int, worth: float | None = None, entropy: float | None = None, weight: float = 1.0
) -> Chosen:
    first_text = group[place][0].scored.completion == group[0][0].scored.completion
    return Chosen(*group[place], len(group), place, first_text, worth, entropy, weight)


def mask_tokens(policy: Policy, positives: Sequence[Positive], which: str) -> list[list[bool] | None]:
    """For each positive, which tokens count, or None for all; the answer cue, a* and the end token always count.

    `least_moved` counts the half of its CoT's tokens with the smallest |log mu(t|q, hint, ...) - log pi(t|q, ...)|,
    `most_moved` the other half, and `random_half`, their control, a random half, the same one each time.
    """
    if which == "all":
        return [None] * len(positives)
    if which == "random_half":
        return [_mask(p, _random_ranks(p), largest=False) for p in positives]
    plain = score(policy, [p.scored for p in positives])
    prompted = score_prompted(policy, positives)
    return [
        _mask(p, np.abs(prompted[p.scored.key] - s.completion[: p.scored.cot]), largest=which == "most_moved")
        for p, s in zip(positives, plain, strict=True)
    ]


def _mask(p: Positive, by: np.ndarray, *, largest: bool) -> list[bool]:
    # By rank, not by the median: ties would make one half larger.
    smallest = np.argsort(np.argsort(by, kind="stable"), kind="stable") < (len(by) + 1) // 2
    counted = ~smallest if largest else smallest
    return [*counted.tolist(), *[True] * (len(p.scored.completion) - p.scored.cot)]


def _random_ranks(p: Positive) -> np.ndarray:
    return np.array(random.Random(f"{p.problem.id}:{p.index}:tokens").sample(range(p.scored.cot), p.scored.cot))
