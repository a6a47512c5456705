"""What one step along a positive's gradient does to J, predicted and realised; the measurement of `expo gradients`.

For each question: its positives, rollouts of the policy at temperature 1, the slope of J along each positive's gradient
from one half of the rollouts, and the change of J after a step of some length, from the other half and, on the toy,
exactly. Steps are taken from the same weights, which are put back bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from expo.evaluate import within_context
from expo.grading import Checker, checker_for
from expo.grading.answers import Status
from expo.measure.alignment import Alignment, align, covariance
from expo.measure.enumeration import Success, success
from expo.measure.gradients.direction import Direction, gradient
from expo.measure.gradients.ghost import ghost
from expo.measure.gradients.spans import Gradients, Span, evaluating
from expo.measure.recipe import GradientRecipe
from expo.measure.run import experts, facts, fitting, load, load_problems, merged
from expo.policies.policy import Policy
from expo.policies.sampling import Completion, Request, sample
from expo.policies.scoring import Score, score, whole
from expo.positives import Positive, from_sample, question_ids
from expo.records import Run, usual
from expo.tables import as_frame
from expo.tasks.problem import Problem, Skip

# Of the tree by which the toy's J is found.
FLOOR = 1e-5


def measure_gradients(
    recipe: GradientRecipe,
    folder: Path | str,
    *,
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Write `alignment`, `gains` and `gradients`, question by question; go on where an earlier call stopped.

    Raises:
        DataError, PolicyError, RecordError, FloatingPointError: as their modules say.
    """
    measuring = recipe.measuring()
    with closing(checker_for(recipe.task)) as checker:
        task = load_problems(measuring, checker)
        run = Run(folder)
        policy = None if run.has("gradients") else load(measuring)
        # Before anything is written: what is refused leaves no folder.
        sized = within_context(policy, task, recipe.max_new_tokens) if policy else task
        weights = [p.requires_grad * p.numel() for p in policy.model.parameters()] if policy else []
        about = {**facts(measuring, task, policy), "weights_measured": sum(weights) or None}
        run = Run.start(folder, recipe.resolved(), usual(GradientRecipe), **about)
        if policy is None:
            return run
        task = sized
        with tqdm(desc=f"{recipe.policy} on {task.name}", total=len(task.problems), disable=not progress) as bar:
            for i, problem in enumerate(task.problems):
                if f"{i:04d}" not in run.parts("gains"):
                    found = _question(recipe, policy, checker, problem, task.problems, on_step)
                    for table, frame in found.items():
                        run.write(table, frame, f"{i:04d}")
                bar.update()
        names = [f"{i:04d}" for i in range(len(task.problems))]
        for table, frame in merged(run, ["alignment", "gains"], names, task.skipped).items():
            run.write(table, frame)
        rows = run.read("alignment").to_dict("records")
        run.write("gradients", pairs(rows, ghost(policy, _spans(policy, rows, task.problems))))
        return run


def _spans(policy: Policy, rows: Sequence[dict[Any, Any]], problems: Sequence[Problem]) -> list[Span]:
    """Of the positives in rows of `alignment`."""
    prompts = {p.id: tuple(question_ids(policy, p)) for p in problems}
    return [Span(f"{r['problem']}/{r['source']}", prompts[r["problem"]], tuple(map(int, r["ids"]))) for r in rows]


def pairs(rows: Sequence[dict[Any, Any]], found: Gradients, step: int = 0) -> pd.DataFrame:
    """Inner products of the gradients of the positives in these rows of `alignment`, each pair once: `gradients`."""
    table = [
        {
            "step": step,
            "problem": a["problem"],
            "source": a["source"],
            "other_problem": b["problem"],
            "other_source": b["source"],
            "product": found.gram[i, j],
            "norm": found.norms[i],
            "other_norm": found.norms[j],
        }
        for i, a in enumerate(rows)
        for j, b in enumerate(rows[: i + 1])
    ]
    return as_frame("gradients", table)


def _question(
    recipe: GradientRecipe,
    policy: Policy,
    checker: Checker,
    problem: Problem,
    others: Sequence[Problem],
    on_step: Callable[[], object],
) -> dict[str, pd.DataFrame]:
    """Its part of each table; `gains`, which says that the part is done, comes last."""
    positives, skips = _positives(recipe, policy, checker, problem, others)
    if not positives:
        return {"skips": as_frame("skips", skips), "alignment": as_frame("alignment"), "gains": as_frame("gains")}
    half, limit = recipe.rollouts, recipe.max_new_tokens
    rollouts, right = roll(policy, checker, problem, 2 * half, limit, recipe.seed, recipe.rows)
    found, _ = aligned(policy, positives, rollouts[:half], right[:half], fit(policy, checker, positives, limit))
    rows = aligned_rows(policy, positives, found, rollouts[:half])
    prompt = question_ids(policy, problem)
    held_out = [whole(prompt, c.ids, f"{problem.id}/rollout/{half + i}") for i, c in enumerate(rollouts[half:])]
    rewards = np.array(right[half:], dtype=float)

    def log_probs() -> np.ndarray:
        return np.array([-s.nll_sum for s in score(policy, held_out)])

    def exactly() -> Success | None:
        return success(policy, checker, problem, max_new_tokens=limit, floor=FLOOR) if policy.is_toy else None

    before, exact = log_probs(), exactly()
    gains = []
    for p, a in zip(positives, found, strict=True):
        if not a.norm:
            skips.append(vars(Skip(problem.where or problem.id, p.source, "its gradient is 0; no step is taken")))
            continue
        unit = gradient(policy, [_span(p)], [1 / a.norm])
        for size in recipe.sizes:
            with moved(policy, unit, size):
                after, then = log_probs(), exactly()
            weights = np.exp(after - before)
            # E[reward (weight - 1)]: the weights' mean is 1.
            realised, error = covariance(rewards, weights - 1)
            gains.append(
                {
                    "problem": problem.id,
                    "level": problem.level,
                    "source": p.source,
                    "size": size,
                    "predicted": a.slope / a.norm * size,
                    "predicted_error": a.error / a.norm * size,
                    "realised": realised,
                    "realised_error": error,
                    "effective": weights.sum() ** 2 / (weights**2).sum(),
                    "exact_before": exact.right if exact else None,
                    "exact_after": then.right if then else None,
                    "lost": max(exact.lost, then.lost) if exact and then else None,
                }
            )
            on_step()
    return {
        "skips": as_frame("skips", skips),
        "alignment": as_frame("alignment", rows),
        "gains": as_frame("gains", gains),
    }


def fit(policy: Policy, checker: Checker, positives: Sequence[Positive], max_new_tokens: int) -> list[bool]:
    """Whether each would be right as a rollout: graded like one, and within the token limit."""
    grades = checker.grade([(p.problem, policy.decode(p.scored.completion)) for p in positives])
    short = [len(p.scored.completion) <= max_new_tokens for p in positives]
    return [g.status is Status.CORRECT and is_short for g, is_short in zip(grades, short, strict=True)]


def aligned(
    policy: Policy,
    positives: Sequence[Positive],
    rollouts: Sequence[Completion],
    right: Sequence[bool],
    rewards: Sequence[bool],
) -> tuple[list[Alignment], Gradients]:
    """The alignment of one question's positives with its rollouts, and the gradients of these positives."""
    problem = positives[0].problem
    prompt = tuple(question_ids(policy, problem))
    spans = [Span(f"{problem.id}/rollout/{i}", prompt, c.ids) for i, c in enumerate(rollouts)]
    found = ghost(policy, [*spans, *map(_span, positives)])
    places = range(len(rollouts), len(rollouts) + len(positives))
    return align(found, range(len(rollouts)), right, places, rewards), found.of(places)


def roll(
    policy: Policy, checker: Checker, problem: Problem, n: int, max_new_tokens: int, seed: int, rows: int
) -> tuple[list[Completion], list[bool]]:
    """Completions of the plain question at temperature 1, and whether each is right."""
    request = Request(f"{problem.id}/rollout", question_ids(policy, problem), n, max_new_tokens)
    (rollouts,) = sample(policy, [request], temperature=1.0, seed=seed, rows=rows)
    grades = checker.grade([(problem, policy.decode(c.ids)) for c in rollouts])
    return rollouts, [g.status is Status.CORRECT for g in grades]


@contextmanager
def moved(policy: Policy, direction: Direction, size: float) -> Iterator[None]:
    """The policy one step of `size` times `direction` away; its weights are put back bit for bit."""
    with evaluating(policy) as weights, torch.no_grad():
        held = {name: weights[name].clone() for name in direction}
        try:
            for name, part in direction.items():
                weights[name].add_(part, alpha=size)
            yield
        finally:
            for name, value in held.items():
                weights[name].copy_(value)


def _span(p: Positive) -> Span:
    return Span(p.scored.key, p.scored.prompt, p.scored.completion)


def _positives(
    recipe: GradientRecipe, policy: Policy, checker: Checker, problem: Problem, others: Sequence[Problem]
) -> tuple[list[Positive], list[dict[Any, Any]]]:
    """One of each kind: sampled as `expo measure` samples them, its first; an expert CoT where there is one.

    Also rows of `skips`: what is left out.
    """
    asked, skips = fitting(recipe.measuring(), policy, checker, problem, others)
    if asked is None:
        return [], list(map(vars, skips))
    done = sample(policy, [r for *_, r in asked], temperature=recipe.temperature, seed=recipe.seed, rows=recipe.rows)
    found = [
        from_sample(policy, problem, source, 0, hint, c, checker)
        for (source, hint, _), (c,) in zip(asked, done, strict=True)
    ]
    if "expert" in recipe.sources:
        expert, skipped = experts(policy, [problem], checker)
        found, skips = found + expert, skips + skipped
    return found, list(map(vars, skips))


def aligned_rows(
    policy: Policy,
    positives: Sequence[Positive],
    found: Sequence[Alignment],
    rollouts: Sequence[Completion],
    step: int = 0,
) -> list[dict[Any, Any]]:
    """Rows of `alignment`."""
    scores, k = score(policy, [p.scored for p in positives]), len(rollouts)
    same = sum(n * (n - 1) for n in Counter(c.ids for c in rollouts).values()) / (k * (k - 1))
    rows = [_aligned_row(policy, *of, step) for of in zip(positives, found, scores, strict=True)]
    return [{**row, "repeats": same} for row in rows]


def _aligned_row(policy: Policy, p: Positive, a: Alignment, s: Score, step: int) -> dict[Any, Any]:
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
